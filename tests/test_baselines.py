"Every baseline changes every face and nothing else, and does what its name says: checked against slow versions."
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import label2rgb, rgb2gray
from skimage.feature import canny
from skimage.segmentation import slic

from faceanon.faces import crop_faces
from faceanon.models.baselines import BASELINES, blur, change_in_boxes, k_same, noise, pixelate, superpixel

HEIGHT, WIDTH = 60, 90
BOXES = torch.tensor([[0, 0, 0, 33, 41], [2, 40, 10, 80, 50], [0, 57, 28, 90, 60], [2, 10, 10, 36, 45]])
NO_BOXES = torch.empty(0, 5, dtype=torch.int64)
METHODS = sorted(BASELINES) + ['k_same']


def pictures(n=3, height=HEIGHT, width=WIDTH):
    "Smooth colours with some noise: every pixel differs, and there are regions and edges to find."
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing='ij')
    waves = torch.stack([(6*x + 2*y).sin(), (5*y - 3*x).cos(), (8*x*y + 1).sin()])
    return (0.5 + 0.3*waves + 0.2*(torch.rand(n, 3, height, width) - 0.5)).clamp(0.01, 0.99)


def method(name): return BASELINES[name] if name in BASELINES else k_same(torch.rand(12, 3, 20, 20))


def cut(frames, row):
    i, x1, y1, x2, y2 = row
    return frames[i, :, y1:y2, x1:x2]


def by_pillow(face, height, width):
    "An antialiased bilinear resize that shares no code with torch's."
    return torch.tensor(np.array([np.array(Image.fromarray(c).resize((width, height), Image.BILINEAR))
                                  for c in face.contiguous().numpy()]))


def to_array(face): return face.permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize('name', METHODS)
def test_every_face_changes_and_nothing_else(name):
    frames = pictures()
    before = frames.clone()
    changed = method(name)(frames, BOXES)
    outside = torch.ones(3, HEIGHT, WIDTH, dtype=torch.bool)
    for i, x1, y1, x2, y2 in BOXES.tolist(): outside[i, y1:y2, x1:x2] = False
    assert torch.equal(changed.permute(0, 2, 3, 1)[outside], frames.permute(0, 2, 3, 1)[outside])
    assert torch.equal(frames, before), "the frames given were written to"
    assert changed.shape == frames.shape and changed.dtype == frames.dtype
    assert 0 <= changed.min() and changed.max() <= 1
    moved = [(cut(changed, row) - cut(frames, row)).abs().mean().item() > 0.005 for row in BOXES.tolist()]
    assert moved == [name != 'none']*4


@pytest.mark.parametrize('name', METHODS)
def test_no_face_small_faces_and_wrong_boxes(name):
    frames = pictures()
    assert torch.equal(method(name)(frames, NO_BOXES), frames)
    small = torch.tensor([[1, 3, 4, 4, 5], [1, 89, 59, 90, 60], [1, 10, 10, 12, 11], [1, 20, 0, 21, 60]])
    assert method(name)(frames, small).isfinite().all()
    if name == 'none': return
    with pytest.raises(ValueError, match="box 0 .*below 3"): method(name)(frames, torch.tensor([[3, 0, 0, 9, 9]]))
    with pytest.raises(ValueError, match="box 0 .*inside"): method(name)(frames, torch.tensor([[0, 85, 0, 95, 9]]))
    with pytest.raises(ValueError, match="frames must be finite"): method(name)(frames*255, BOXES)


def test_the_list_holds_all_that_needs_no_gallery():
    assert list(BASELINES) == ['none', 'mask', 'blur8', 'blur16', 'blur24', 'pixelate', 'noise01', 'noise03',
                               'noise05', 'superpixel', 'edge']


def test_none_is_the_frames_and_mask_is_zero():
    frames = pictures()
    assert BASELINES['none'](frames, BOXES) is frames
    masked = BASELINES['mask'](frames, BOXES)
    assert [cut(masked, row).abs().max().item() for row in BOXES.tolist()] == [0]*4
    assert (masked == 0).all(1).sum() == sum((x2 - x1)*(y2 - y1) for _, x1, y1, x2, y2 in BOXES.tolist())


@pytest.mark.parametrize('side', [8, 16, 24])
def test_blur_is_pillows_down_and_up(side):
    frames = pictures()
    blurred = BASELINES[f'blur{side}'](frames, BOXES)
    for row in BOXES.tolist():
        face = cut(frames, row)
        oracle = by_pillow(by_pillow(face, side, side), *face.shape[1:])
        torch.testing.assert_close(cut(blurred, row), oracle, atol=1e-5, rtol=0)


def test_a_stronger_blur_is_further_from_the_face():
    frames = pictures()
    distances = [(BASELINES[f'blur{side}'](frames, BOXES) - frames).abs().sum() for side in (8, 16, 24)]
    assert distances[0] > distances[1] > distances[2]


