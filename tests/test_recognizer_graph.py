"A face is aligned and recognised by arrays as by tensors."
import numpy as np
import pytest
import torch

from faceanon.faces import align_faces
from faceanon.models.mobilefacenet import MobileFaceNet, load_mobilefacenet
from faceanon.models.recognizer_graph import load_recognizer
from faceanon.models.released import find_recognizer_graph
from faceanon.pixels import SPHEREFACE_POINTS, align_pixels
from faceanon.video.selection import _aligned_face


def shaken_network(seed):
    "Not trained, but no two of its channels are alike, and its statistics are not those of an empty network."
    torch.manual_seed(seed)
    net = MobileFaceNet().eval()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if not value.is_floating_point(): value.fill_(7)
            elif 'running_var' in name: value.uniform_(.3, 3)
            elif value.ndim == 1: value.add_(.2*torch.randn_like(value))
    return net


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('prefix', ['', 'arcface.'])
@pytest.mark.parametrize('new', [True, False])
def test_the_graph_says_what_torch_says(tmp_path, seed, prefix, new):
    path, net = tmp_path/'weights.pth', shaken_network(seed)
    state = {f'{prefix}{name}': value for name, value in net.state_dict().items()}
    if prefix: state['head.weight'] = torch.ones(2)
    torch.save(state, path, _use_new_zipfile_serialization=new)
    faces = torch.rand(7, 3, 112, 112)
    ours = load_recognizer(path).embed(faces.numpy())
    with torch.no_grad(): theirs = load_mobilefacenet(path).embed(faces).numpy()
    assert np.abs(theirs).max() > .1 and np.abs(ours - theirs).max() < 1e-4
    one_by_one = np.concatenate([load_recognizer(path).embed(face[None]) for face in faces.numpy()[:2]])
    assert np.abs(one_by_one - ours[:2]).max() < 1e-5


def test_weights_in_half_precision_are_taken(tmp_path):
    net = shaken_network(0).half()
    torch.save(net.state_dict(), tmp_path/'weights.pth')
    faces = torch.rand(2, 3, 112, 112)
    with torch.no_grad(): theirs = net.float().embed(faces).numpy()
    assert np.abs(load_recognizer(tmp_path/'weights.pth').embed(faces.numpy()) - theirs).max() < 1e-4


@pytest.mark.parametrize('change, why', [
    (lambda state: state.pop('GDC_bn.running_var'), '1 weights are missing, the first is GDC_bn.running_var'),
    (lambda state: state.update(more=torch.ones(1)), '1 weights belong to nothing, the first is more'),
    (lambda state: state.update({'conv1.bn.bias': torch.ones(63)}),
     r'conv1.bn.bias must have shape \(64,\), got \(63,\)')])
def test_a_file_of_another_network_is_told(tmp_path, change, why):
    state = MobileFaceNet().state_dict()
    change(state)
    torch.save(state, tmp_path/'weights.pth')
    with pytest.raises(ValueError, match=f'weights.pth was written for another network: {why}'):
        load_recognizer(tmp_path/'weights.pth')
    with pytest.raises(ValueError, match='weights.pth was written for another network'):
        load_mobilefacenet(tmp_path/'weights.pth')


def test_a_graph_that_was_changed_is_not_loaded(tmp_path):
    graph = find_recognizer_graph()
    (tmp_path/graph.name).write_bytes(graph.read_bytes() + b' ')
    (tmp_path/'SHA256SUMS').write_text((graph.parent/'SHA256SUMS').read_text())
    with pytest.raises(ValueError, match='is not the file released'): find_recognizer_graph(tmp_path)
    (tmp_path/graph.name).unlink()
    with pytest.raises(FileNotFoundError, match='mobilefacenet.onnx'): find_recognizer_graph(tmp_path)


def placed_points(draw, count, spread):
    "The points of the canvas, turned by any angle, scaled, shifted and shaken."
    turn = draw.uniform(.1, 3, count)*np.exp(1j*draw.uniform(-np.pi, np.pi, count))
    shift = draw.uniform(0, spread, (count, 2)) @ [1, 1j]
    points = (np.array(SPHEREFACE_POINTS) - [48, 56]) @ [1, 1j]*turn[:, None] + shift[:, None]
    return (np.stack([points.real, points.imag], 2) + draw.normal(0, 2, (count, 5, 2))).astype(np.float32)


@pytest.mark.parametrize('size', [(112, 112), (112, 96), (20, 31)])
def test_arrays_are_aligned_as_tensors(size):
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (90, 130, 3), np.uint8)
    tensor = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None]/255
    black = 0
    for points in placed_points(draw, 60, 120):
        theirs = align_faces(tensor, torch.from_numpy(points)[None], size)[0].permute(1, 2, 0).numpy()
        ours = align_pixels(picture, points, size)/255
        assert ours.dtype == np.float32 and np.abs(ours - theirs).max() < 5e-4
        black += (theirs == 0).mean()
    assert 5 < black < 55, "some reach over the edge, and some do not"


def test_a_face_far_out_in_a_large_frame_is_aligned_as_precisely():
    draw = np.random.default_rng(1)
    part, points = draw.integers(0, 256, (200, 200, 3), np.uint8), placed_points(draw, 1, 0)[0]/3 + 100
    frame = np.zeros((2160, 3840, 3), np.uint8)
    frame[1900:2100, 3500:3700] = part
    far = _aligned_face(frame, points + np.float32([3500, 1900]))
    assert far.shape == (1, 3, 112, 112) and far.max() <= 1
    assert np.abs(far - _aligned_face(part, points)).max() < 2e-3, "float32 has four digits of a pixel left there"


@pytest.mark.parametrize('points', [np.full((5, 2), 3.), np.full((5, 2), np.nan), np.zeros((4, 2))])
def test_landmarks_that_are_no_face_are_told(points):
    with pytest.raises(ValueError, match='five points, finite and not all one'):
        align_pixels(np.zeros((8, 8, 3), np.uint8), points)
