"Faces must come out of the right place and go back into it: checked with pictures that differ everywhere."
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from torch.autograd import gradcheck

from faceanon.faces import (
    SPHEREFACE_POINTS,
    align_faces,
    annotated_face_detector,
    batch_boxes,
    check_boxes,
    check_images,
    crop_faces,
    enlarge_boxes,
    landmarks_in_crops,
    paste_faces,
    replace_faces,
    resize,
    similarity_transform,
    to_float,
    to_uint8,
)

HEIGHT, WIDTH = 50, 70


def random_boxes(n, frames=3, square=False, seed=0):
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        w, h = draw.integers(1, 30, 2)
        if square: h = w
        x, y = draw.integers(0, WIDTH - w + 1), draw.integers(0, HEIGHT - h + 1)
        rows.append([draw.integers(frames), x, y, x + w, y + h])
    return torch.tensor(np.array(rows))


def ramp(height=HEIGHT, width=WIDTH, dtype=torch.float32):
    "Red is x and green is y at the centre of a pixel, as fractions of the sides; so a colour is a place."
    y, x = torch.meshgrid((torch.arange(height) + 0.5)/height, (torch.arange(width) + 0.5)/width, indexing='ij')
    return torch.stack([x, y, x*0]).to(dtype)[None]


def noise(frames=3, dtype=torch.float32): return torch.rand(frames, 3, HEIGHT, WIDTH, dtype=dtype)


def by_pillow(pictures, height, width):
    "Pillow's bilinear filter averages too when it shrinks: an implementation that shares no code with torch's."
    resized = [[np.array(Image.fromarray(c).resize((width, height), Image.BILINEAR)) for c in p]
               for p in pictures.float().numpy()]
    return torch.tensor(np.array(resized))


def colour_at(picture, x, y):
    "Bilinear by hand, in coordinates where pixel 0 covers [0, 1)."
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    fx, fy = x - 0.5 - left, y - 0.5 - top
    return sum(wx*wy*picture[:, top + j, left + i]
               for i, wx in enumerate((1 - fx, fx)) for j, wy in enumerate((1 - fy, fy)))


@pytest.mark.parametrize('size', [(8, 8), (50, 70), (77, 31), (1, 1), (200, 3)])
def test_resize_is_pillows(size):
    pictures = noise(1)
    torch.testing.assert_close(resize(pictures, size), by_pillow(pictures, *size), atol=1e-5, rtol=0)


def test_crops_are_pillows_crops():
    frames, boxes = noise(), random_boxes(40)
    for face, (i, x1, y1, x2, y2) in zip(crop_faces(frames, boxes, 24), boxes.tolist()):
        oracle = by_pillow(frames[i:i+1, :, y1:y2, x1:x2].contiguous(), 24, 24)[0]
        torch.testing.assert_close(face, oracle, atol=1e-5, rtol=0)


@pytest.mark.parametrize('seed', range(20))
def test_cut_and_put_back_at_its_own_size_is_bit_exact(seed):
    frames, box = noise(), random_boxes(1, square=True, seed=seed)
    side = int(box[0, 3] - box[0, 1])
    assert torch.equal(paste_faces(frames, crop_faces(frames, box, side), box), frames)


@pytest.mark.parametrize('wrong', [
    [0, 11, 20, 31, 40], [0, 10, 21, 30, 41], [0, 20, 10, 40, 30], [1, 10, 20, 30, 40], [0, 10, 20, 29, 40],
], ids=['one to the right', 'one down', 'x and y exchanged', 'another frame', 'one narrower'])
def test_a_face_put_in_the_wrong_place_is_seen(wrong):
    frames = torch.cat([ramp(), ramp()*0.5])
    face = crop_faces(frames, torch.tensor([[0, 10, 20, 30, 40]]), 20)
    assert not torch.allclose(paste_faces(frames, face, torch.tensor([wrong])), frames, atol=1e-3)


def test_every_pixel_comes_from_the_last_box_over_it_or_from_the_frame():
    frames, boxes = noise(), random_boxes(25)
    colours = torch.rand(25, 3, 1, 1)
    pasted = paste_faces(frames, colours.expand(-1, -1, 9, 9), boxes)
    expected = frames.clone()
    for i in range(3):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                over = [k for k, (f, x1, y1, x2, y2) in enumerate(boxes.tolist())
                        if f == i and x1 <= x < x2 and y1 <= y < y2]
                if over: expected[i, :, y, x] = colours[over[-1], :, 0, 0]
    torch.testing.assert_close(pasted, expected, atol=1e-6, rtol=0)
    touched = (expected != frames).any(1, keepdim=True).expand_as(frames)
    assert torch.equal(pasted[~touched], frames[~touched])


