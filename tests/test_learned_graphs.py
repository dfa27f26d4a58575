"Graphs of M change pictures as its networks in torch do, whoever runs them, and nothing else passes for one."
import hashlib

import numpy as np
import onnx
import pytest
import torch

from faceanon.data.synthetic import make_face
from faceanon.faces import replace_faces, to_float
from faceanon.models.anonymizer import Anonymizer, PaperGenerator, save_anonymizer, with_fixed_noise
from faceanon.models.discriminator import PlainCNN
from faceanon.models.learned_graphs import learned_method, load_graph
from faceanon.models.onnx_export import export_anonymizer, export_recognizer, release_graphs
from faceanon.models.photo_generator import draw_heads
from faceanon.models.released import find_graph, find_weights, released_anonymizers
from faceanon.video.commands import method_from_option


@pytest.mark.parametrize('name', released_anonymizers())
@torch.no_grad()
def test_a_released_graph_draws_what_torch_draws(name):
    graph, M = load_graph(find_graph(name)), Anonymizer.from_pretrained(name)
    faces = to_float(torch.stack([make_face(person, 0, graph.size) for person in range(10)]))
    mean = M.mean_code(faces)
    noise = torch.randn_like(mean)
    code = M.decode(mean + M.noise*noise)
    wanted = M.blend(code, faces) if graph.draws_heads else [code]
    found = graph.session.run(None, dict(faces=faces.numpy(), noise=noise.numpy()))
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted): assert np.abs(ours - theirs.numpy()).max() < 1e-4
    if mean.std() > .01 and name != 'small-paper_objective-0':  # that one has no noise
        other, *_ = graph.session.run(None, dict(faces=faces.numpy(), noise=-noise.numpy()))
        assert np.abs(other - found[0]).max() > .01


def test_a_released_graph_holds_no_second_copy_of_the_weights():
    sizes = [find_graph(name).stat().st_size for name in released_anonymizers()]
    assert max(sizes) < 600_000 and sum(sizes) < 1_500_000


def table(box): return torch.tensor([[0, *box]]), np.array([box])


@pytest.mark.parametrize('box', [(60, 40, 150, 164), (0, 40, 50, 164), (60, 100, 150, 200), (0, 0, 60, 90),
                                 (100, 100, 114, 118), (100, 100, 104, 105)],
                         ids=['inside', 'left', 'below', 'corner', 'small', 'speck'])
def test_the_tool_pastes_a_head_as_evaluations_do(box):
    frames = torch.nn.functional.interpolate(torch.rand(1, 3, 20, 25), scale_factor=10, mode='bilinear')
    picture, (rows, boxes) = frames[0].permute(1, 2, 0).numpy(), table(box)
    ours = learned_method(load_graph(find_graph('real'))).change(picture, boxes, key=3)
    theirs = draw_heads(frames, rows, Anonymizer.from_pretrained('real'), 3)[0].permute(1, 2, 0).numpy()
    assert np.abs(255*ours - 255*theirs).max() < 1
    x1, y1, x2, y2 = box
    assert np.abs(ours - picture)[y1:y2, x1:x2].max() > .02
    ours[y1:y2, x1:x2] = picture[y1:y2, x1:x2]
    assert (ours == picture).all()


@torch.no_grad()
def test_the_tool_replaces_a_face_as_torch_does():
    frames = torch.nn.functional.interpolate(torch.rand(1, 3, 20, 25), scale_factor=10, mode='bilinear')
    picture, (rows, boxes) = frames[0].permute(1, 2, 0).numpy(), table((60, 40, 150, 150))
    ours = learned_method(load_graph(find_graph('small-learned-0'))).change(picture, boxes, key=3)
    theirs = replace_faces(frames, rows, with_fixed_noise(Anonymizer.from_pretrained('small-learned-0'), 3), 40)
    assert np.abs(255*ours - 255*theirs[0].permute(1, 2, 0).numpy()).max() < 1


def test_weights_of_ones_own_and_their_graph_are_the_same_method(tmp_path):
    M, config = Anonymizer(8, 2, 1).eval(), dict(face_size=40, pad=1.5)
    with torch.no_grad():
        for p in M.parameters(): p.add_(.1*torch.randn_like(p))
    weights = save_anonymizer(tmp_path/'m.safetensors', M, config=config)
    picture, boxes = np.random.default_rng(0).random((80, 80, 3), np.float32), np.array([[10, 10, 60, 70]])
    by_weights = method_from_option(str(weights))
    (tmp_path/'SHA256SUMS').write_text(f'{hashlib.sha256(weights.read_bytes()).hexdigest()}  {weights.name}\n')
    paths = export_anonymizer(tmp_path/'whole.onnx', M, 40, dict(config=config)), *release_graphs(tmp_path)
    assert find_graph('m', tmp_path) == tmp_path/'m.onnx'
    for by_graph in map(method_from_option, map(str, paths)):
        assert by_graph.mask_shape == by_weights.mask_shape
        pictures = [one.method.change(picture, boxes, key=4) for one in (by_weights, by_graph)]
        assert np.abs(pictures[0] - pictures[1]).max() < 1e-4
        assert np.abs(pictures[0] - picture)[10:70, 10:60].mean() > .05


def test_what_is_no_graph_of_an_anonymizer_is_refused(tmp_path):
    own = export_anonymizer(tmp_path/'m.onnx', PaperGenerator(4, 1).eval(), 16)
    assert load_graph(own).noise_shape == ()
    for name, change in dict(
            damaged=lambda whole: whole[:len(whole)//2], text=lambda whole: b'no graph').items():
        (tmp_path/name).write_bytes(change(own.read_bytes()))
        with pytest.raises(ValueError, match='is damaged or holds no anonymizer'): load_graph(tmp_path/name)
    with pytest.raises(ValueError, match="holds no anonymizer: KeyError"):
        load_graph(export_recognizer(tmp_path/'d.onnx', PlainCNN(5, 8)))
    heads = onnx.load(own)
    onnx.helper.set_model_props(heads, dict(kind='PhotoAnonymizer', notes='{}'))
    onnx.save(heads, tmp_path/'heads.onnx')
    with pytest.raises(ValueError, match='heads are drawn for 128 pixels, got 16'): load_graph(tmp_path/'heads.onnx')
    with pytest.raises(FileNotFoundError): load_graph(tmp_path/'nothing.onnx')


def test_a_graph_without_its_weights_or_beside_others_is_refused(tmp_path):
    weights = find_weights('small-learned-0')
    graph = find_graph('small-learned-0')
    (tmp_path/graph.name).write_bytes(graph.read_bytes())
    with pytest.raises(ValueError, match='small-learned-0.safetensors'): load_graph(tmp_path/graph.name)
    sums = ''.join(line + '\n' for line in (weights.parent/'SHA256SUMS').read_text().splitlines() if graph.stem in line)
    (tmp_path/'SHA256SUMS').write_text(sums)
    (tmp_path/weights.name).write_bytes(weights.read_bytes()[:-4] + b'else')
    with pytest.raises(ValueError, match='not the file released'): find_graph(graph.stem, tmp_path)
    (tmp_path/weights.name).write_bytes(weights.read_bytes())
    assert load_graph(find_graph(graph.stem, tmp_path)).size == 40
