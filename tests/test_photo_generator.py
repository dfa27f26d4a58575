"M for photographs: what its pictures depend on, where it draws, and where it blurs because it cannot."
import itertools

import numpy as np
import pytest
import torch

from faceanon.faces import resize
from faceanon.models.anonymizer import Anonymizer, load_anonymizer, save_anonymizer, with_fixed_noise
from faceanon.models.baselines import blur
from faceanon.models.head_drawing import HEAD_BOX, draw_in_picture
from faceanon.models.photo_generator import (
    HeadBlender,
    PhotoAnonymizer,
    _from_crop,
    _solid,
    draw_heads,
    head_drawing_method,
)
from faceanon.models.pixel_methods import method_for_face
from faceanon.models.released import find_weights
from faceanon.pixels import enlarge_pixel_boxes
from faceanon.video.commands import method_from_option
from faceanon.video.mask_shapes import anonymize_pixels

RELEASED = 'real-drawn-0'
PRICE = 4.58  # nats
QUARTERS = [120.0, 117.4, 128.7, 102.5, 106.0, 101.0, 102.9, 82.4, 96.6, 87.9, 86.4, 70.0]


@pytest.fixture(scope='module')
def small():
    "Untrained, with a blender that listens to what it sees."
    torch.manual_seed(0)
    M = PhotoAnonymizer(8, 8, 8, 8).eval()
    torch.nn.init.normal_(M.blender.o.weight, 0, .5)
    torch.nn.init.normal_(M.generator.main[-2].weight, 0, .5)
    return M


@pytest.fixture(scope='module')
def released(): return Anonymizer.from_pretrained(RELEASED)


def ellipse(height, width, scale, centre=(.5, .455), radii=(.426, .363)):
    "Pixels of a box within the hidden ellipse, shrunk or grown."
    y, x = ((torch.arange(n) + .5)/n for n in (height, width))
    far = ((x[None] - centre[0])/radii[0]).square() + ((y[:, None] - centre[1])/radii[1]).square()
    return far < scale**2


@torch.no_grad()
def test_a_picture_depends_on_its_code_and_on_what_lies_outside_the_ellipse(small):
    faces, code = torch.rand(1, 3, 128, 128), small.encode(torch.rand(1, 3, 128, 128))
    other = torch.where(ellipse(128, 128, .94), torch.rand_like(faces), faces)
    one, two = small.render(code, faces), small.render(code, other)
    inside = ellipse(128, 128, .8)
    assert torch.equal(one[..., inside], two[..., inside])
    assert (one - faces).abs()[..., inside].mean() > .1
    assert not torch.equal(small.render(code, 1 - faces)[..., inside], one[..., inside])
    assert not torch.equal(small.render(code + .5, faces)[..., inside], one[..., inside])


@torch.no_grad()
def test_beyond_the_ellipse_the_picture_is_the_original(small):
    faces = torch.rand(2, 3, 128, 128)
    beyond = ~ellipse(128, 128, 1.04)
    assert torch.equal(small(faces)[..., beyond], faces[..., beyond])


@torch.no_grad()
def test_a_grey_picture_stays_grey(small):
    grey = torch.rand(1, 1, 128, 128).expand(1, 3, -1, -1)
    out = small(grey)
    assert (out.amax(1) - out.amin(1)).max() < 1e-6
    coloured = small(torch.rand(1, 3, 128, 128))[..., ellipse(128, 128, .8)]
    assert (coloured.amax(1) - coloured.amin(1)).max() > 1e-5


@torch.no_grad()
def test_the_code_holds_a_noisy_signal_and_four_numbers_of_place(small):
    faces = torch.rand(3, 3, 128, 128)
    mean = small.mean_code(faces)
    sent = torch.stack([small.encode(faces[:1])[0] for _ in range(100)])
    assert mean.shape == (3, 12) and torch.equal(small.mean_code(faces), mean)
    assert sent.std(0).tolist() == pytest.approx(small.noise[0].tolist(), rel=.3)
    assert small.noise[0, -4:].tolist() == pytest.approx([.015]*4)