def test_frames_given_are_not_written_to():
    frames, boxes = noise(), random_boxes(5)
    before = frames.clone()
    replace_faces(frames, boxes, torch.zeros_like, 8)
    assert torch.equal(frames, before)


@pytest.mark.parametrize('chunk', [1, 7, 64, 300, 1000])
def test_a_crowd_is_replaced_whole_whatever_the_chunk(chunk):
    frames, boxes = noise()*0.5 + 0.5, random_boxes(300)
    given = []
    def black(faces):
        given.append(len(faces))
        return faces*0
    replaced = replace_faces(frames, boxes, black, 16, chunk)
    assert sum(given) == 300 and max(given) == min(chunk, 300)
    assert all(replaced[i, :, y1:y2, x1:x2].max() == 0 for i, x1, y1, x2, y2 in boxes.tolist())


def test_overlapping_faces_are_both_cut_from_the_original():
    frames, boxes = noise(1), torch.tensor([[0, 5, 5, 25, 25], [0, 15, 5, 35, 25]])
    one_by_one = replace_faces(frames, boxes[1:], lambda f: 1 - f, 20)
    both = replace_faces(frames, boxes, lambda f: 1 - f, 20)
    assert torch.equal(both[..., 15:35], one_by_one[..., 15:35])


def test_frames_without_faces_stay_as_they_are():
    frames, none = noise(), torch.empty(0, 5, dtype=torch.int64)
    assert replace_faces(frames, none, torch.zeros_like, 8) is frames
    assert torch.equal(paste_faces(frames, torch.empty(0, 3, 8, 8), none), frames)
    assert crop_faces(frames, none, 8).shape == (0, 3, 8, 8)
    only_first = replace_faces(frames, random_boxes(4, frames=1), torch.zeros_like, 8)
    assert torch.equal(only_first[1:], frames[1:]) and not torch.equal(only_first[0], frames[0])


def test_a_face_of_one_pixel_takes_the_mean_of_what_replaces_it():
    frames, box = noise(1), torch.tensor([[0, 69, 49, 70, 50]])
    assert torch.equal(crop_faces(frames, box, 4), frames[:, :, 49:, 69:].expand(1, 3, 4, 4))
    face = torch.rand(1, 3, 1, 1).expand(1, 3, 6, 6)
    torch.testing.assert_close(paste_faces(frames, face, box)[0, :, 49, 69], face[0, :, 0, 0])


def test_gradients_are_those_of_finite_differences():
    frames = torch.rand(2, 3, 9, 11, dtype=torch.float64)*0.8 + 0.1
    boxes = torch.tensor([[0, 1, 2, 6, 8], [1, 0, 0, 11, 9], [0, 4, 4, 9, 9]])
    faces = torch.rand(3, 3, 4, 4, dtype=torch.float64)*0.8 + 0.1
    frames.requires_grad_()
    faces.requires_grad_()
    assert gradcheck(lambda f: crop_faces(f, boxes, 4), frames)
    assert gradcheck(lambda f, g: paste_faces(f, g, boxes), (frames, faces))
    assert gradcheck(lambda f: replace_faces(f, boxes, lambda g: g**2, 4, chunk=2), frames)


def test_alignment_has_the_gradients_of_finite_differences():
    points = torch.tensor(SPHEREFACE_POINTS, dtype=torch.float64)
    faces = (torch.rand(2, 3, 12, 13, dtype=torch.float64)*0.8 + 0.1).requires_grad_()
    landmarks = (torch.stack([points*0.1 + 0.7, points*0.08 + 2.3]) + torch.rand(2, 5, 2)*0.3).requires_grad_()
    assert gradcheck(lambda f, m: align_faces(f, m, (7, 6)), (faces, landmarks))


@pytest.mark.parametrize('scale', ['1', '11/5', '8/5', '1/2', '7/3', '40'])
def test_enlarged_boxes_are_those_of_exact_fractions(scale):
    scale, boxes = Fraction(scale), random_boxes(200) + torch.tensor([0, -10, -10, 10, 10])
    boxes[::3, 1:] += 60
    boxes[1::3, 1:] -= 60
    rows = []
    for frame, *box in boxes.tolist():
        (x1, x2), (y1, y2) = (
            (max(0, min(limit - 1, low)), max(max(0, min(limit - 1, low)) + 1, min(limit, high)))
            for a, b, limit in ((box[0], box[2], WIDTH), (box[1], box[3], HEIGHT))
            for low, high in [(math.floor((a + b - scale*(b - a))/2), math.ceil((a + b + scale*(b - a))/2))])
        rows.append([frame, x1, y1, x2, y2])
    wide = enlarge_boxes(boxes, float(scale), HEIGHT, WIDTH)
    assert wide.tolist() == rows
    check_boxes(wide, HEIGHT, WIDTH, 3)


