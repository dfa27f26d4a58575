"A photograph that is asked for twice gets the same answer, pixel for pixel, and only on this machine."
import numpy as np
import pytest
import torch
from PIL import Image

from faceanon.models.baselines import mask
from faceanon.models.pixel_methods import StochasticMethod
from faceanon.video.image_frames import ImageError
from faceanon.video.images import anonymize_image
from faceanon.video.mask_shapes import MaskShape
from faceanon.video.still_noise import still_secret

BOXES = torch.tensor([[0, 8, 6, 24, 22], [0, 36, 10, 52, 26]])


def draw(frames, boxes, key):
    "Noise in every box, the same in all of one call, as a released M draws it."
    generator = None if key is None else torch.Generator().manual_seed(key)
    out = frames.clone()
    noise = torch.rand(3, 16, 16, generator=generator)
    for i, x1, y1, x2, y2 in boxes.tolist(): out[i, :, y1:y2, x1:x2] = .5*frames[i, :, y1:y2, x1:x2] + .5*noise
    return out


NOISY = StochasticMethod(draw)


@pytest.fixture
def photograph(tmp_path, monkeypatch):
    monkeypatch.setenv('FACEANON_SECRET', str(tmp_path/'keys'/'secret'))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    pixels[10:26, 36:52] = pixels[6:22, 8:24]  # the same face twice
    pixels[25, 51] ^= 128                      # but for a pixel
    Image.fromarray(pixels).save(tmp_path/'in.png')
    return tmp_path/'in.png'


def hidden(path, method=NOISY, boxes=BOXES):
    out = path.with_name('out.png')
    anonymize_image(path, out, method, lambda frames: boxes, MaskShape(1, 'box', 0), overwrite=True)
    return np.asarray(Image.open(out)).astype(int)


def test_the_same_photograph_gets_the_same_answer_and_a_changed_one_another(photograph):
    once = hidden(photograph)
    original = np.asarray(Image.open(photograph)).astype(int)
    for _, x1, y1, x2, y2 in BOXES.tolist(): assert (once[y1:y2, x1:x2] != original[y1:y2, x1:x2]).mean() > .9
    assert (hidden(photograph) == once).all()
    changed = original.copy()
    changed[7, 9, 0] ^= 1
    Image.fromarray(changed.astype(np.uint8)).save(photograph)
    again = hidden(photograph)
    assert (np.abs(again - once)[6:22, 8:24] > 2).mean() > .8
    assert (again[10:26, 36:52] == once[10:26, 36:52]).all(), "the other face has not changed"


def test_two_faces_of_a_photograph_do_not_share_their_noise(photograph):
    once = hidden(photograph)
    one, other = once[6:22, 8:24], once[10:26, 36:52]
    assert (np.abs(one - other) > 2).mean() > .8


def test_what_is_cut_away_beside_the_face_changes_nothing(photograph):
    once = hidden(photograph)
    Image.open(photograph).crop((4, 2, 60, 40)).save(photograph)
    cut = hidden(photograph, boxes=BOXES - torch.tensor([0, 4, 2, 4, 2]))
    assert (cut == once[2:, 4:]).all()


def test_another_secret_gives_another_answer(photograph, monkeypatch):
    once = hidden(photograph)
    monkeypatch.setenv('FACEANON_SECRET', str(photograph.with_name('other')))
    assert (np.abs(hidden(photograph) - once)[6:22, 8:24] > 2).mean() > .8
    assert still_secret() != bytes(32) and photograph.with_name('other').stat().st_mode & 0o77 == 0


def test_without_a_whole_secret_nothing_is_written(photograph, monkeypatch):
    photograph.with_name('short').write_bytes(b'known to all')
    monkeypatch.setenv('FACEANON_SECRET', str(photograph.with_name('short')))
    with pytest.raises(ImageError, match='expected a secret of 32 bytes, found 12'): hidden(photograph)
    monkeypatch.setenv('FACEANON_SECRET', str(photograph/'below a file'))
    with pytest.raises(ImageError, match='nothing is written'): hidden(photograph)
    assert not photograph.with_name('out.png').exists()


def test_a_method_without_noise_needs_no_secret(photograph):
    assert (hidden(photograph, mask)[6:22, 8:24] == 0).all()
    assert not (photograph.parent/'keys').exists()