@torch.no_grad()
def test_one_key_is_one_nobody(small):
    faces = torch.rand(2, 3, 64, 64)
    once = with_fixed_noise(small, 3)
    assert torch.equal(once(faces), once(faces))
    assert not torch.equal(once(faces), with_fixed_noise(small, 4)(faces))
    frames, boxes = torch.rand(1, 3, 120, 120), torch.tensor([[0, 10, 10, 90, 110]])
    change = head_drawing_method(small).change
    assert torch.equal(change(frames, boxes, 5), change(frames, boxes, 5))
    assert not torch.equal(change(frames, boxes, 5), change(frames, boxes, 6))
    assert not torch.equal(change(frames, boxes, None), change(frames, boxes, None))


@pytest.mark.parametrize('face', [4, 8, 15, 30, 60, 200, 1000])
def test_a_head_is_hidden_at_every_size_and_nothing_else_changes(small, face):
    height, width = round(2.2*face), round(2.2*.725*face)
    frames = torch.rand(1, 3, height + 20, width + 20)
    out = draw_heads(frames, torch.tensor([[0, 10, 10, 10 + width, 10 + height]]), small)
    box, was = out[..., 10:-10, 10:-10].clone(), frames[..., 10:-10, 10:-10]
    assert (box - was).abs()[..., ellipse(height, width, .85)].mean() > .15
    out[..., 10:-10, 10:-10] = was
    assert torch.equal(out, frames)
    # noise of single pixels does not come through
    inner = box[..., ellipse(height, width, .7)]
    assert abs(np.corrcoef(inner.flatten(), was[..., ellipse(height, width, .7)].flatten())[0, 1]) < .25


def test_a_face_that_may_be_cut_is_drawn_into_its_blur_and_of_a_speck_one_colour_is_left(small):
    frames = torch.rand(1, 3, 120, 160)
    for box in ([0, 0, 0, 70, 90], [0, 100, 50, 160, 120], [0, 120, 20, 160, 110], [0, 0, 0, 160, 120]):
        ours, blurred = draw_heads(frames, torch.tensor([box]), small, 3), blur(frames, torch.tensor([box]), 4)
        drawn = ((ours - blurred).abs() > 1e-5).any(1)
        assert .3 < drawn[:, box[2]:box[4], box[1]:box[3]].float().mean() < 1
        # of the face nothing is looked at but its blur
        torch.testing.assert_close(ours, draw_heads(blurred, torch.tensor([box]), small, 3), atol=.02, rtol=0)
    for box in ([0, 40, 40, 45, 47], [0, 0, 0, 5, 30]):
        _, x1, y1, x2, y2 = box
        speck = draw_heads(frames, torch.tensor([box]), small)[..., y1:y2, x1:x2]
        assert (speck - speck[..., :1, :1]).abs().max() < 1e-5
        assert (speck.mean((2, 3)) - frames[..., y1:y2, x1:x2].mean((2, 3))).abs().max() < .15


@torch.no_grad()
def test_a_box_cut_by_the_border_gets_its_missing_part_back(small):
    torch.manual_seed(1)
    frames = resize(torch.rand(1, 3, 20, 20), (260, 260)).clamp(0, 1)
    whole = draw_heads(frames, torch.tensor([[0, 50, 30, 195, 230]]), small, 7)
    def changed(out, shown): return (out != shown).any(1)
    left, plain = draw_heads(frames[..., 65:], torch.tensor([[0, 0, 30, 130, 230]]), small, 7), frames[..., 65:]
    assert (changed(left, plain) == changed(whole, frames)[..., 65:]).float().mean() > .995
    tall = draw_heads(frames[..., 40:220, :], torch.tensor([[0, 50, 0, 195, 180]]), small, 7)
    assert (changed(tall, frames[..., 40:220, :]) == changed(whole, frames)[:, 40:220]).float().mean() > .995


