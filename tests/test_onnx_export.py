"Graphs for other programs: they compute what PyTorch computes, and leave the networks and the disk as they were."
import pytest
import torch

from faceanon.models.anonymizer import Anonymizer, PaperGenerator
from faceanon.models.discriminator import PlainCNN
from faceanon.models.face_generator import FaceAnonymizer
from faceanon.models.onnx_export import export_anonymizer, export_halves, export_recognizer

runtime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')


def run(path, **inputs):
    found, *_ = runtime.InferenceSession(path).run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(found)


@pytest.mark.parametrize('M', [Anonymizer(8), FaceAnonymizer(4, 8, 2, 8, 8)], ids=['Anonymizer', 'FaceAnonymizer'])
def test_the_noise_that_goes_in_is_the_noise_of_the_channel(M, tmp_path):
    with torch.no_grad():
        for p in M.parameters(): p.add_(.1*torch.randn_like(p))  # a fresh M sends nearly nothing
    M.eval()
    faces = torch.rand(10, 3, 40, 40)
    with torch.no_grad(): code = M.mean_code(faces)
    noise = torch.randn_like(code)
    path = export_anonymizer(tmp_path/'m.onnx', M)
    with torch.no_grad(): wanted = M.decode(code + M.noise*noise)
    assert (run(path, faces=faces, noise=noise) - wanted).abs().max() < 1e-4
    assert (run(path, faces=faces, noise=-noise) - wanted).abs().max() > 1e-2


@torch.no_grad()
def test_halves_make_the_whole(tmp_path):
    M, faces = Anonymizer(8).eval(), torch.rand(4, 3, 40, 40)
    shape = export_halves(tmp_path/'in.onnx', tmp_path/'out.onnx', M)
    noise = torch.randn(4, *shape)
    code = run(tmp_path/'in.onnx', faces=faces) + M.noise*noise
    whole = run(export_anonymizer(tmp_path/'m.onnx', M), faces=faces, noise=noise)
    torch.testing.assert_close(run(tmp_path/'out.onnx', code=code), whole, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_papers_generator_takes_no_noise(tmp_path):
    M, faces = PaperGenerator(4, 1).eval(), torch.rand(3, 3, 32, 32)
    assert (run(export_anonymizer(tmp_path/'m.onnx', M, 32), faces=faces) - M(faces)).abs().max() < 1e-4


def test_a_network_in_training_is_written_as_it_evaluates_and_stays_in_training(tmp_path):
    D, faces = PlainCNN(5, 8), torch.rand(4, 3, 40, 40)
    with torch.no_grad(): D.embed(faces)  # statistics away from their start
    before = {k: v.clone() for k, v in D.state_dict().items()}
    path = export_recognizer(tmp_path/'d.onnx', D)
    assert all(module.training for module in D.modules())
    assert all(torch.equal(v, before[k]) for k, v in D.state_dict().items())
    with torch.no_grad(): wanted = D.eval().embed(faces)
    torch.testing.assert_close(run(path, faces=faces), wanted, atol=1e-4, rtol=1e-4)


def test_statistics_of_an_M_in_training_stay(tmp_path):
    M = FaceAnonymizer(4, 8, 2, 8, 8).train()
    before = {k: v.clone() for k, v in M.state_dict().items()}
    export_anonymizer(tmp_path/'m.onnx', M)
    assert M.training and all(torch.equal(v, before[k]) for k, v in M.state_dict().items())


def test_what_fails_leaves_no_file(tmp_path):
    path = tmp_path/'m.onnx'
    with pytest.raises(TypeError, match='must have a noisy channel'): export_halves(path, path, PaperGenerator(8, 1))
    with pytest.raises(ValueError, match='multiple'): export_anonymizer(path, Anonymizer(8), 42)
    assert list(tmp_path.iterdir()) == []