def test_a_clipped_face_covers_what_is_left_of_it():
    assert enlarge_boxes(torch.tensor([[0, -5, -5, 10, 10]]), 1, HEIGHT, WIDTH).tolist() == [[0, 0, 0, 10, 10]]
    assert enlarge_boxes(torch.tensor([[0, 0, 80, 9, 90]]), 1, HEIGHT, WIDTH).tolist() == [[0, 0, 49, 9, 50]]


def test_boxes_of_frames_become_rows_in_order():
    per_frame = [torch.empty(0, 4), torch.tensor([[0.1, 0.9, 5.0, 5.1], [2, 2, 3, 3]]), torch.tensor([[1, 2, 3, 4]])]
    assert batch_boxes(per_frame).tolist() == [[1, 0, 0, 5, 6], [1, 2, 2, 3, 3], [2, 1, 2, 3, 4]]
    assert batch_boxes([torch.empty(0), torch.empty(0, 4)]).shape == (0, 5)
    assert batch_boxes(per_frame).dtype == torch.int64


@pytest.mark.parametrize('row, rule', [
    ((0, 5, 5, 5, 9), "x1 < x2"), ((0, 5, 9, 8, 5), "y1 < y2"), ((0, 65, 5, 71, 9), "70 wide and 50 high"),
    ((0, 5, 45, 9, 51), "inside a frame"), ((0, -1, 5, 9, 9), "inside a frame"), ((0, 80, 5, 90, 9), "inside a frame"),
    ((3, 5, 5, 9, 9), "below 3"), ((-1, 5, 5, 9, 9), "0 or more"),
])
def test_a_wrong_box_is_named_with_its_row_its_value_and_the_rule(row, rule):
    boxes = torch.tensor([(0, 0, 0, 70, 50), row])
    with pytest.raises(ValueError, match="box 1 is") as refused: check_boxes(boxes, HEIGHT, WIDTH, 3)
    assert rule in str(refused.value) and str(list(row)) in str(refused.value)
    for use in (lambda: crop_faces(noise(), boxes, 8), lambda: paste_faces(noise(), torch.rand(2, 3, 8, 8), boxes)):
        with pytest.raises(ValueError, match="box 1 is"): use()


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_boxes_that_are_no_numbers_are_refused(value):
    boxes = torch.tensor([[0, 1, 1, 5, 5], [0, 1, 1, value, 5]])
    for use in (lambda: check_boxes(boxes, HEIGHT, WIDTH), lambda: enlarge_boxes(boxes, 2, HEIGHT, WIDTH)):
        with pytest.raises(ValueError, match="box 1 .*finite"): use()
    with pytest.raises(ValueError, match="box 1 .*finite .frame 0"): batch_boxes([boxes[:, 1:]])


@pytest.mark.parametrize('boxes, rule', [
    (torch.rand(2, 5), "int64"), (torch.ones(2, 5, dtype=torch.int32), "int64"), (torch.ones(2, 4).long(), "(2, 4)"),
    (torch.ones(5).long(), "(5,)"),
])
def test_boxes_of_another_kind_are_refused(boxes, rule):
    with pytest.raises(ValueError, match="boxes must") as refused: check_boxes(boxes, HEIGHT, WIDTH)
    assert rule in str(refused.value)


@pytest.mark.parametrize('pictures, error, rule', [
    (torch.rand(1, 3, 4, 4)*255, ValueError, r"in \[0, 1\]"), (torch.rand(1, 3, 4, 4) - 1, ValueError, r"in \[0, 1\]"),
    (torch.full((1, 3, 4, 4), math.nan), ValueError, "finite"), (torch.full((1, 3, 4, 4), math.inf), ValueError, "inf"),
    (torch.rand(3, 4, 4), ValueError, r"\(3, 4, 4\)"), (torch.rand(1, 4, 4, 4), ValueError, r"\(1, 4, 4, 4\)"),
    (torch.ones(1, 3, 4, 4).byte(), TypeError, "uint8"), (np.ones((1, 3, 4, 4)), TypeError, "ndarray"),
])
def test_what_is_no_picture_is_refused(pictures, error, rule):
    with pytest.raises(error, match=rule): check_images(pictures, 'frames')
    with pytest.raises(error, match='frames'): check_images(pictures, 'frames')


def test_replacements_must_be_as_many_and_pictures():
    frames, boxes = noise(), random_boxes(3)
    with pytest.raises(ValueError, match="2 faces, 3 boxes"): replace_faces(frames, boxes, lambda f: f[:2], 8)
    with pytest.raises(ValueError, match=r"faces must be finite and in \[0, 1\]"):
        replace_faces(frames, boxes, lambda f: f*2 - 1, 8)
    with pytest.raises(ValueError, match="chunk must be at least 1"): replace_faces(frames, boxes, lambda f: f, 8, 0)