@pytest.mark.parametrize('side', ['left', 'top', 'right', 'below'])
def test_no_part_of_a_face_that_the_border_cuts_stays_beside_the_head(small, side):
    "A finder's box ends at the border; the least mask is the one that hides least."
    mask = _solid(_from_crop(small.blender.least, 128, 'zeros')).numpy()
    for cut, width in itertools.product((0, 20, 40, 60), (68, 73, 85)):
        x, y = 200 - width//2, 150                               # of a face 100 pixels high
        left, top, right, bottom = 0, 0, 400, 400
        if side == 'left': left = x + cut*width//100
        if side == 'top': top = y + cut
        if side == 'right': right = x + (100 - cut)*width//100
        if side == 'below': bottom = y + 100 - cut
        picture = .5 + .5*np.random.default_rng(0).random((bottom - top, right - left, 3), np.float32)
        height, length = picture.shape[:2]
        found = np.array([[x - left, y - top, x - left + width, y - top + 100]])
        box = enlarge_pixel_boxes(enlarge_pixel_boxes(found, 1, height, length), HEAD_BOX, height, length)
        out = draw_in_picture(picture, box, lambda face: (0*face, mask))
        rows, columns = np.ogrid[top:bottom, left:right]
        face = ((columns + .5 - x - width/2)/(width/2))**2 + ((rows + .5 - y - 50)/50)**2 < 1
        assert (np.abs(out - picture).max(2) > .02)[face].mean() > .99, (cut, width)


def test_other_input_is_refused(small):
    with pytest.raises(ValueError, match=r'code must be \(n, 12\)'): small.decode(torch.zeros(1, 11))
    with pytest.raises(ValueError, match=r'\[0, 1\]'): small(torch.full((1, 3, 64, 64), 2.))
    with pytest.raises(ValueError, match='positive'): PhotoAnonymizer(dims=0)
    with pytest.raises(ValueError, match='place_noise'): PhotoAnonymizer(place_noise=-1.)


@torch.no_grad()
def test_it_is_saved_and_restored(small, tmp_path):
    again, faces = load_anonymizer(save_anonymizer(tmp_path/'m.safetensors', small)), torch.rand(2, 3, 64, 64)
    assert type(again) is PhotoAnonymizer
    assert torch.equal(with_fixed_noise(again, 1)(faces), with_fixed_noise(small, 1)(faces))


def test_a_blender_can_learn():
    torch.manual_seed(0)
    B, heads, crops = HeadBlender(8), torch.rand(4, 4, 96, 96), torch.rand(4, 3, 1, 1)*torch.ones(4, 3, 96, 96)
    optimizer, losses = torch.optim.Adam(B.parameters(), 1e-2), []
    for _ in range(12):
        loss = (B(heads, crops)[0] - crops).abs().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < .8*losses[0]


def test_real_is_the_one_that_draws_and_the_old_one_stays():
    assert find_weights('real').stem == RELEASED
    assert type(Anonymizer.from_pretrained('real-learned-0')) is Anonymizer
    assert method_from_option('real').description.startswith(RELEASED)


def test_the_released_weights_draw_the_head_they_drew(released):
    "Means of the quarters of one head, in 255ths."
    code = torch.sin(torch.arange(100)*1.7)[None]*2**.5
    with torch.no_grad(): quarters = 255*torch.nn.functional.adaptive_avg_pool2d(released.generator(code), 2).flatten()
    assert released.encoder.price().item() == pytest.approx(PRICE, abs=.01)
    assert quarters.tolist() == pytest.approx(QUARTERS, abs=.5)
    assert find_weights(RELEASED).stat().st_size < 12e6


def test_the_tool_draws_another_head_into_a_picture(released):
    "A head of the generator in a grey picture: its pixels are gone, and a head is there."
    with torch.no_grad(): head = released.generator(.7*torch.randn(1, 100, generator=torch.Generator().manual_seed(0)))
    frame = torch.full((3, 300, 300), .5)
    frame[:, 86:214, 86:214] = resize(head, 128)[0]
    box = torch.tensor([[0, 111, 105, 189, 213]])
    method = method_from_option('real')
    seen = (255*frame).round().to(torch.uint8)
    drawing = method_for_face(method.method, 0)
    out = anonymize_pixels(seen, drawing, lambda frames: box, method.mask_shape).float()/255
    inner = (slice(None), slice(116, 196), slice(118, 182))
    assert (out - frame)[inner].abs().mean() > .03
    assert np.corrcoef(out[inner].mean(0).diff(dim=1).flatten(), frame[inner].mean(0).diff(dim=1).flatten())[0, 1] < .6
    assert out[inner].std() > .025
    assert (out - frame)[:, :30].abs().max() < .01
    assert released.landmarks(out[None, :, 86:214:2, 86:214:2])[0, :, 1].diff()[1] > .05  # the nose is below the eyes