@pytest.mark.parametrize('change', [blur, pixelate])
def test_a_side_of_n_pixels_or_fewer_is_not_shrunk(change):
    frames = pictures()
    assert torch.equal(change(frames, torch.tensor([[0, 5, 5, 21, 20]]), 16), frames)
    flat = torch.tensor([[0, 5, 5, 45, 13]])
    expected = by_pillow(by_pillow(cut(frames, flat[0]), 8, 16), 8, 40)
    if change is blur: torch.testing.assert_close(cut(blur(frames, flat, 16), flat[0]), expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"): change(frames, BOXES, 0)


def test_pixelate_is_each_pixel_looked_up_in_the_small_picture():
    frames = pictures()
    # sides of 8 times something: otherwise the centre of a pixel may lie between two tiles, and rounding decides
    boxes = torch.tensor([[0, 1, 2, 41, 58], [2, 40, 10, 64, 50], [1, 30, 28, 38, 60]])
    changed = pixelate(frames, boxes)
    for row in boxes.tolist():
        face = cut(frames, row)
        small, (h, w) = by_pillow(face, 8, 8), face.shape[1:]
        rows, columns = [[int((i + 0.5)*8/side) for i in range(side)] for side in (h, w)]
        torch.testing.assert_close(cut(changed, row), small[:, rows][:, :, columns], atol=1e-5, rtol=0)


@pytest.mark.parametrize('name, variance', [('noise01', 0.1), ('noise03', 0.3), ('noise05', 0.5)])
def test_noise_has_the_papers_variance(name, variance):
    grey, whole = torch.full((1, 3, 300, 300), 0.5), torch.tensor([[0, 0, 0, 300, 300]])
    noisy = BASELINES[name](grey, whole)
    clipped = 0.5*math.erfc(0.5/math.sqrt(2*variance))  # share of a normal variable below -0.5
    assert (noisy == 0).float().mean().item() == pytest.approx(clipped, abs=0.005)
    assert (noisy == 1).float().mean().item() == pytest.approx(clipped, abs=0.005)
    assert noisy[0, 0].flatten().dot(noisy[0, 1].flatten()) / 90_000 == pytest.approx(0.25, abs=0.01), "one channel"


def test_noise_follows_the_global_seed_and_refuses_a_negative_variance():
    frames = pictures()
    def seeded(seed):
        torch.manual_seed(seed)
        return noise(frames, BOXES, 0.3)
    assert torch.equal(seeded(3), seeded(3)) and not torch.equal(seeded(3), seeded(4))
    assert torch.equal(noise(frames, BOXES, 0), frames)
    for wrong in (-0.1, math.nan):
        with pytest.raises(ValueError, match="at least 0"): noise(frames, BOXES, wrong)


def test_superpixels_are_the_means_of_slics_segments():
    frames = pictures()
    changed = superpixel(frames, BOXES)
    for row in BOXES.tolist():
        face = to_array(cut(frames, row))
        oracle = label2rgb(slic(face, start_label=1), face, kind='avg')
        np.testing.assert_allclose(to_array(cut(changed, row)), oracle, atol=1e-6)


def test_edges_are_cannys_in_white():
    frames = pictures()
    frames[2, :, :, 60:] = 0.05
    changed = BASELINES['edge'](frames, BOXES)
    for row in BOXES.tolist():
        oracle = canny(rgb2gray(to_array(cut(frames, row))))
        assert torch.equal(cut(changed, row), torch.tensor(oracle).float().expand(3, -1, -1))
    assert cut(changed, BOXES[1].tolist())[0, 5:-5, 18:22].amax(1).mean() == 1, "a line along the step"


@pytest.mark.parametrize('k', [1, 3, 12])
def test_k_same_is_the_mean_of_the_nearest_by_sorting(k):
    frames, gallery = pictures(), pictures(12, 20, 20)
    changed = k_same(gallery, k)(frames, BOXES)
    faces = crop_faces(frames, BOXES, 20)
    for face, row in zip(faces, BOXES.tolist()):
        by_distance = sorted(gallery, key=lambda known, face=face: ((known - face)**2).sum().item())
        mean = sum(by_distance[:k])/k
        _, h, w = cut(frames, row).shape
        torch.testing.assert_close(cut(changed, row), by_pillow(mean, h, w), atol=1e-5, rtol=0)


def test_k_same_of_one_finds_the_face_itself_in_the_gallery():
    frames, box = pictures(), torch.tensor([[1, 20, 20, 40, 40]])
    own = crop_faces(frames, box, 20)
    gallery = torch.cat([pictures(9, 20, 20), own])
    torch.testing.assert_close(k_same(gallery, 1)(frames, box), frames)
    assert not torch.allclose(k_same(gallery[:-1], 1)(frames, box), frames)


@pytest.mark.parametrize('gallery, k, rule', [
    (torch.rand(5, 3, 8, 8), 6, "the 5 faces there are, got 6"), (torch.rand(5, 3, 8, 8), 0, "got 0"),
    (torch.rand(0, 3, 8, 8), 1, "the 0 faces"), (torch.rand(5, 3, 8, 9), 2, "square"),
    (torch.rand(5, 3, 8, 8)*255, 2, "gallery must be finite"), (torch.rand(5, 1, 8, 8), 2, "gallery must have shape"),
])
def test_galleries_that_cannot_serve_are_refused(gallery, k, rule):
    with pytest.raises(ValueError, match=rule): k_same(gallery, k)


def test_overlapping_boxes_are_cut_from_the_original_and_the_later_wins():
    frames, boxes = pictures(1), torch.tensor([[0, 10, 10, 40, 40], [0, 25, 10, 55, 40]])
    both, second = change_in_boxes(frames, boxes, lambda f: 1 - f), change_in_boxes(frames, boxes[1:], lambda f: 1 - f)
    assert torch.equal(both[..., 25:55], second[..., 25:55])
    torch.testing.assert_close(both[..., 10:40, 10:25], 1 - frames[..., 10:40, 10:25])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize('name', [m for m in METHODS if not m.startswith('noise')])
def test_a_gpu_gives_the_same_frames(name):
    frames = pictures()
    change = method(name)
    torch.testing.assert_close(change(frames.cuda(), BOXES.cuda()).cpu(), change(frames, BOXES), atol=1e-4, rtol=0)