def test_eight_bits_keep_every_level_and_round_to_the_nearest():
    levels = torch.arange(256, dtype=torch.uint8).expand(2, 3, 1, 256)
    assert torch.equal(to_uint8(to_float(levels)), levels)
    values = torch.rand(2, 3, 5, 5)
    assert (to_float(to_uint8(values)) - values).abs().max() <= 0.5/255 + 1e-6
    assert to_uint8(torch.full((2, 4, 3, 1, 1), 1 + 5e-5)).unique().tolist() == [255]
    with pytest.raises(ValueError, match="from -1"): to_uint8(torch.full((3, 2, 2), -1.))


def test_landmarks_follow_their_crop():
    frames, boxes = ramp(), torch.tensor([[0, 10, 5, 40, 25]])
    landmarks = torch.tensor([[[20., 10.], [30., 10.], [25., 15.], [21., 20.], [29., 20.]]])
    face = crop_faces(frames, boxes, 60)[0]
    for (x, y), (u, v) in zip(landmarks[0].tolist(), landmarks_in_crops(landmarks, boxes, 60)[0].tolist()):
        red, green, _ = colour_at(face, u, v)
        assert (red.item()*WIDTH, green.item()*HEIGHT) == pytest.approx((x, y), abs=1e-3)
    with pytest.raises(ValueError, match="1 faces, 2 boxes"): landmarks_in_crops(landmarks, boxes.repeat(2, 1), 60)


@pytest.mark.parametrize('size', [(112, 96), (56, 48)])
@pytest.mark.parametrize('degrees, zoom, shift', [(0, 1, (40, 40)), (25, 0.8, (90, 30)), (-40, 1.4, (10, 80)),
                                                  (170, 0.5, (120, 140))])
def test_aligned_landmarks_lie_on_the_points(degrees, zoom, shift, size):
    turn = zoom*torch.tensor([[math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))],
                              [math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]])
    landmarks = torch.tensor(SPHEREFACE_POINTS) @ turn.T + torch.tensor(shift)
    face = ramp(240, 260)
    aligned = align_faces(face, landmarks[None], size)[0]
    assert aligned.shape == (3, *size)
    for (x, y), (u, v) in zip(landmarks.tolist(), SPHEREFACE_POINTS):
        red, green, _ = colour_at(aligned, u*size[1]/96, v*size[0]/112)
        assert math.hypot(red*260 - x, green*240 - y) < 0.1*zoom


def test_no_similarity_fits_better_than_ours():
    start, end = torch.randn(2, 1, 5, 2, dtype=torch.float64)*30
    ours = similarity_transform(start, end)
    def error(warp): return (start @ warp[:, :, :2].transpose(1, 2) + warp[:, None, :, 2] - end).square().sum()
    for step in 1e-3*torch.randn(50, 4, dtype=torch.float64):
        a, b, s, t = step
        assert error(ours) < error(ours + torch.stack([a, -b, s, b, a, t]).view(1, 2, 3))


@pytest.mark.parametrize('landmarks, rule', [
    (torch.rand(2, 4, 2), "(2, 5, 2)"), (torch.rand(1, 5, 2), "(2, 5, 2)"),
    (torch.tensor([1., math.nan]).view(2, 1, 1).expand(2, 5, 2)*torch.rand(2, 5, 2), "face 1"),
    (torch.tensor([1., 0.]).view(2, 1, 1)*torch.rand(2, 5, 2), "face 1"),
])
def test_landmarks_that_give_no_warp_are_refused(landmarks, rule):
    with pytest.raises(ValueError, match="landmarks") as refused: align_faces(torch.rand(2, 3, 8, 8), landmarks)
    assert rule in str(refused.value)


def test_known_faces_answer_whatever_the_frames():
    boxes = random_boxes(4)
    assert annotated_face_detector(boxes)(noise()) is boxes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize('boxes_on', ['cpu', 'cuda'])
def test_a_gpu_gives_the_same_frames(boxes_on):
    frames, boxes = noise(), random_boxes(60)
    ours = replace_faces(frames, boxes, lambda f: 1 - f, 16, 8)
    theirs = replace_faces(frames.cuda(), boxes.to(boxes_on), lambda f: 1 - f, 16, 8)
    torch.testing.assert_close(theirs.cpu(), ours, atol=1e-5, rtol=0)
    wide = enlarge_boxes(boxes.to(boxes_on), 2.2, HEIGHT, WIDTH)
    assert wide.tolist() == enlarge_boxes(boxes, 2.2, HEIGHT, WIDTH).tolist()
    landmarks = torch.rand(3, 5, 2)*40
    torch.testing.assert_close(align_faces(frames.cuda(), landmarks.cuda()).cpu(), align_faces(frames, landmarks),
                               atol=1e-4, rtol=0)
