"What a user may hand in by mistake: each is a clear error or a defined result, for every way of changing a face."
import math
import os

import pytest
import torch
from safetensors.torch import save_file

from faceanon.config import PRESETS, TrainConfig, get_preset, preset_from_env
from faceanon.data.files import DataError
from faceanon.data.jhmdb import JHMDB
from faceanon.data.lfw import LFW
from faceanon.evaluation.networks import load_method
from faceanon.faces import batch_boxes, enlarge_boxes
from faceanon.models.anonymizer import Anonymizer, load_anonymizer, save_anonymizer
from faceanon.models.baselines import BASELINES, k_same

SIZE = 16


@pytest.fixture(scope='module')
def methods(tmp_path_factory):
    "All baselines, one with a gallery, and an M that was never trained."
    torch.manual_seed(0)
    path = save_anonymizer(tmp_path_factory.mktemp('m')/'m.safetensors', Anonymizer(8, 4, 1).eval())
    return BASELINES | dict(k_same=k_same(torch.rand(4, 3, SIZE, SIZE), 2), learned=load_method(path, SIZE))


NAMES = (*BASELINES, 'k_same', 'learned')
CHANGING = [name for name in NAMES if name != 'none']  # which looks at nothing and gives its frames back
FRAMES = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
BOXES = torch.tensor([[0, 4, 4, 20, 20], [1, 30, 10, 50, 40]])


@pytest.mark.parametrize('name', CHANGING)
@pytest.mark.parametrize('row', [
    [0, 60, 10, 70, 20], [0, -3, 10, 9, 20], [0, 70, 50, 80, 60], [0, 10, 10, 20, 49],  # outside the frame
    [0, 10, 10, 10, 20], [0, 10, 20, 30, 20], [0, 20, 10, 10, 20],                      # without an area
    [2, 10, 10, 20, 20], [-1, 10, 10, 20, 20],                                          # in no frame
])
def test_a_box_that_holds_no_face_is_named(methods, name, row):
    boxes = torch.cat([BOXES, torch.tensor([row])])
    with pytest.raises(ValueError, match=r'box 2 is .*\['): methods[name](FRAMES, boxes)


@pytest.mark.parametrize('name', CHANGING)
def test_boxes_that_are_no_whole_numbers_are_refused(methods, name):
    for boxes in (BOXES.float(), torch.full((1, 5), math.nan), BOXES.int(), BOXES[:, 1:]):
        with pytest.raises(ValueError, match='boxes must|must be finite'): methods[name](FRAMES, boxes)


def test_what_a_face_finder_may_get_wrong_is_named():
    for bad in (math.nan, math.inf):
        boxes = torch.tensor([[1., 1., 9., 9.], [1., bad, 9., 9.]])
        with pytest.raises(ValueError, match='box 1 .*finite'): batch_boxes([boxes])
    far = torch.tensor([[0, 200, 200, 220, 220], [0, -50, 5, -30, 25]])  # becomes a pixel of the nearest edge
    assert enlarge_boxes(far, 1, 48, 64).tolist() == [[0, 63, 47, 64, 48], [0, 0, 5, 1, 25]]


@pytest.mark.parametrize('name', NAMES)
def test_without_a_face_frames_stay_as_they_are(methods, name):
    none = torch.empty(0, 5, dtype=torch.int64)
    assert torch.equal(methods[name](FRAMES, none), FRAMES)
    assert methods[name](FRAMES[:0], none).shape == (0, 3, 48, 64)


@pytest.mark.parametrize('name', NAMES)
def test_300_faces_are_changed_in_one_call(methods, name):
    gen = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 30, (300, 2), generator=gen)
    boxes = torch.cat([torch.arange(300)[:, None] % 2, corners, corners + 16], 1)
    changed = methods[name](FRAMES, boxes)
    assert changed.shape == FRAMES.shape and bool(changed.isfinite().all())
    touched = torch.zeros(2, 48, 64, dtype=torch.bool)
    for i, x1, y1, x2, y2 in boxes.tolist(): touched[i, y1:y2, x1:x2] = True
    assert torch.equal(changed.movedim(1, -1)[~touched], FRAMES.movedim(1, -1)[~touched])


@pytest.mark.parametrize('name', NAMES)
def test_a_picture_of_one_pixel_is_a_picture(methods, name):
    frame, box = torch.full((1, 3, 1, 1), .25), torch.tensor([[0, 0, 0, 1, 1]])
    changed = methods[name](frame, box)
    assert changed.shape == frame.shape and bool(changed.isfinite().all())


@pytest.mark.parametrize('name', CHANGING)
@pytest.mark.parametrize('frames, error, says', [
    ((FRAMES*255).byte(), TypeError, 'uint8'), (FRAMES*255, ValueError, r'in \[0, 1\]'),
    (FRAMES*2 - 1, ValueError, r'in \[0, 1\]'), (FRAMES*math.nan, ValueError, 'finite'),
    (FRAMES[:, :1], ValueError, r'\(2, 1, 48, 64\)'), (FRAMES[:, [0, 1, 2, 0]], ValueError, r'\(2, 4, 48, 64\)'),
    (FRAMES.movedim(1, -1), ValueError, r'\(2, 48, 64, 3\)'), (FRAMES[0], ValueError, r'\(3, 48, 64\)'),
    (FRAMES.numpy(), TypeError, 'ndarray'),
])
def test_what_is_no_frame_is_refused(methods, name, frames, error, says):
    with pytest.raises(error, match=f'frames must .*{says}'): methods[name](frames, BOXES)


def test_an_unknown_preset_is_named_and_the_known_are_listed(monkeypatch):
    for name in ('huge', '', 'Small'):
        with pytest.raises(ValueError, match=f"unknown preset '{name}'.*{', '.join(PRESETS)}"): get_preset(name)
    monkeypatch.setenv('FACEANON_PRESET', 'huge')
    with pytest.raises(ValueError, match="unknown preset 'huge'"): preset_from_env()
    with pytest.raises(TypeError, match='TrainConfig has no lamda'): get_preset('toy', lamda=1)


@pytest.mark.parametrize('changes', [
    dict(people=2), dict(checkpoint_every=0), dict(face_size=42), dict(frame_size=0), dict(frame_size=100),
    dict(pad=.5), dict(seed=-1), dict(margin=0), dict(d_pool=0), dict(m_noise=0.), dict(source='photos'),
    dict(objective='gan'),
], ids=lambda changes: next(iter(changes)))
def test_a_setting_out_of_range_is_named(changes):
    with pytest.raises(ValueError, match=f"settings out of range: .*{next(iter(changes))}"): TrainConfig(**changes)


@pytest.mark.parametrize('content, says', [
    (b'', 'damaged'), (b'no weights', 'damaged'), (b'\xff'*64, 'damaged'), ('cut', 'damaged'),
    ('foreign', 'not written by save_anonymizer'),
])
def test_a_checkpoint_that_is_none_is_refused(tmp_path, content, says):
    path = save_anonymizer(tmp_path/'m.safetensors', Anonymizer(8, 4, 1))
    if content == 'cut': path.write_bytes(path.read_bytes()[:-7])
    elif content == 'foreign': save_file(dict(weight=torch.zeros(3)), path)
    else: path.write_bytes(content)
    with pytest.raises(ValueError, match=f'm.safetensors.*({says})'): load_anonymizer(path)
    with pytest.raises(ValueError, match=f'm.safetensors.*({says})'): load_method(path, SIZE)


@pytest.mark.parametrize('inside', [(), ('lfw', 'jhmdb')], ids=['empty', 'empty folders inside'])
def test_an_empty_data_folder_is_a_clear_error(tmp_path, monkeypatch, inside):
    for name in inside: (tmp_path/name).mkdir()
    monkeypatch.setenv('FACEANON_DATA', str(tmp_path))
    for reader in (LFW, JHMDB):
        with pytest.raises(DataError, match=f'{os.path.basename(tmp_path)}.*expected'): reader('train')
