"A finder of the user's own that answers wrongly hides nothing by itself: frames and pictures are covered instead."
import sys
import time

import av
import numpy as np
import pytest
import torch
from PIL import Image

from faceanon.models.detection_checks import check_face_boxes
from faceanon.models.face_detectors import CenterFace, Detections, detect_faces, detect_near
from faceanon.video import hiding
from faceanon.video.anonymize import anonymize_stream, anonymize_video
from faceanon.video.face_list import read_sidecar
from faceanon.video.hiding import MASK_CONFIG, cover_doubtful_frame, cover_doubtful_pixels
from faceanon.video.images import ImageError, anonymize_image
from faceanon.video.reading import read_video_frames
from faceanon.video.selection import SelectiveDetector

SEEN = 160  # grey level above which the square, the "face", is seen


def right(frames):
    rows = []
    for i, frame in enumerate(frames):
        ys, xs = (frame.float().mean(0) > SEEN/255*(255 if frame.dtype == torch.uint8 else 1)).nonzero().T
        if len(ys): rows.append([i, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return torch.tensor(rows).reshape(-1, 5).long()


def answer(boxes, scores=None, landmarks=None):
    n = len(boxes)
    return Detections(boxes, torch.ones(n) if scores is None else scores,
                      torch.full((n, 5, 2), torch.nan) if landmarks is None else landmarks)


def scaled(boxes): return torch.cat([boxes[:, :1].double(), boxes[:, 1:]/160], 1)


WRONG = dict(
    scores_nan=lambda b: answer(b, torch.full((len(b),), torch.nan)),
    scores_percent=lambda b: answer(b, torch.full((len(b),), 95.)),
    scores_short=lambda b: answer(b, torch.ones(len(b) + 1)),
    scores_negative=lambda b: answer(b, -torch.ones(len(b))),
    frames_nan=lambda b: answer(torch.cat([torch.full((len(b), 1), torch.nan), b[:, 1:].float()], 1)),
    frames_shifted=lambda b: answer(b + torch.tensor([1, 0, 0, 0, 0])),
    frames_negative=lambda b: answer(b - torch.tensor([1, 0, 0, 0, 0])),
    frames_of_the_film=lambda b: answer(b + torch.tensor([400, 0, 0, 0, 0])),
    far=lambda b: answer(b + torch.tensor([0, *[10**9]*4])),
    huge=lambda b: answer(b*torch.tensor([1, 0, 0, 1, 1]) + torch.tensor([0, 0, 0, 10**9, 10**9])),
    fractions=lambda b: answer(scaled(b)),
    fractions_rounded=lambda b: answer(torch.cat([b[:, :1], torch.tensor([[0, 0, 1, 1]]).expand(len(b), 4)], 1)),
    floats=lambda b: answer(b.float()),
    small_type=lambda b: answer(b.to(torch.int16)),
    exchanged=lambda b: answer(b[:, [0, 3, 4, 1, 2]]),
    no_frame=lambda b: answer(b[:, 1:]),
    negative=lambda b: answer(b - torch.tensor([0, 999, 999, 999, 999])),
    array=lambda b: answer(b.numpy()),
    landmarks_short=lambda b: answer(b, landmarks=torch.zeros(len(b), 2)),
    rows_only=lambda b: b,
    nothing=lambda b: None,
)


class Finder:
    def __init__(self, wrong): self.wrong = wrong
    def __call__(self, frames): return right(frames)
    def detect(self, frames): return self.wrong(right(frames))


def film(path, count=12, shade=250, ground=90):
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=25, options=dict(crf='8'))
        stream.width, stream.height, stream.pix_fmt = 160, 120, 'yuv420p'
        for i in range(count):
            pixels = np.full((120, 160, 3), ground, np.uint8)
            pixels[40:70, 40 + 2*i:70 + 2*i] = shade
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
    return path


def brightest(path): return max(frame.to_ndarray(format='gray').max() for frame in read_video_frames(path))


@pytest.mark.parametrize('wrong', WRONG)
def test_a_wrong_answer_leaves_no_frame_of_a_film_clear(tmp_path, wrong):
    done = anonymize_video(film(tmp_path/'a.mp4'), tmp_path/'b.mp4', find_faces=Finder(WRONG[wrong]), every=1)
    assert done['doubts'] == done['frames'] == 12 and brightest(tmp_path/'b.mp4') < SEEN
    doubts = {row.doubt for row in read_sidecar(tmp_path/'b.mp4.faces.jsonl')[1]}
    assert all("the finder 'Finder'" in doubt for doubt in doubts)


@pytest.mark.parametrize('wrong', ['scores_nan', 'frames_shifted', 'far', 'fractions_rounded'])
def test_nor_a_picture_nor_a_camera(tmp_path, wrong):
    pixels = np.full((120, 160, 3), 90, np.uint8)
    pixels[40:70, 40:70] = 250
    Image.fromarray(pixels).save(tmp_path/'a.png')
    done = anonymize_image(tmp_path/'a.png', tmp_path/'b.png', find_faces=Finder(WRONG[wrong]))
    assert "the finder 'Finder'" in done['doubt'] and np.asarray(Image.open(tmp_path/'b.png')).max() < SEEN
    with pytest.raises(ImageError, match="the finder 'Finder'"):
        anonymize_image(tmp_path/'a.png', tmp_path/'c.png', find_faces=Finder(WRONG[wrong]), on_doubt='stop')
    frames = [torch.from_numpy(pixels).permute(2, 0, 1)]*4
    assert max(frame.max() for frame in anonymize_stream(frames, find_faces=Finder(WRONG[wrong]))) < SEEN


class Shifted:
    "Its answer has the right form; only whose it is, is wrong."
    def __init__(self, asked): self.asked = asked
    def detect_uint8(self, frames, whole=None):
        self.asked.append(len(frames))
        boxes = right(frames)
        boxes[:, 0] = (boxes[:, 0] + 1) % len(frames)
        return answer(boxes)


class ShiftedCenterFace(CenterFace):
    "What the class that it inherits from says about itself, does not hold for this one."
    def __init__(self, asked):
        super().__init__()
        self.asked = asked
    detect_uint8 = Shifted.detect_uint8


CONFUSED = dict(
    function=lambda asked: lambda frames: Shifted(asked).detect_uint8(frames).boxes,
    detect=lambda asked: type('Shifted', (), dict(detect=lambda self, frames: Shifted(asked).detect_uint8(frames)))(),
    detect_uint8=Shifted, inherited=ShiftedCenterFace,
    chosen=lambda asked: SelectiveDetector(Shifted(asked)),
    chosen_function=lambda asked: SelectiveDetector(CONFUSED['function'](asked), min_face=2))


@pytest.mark.parametrize('kind', CONFUSED)
def test_a_finder_that_confuses_the_frames_of_a_batch_leaves_none_clear(tmp_path, kind):
    "Such a finder is given one frame at a time."
    path, asked = tmp_path/'a.mp4', []
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=25, options=dict(crf='8'))
        stream.width, stream.height, stream.pix_fmt = 160, 120, 'yuv420p'
        for i in range(12):
            pixels = np.full((120, 160, 3), 90, np.uint8)
            x = 20 if i % 2 else 110
            pixels[40:60, x:x + 20] = 250
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
    done = anonymize_video(path, tmp_path/'b.mp4', find_faces=CONFUSED[kind](asked), every=1)
    assert brightest(tmp_path/'b.mp4') < SEEN and done['frames'] == 12 and len(asked) >= 12 and set(asked) == {1}


@pytest.mark.parametrize('with_scores', [False, True])
def test_a_hundred_thousand_boxes_in_a_frame_are_a_doubt(tmp_path, with_scores):
    def crowd(frames):
        rows = torch.randint(0, 60, (100_000, 2))
        return torch.cat([torch.zeros(len(rows), 1, dtype=torch.int64), rows, rows + 9], 1)
    class Crowd(Finder):
        def detect(self, frames): return answer(crowd(frames))
    find, start = Crowd(None) if with_scores else crowd, time.process_time()
    done = anonymize_video(film(tmp_path/'a.mp4'), tmp_path/'b.mp4', find_faces=find, every=1)
    assert done['doubts'] == 12 and brightest(tmp_path/'b.mp4') < SEEN and time.process_time() - start < 20
    Image.fromarray(np.full((120, 160, 3), 250, np.uint8)).save(tmp_path/'a.png')
    done = anonymize_image(tmp_path/'a.png', tmp_path/'b.png', find_faces=find)
    assert 'at most 2000 boxes' in done['doubt'] and np.asarray(Image.open(tmp_path/'b.png')).max() < SEEN


def test_a_crowd_in_one_frame_of_a_batch_is_refused():
    rows = torch.tensor([[1, 0, 0, 9, 9]]).expand(2001, 5)
    with pytest.raises(ValueError, match='at most 2000 boxes a frame, got 2001'):
        check_face_boxes(rows, 20, 20, 4)
    check_face_boxes(rows[1:], 20, 20, 4)


@pytest.mark.parametrize('code', [None, 0, 3, 'bye'])
def test_a_finder_or_method_that_ends_the_process_is_a_doubt(tmp_path, code):
    def leaves(frames, boxes=None): sys.exit(code)
    done = anonymize_video(film(tmp_path/'a.mp4'), tmp_path/'b.mp4', find_faces=leaves, every=1)
    assert done['doubts'] == 12 and brightest(tmp_path/'b.mp4') < SEEN
    done = anonymize_video(film(tmp_path/'a.mp4'), tmp_path/'c.mp4', leaves, right, every=1)
    assert done['doubts'] == 12 and brightest(tmp_path/'c.mp4') < SEEN
    frames = [torch.full((3, 120, 160), 250, dtype=torch.uint8)]*3
    assert max(frame.max() for frame in anonymize_stream(frames, find_faces=leaves)) < SEEN


def test_a_right_answer_is_used_whatever_its_device_type_of_an_empty_table(tmp_path):
    done = anonymize_video(film(tmp_path/'a.mp4'), tmp_path/'b.mp4', find_faces=Finder(answer), every=1)
    assert (done['doubts'], done['faces']) == (0, 12) and brightest(tmp_path/'b.mp4') < SEEN
    nobody = detect_faces(lambda frames: torch.zeros(0, 5), torch.zeros(1, 3, 8, 8))
    assert nobody.boxes.dtype == torch.int64 and len(nobody.boxes) == 0


def test_faces_that_are_said_to_stay_are_checked_too(tmp_path):
    class Keeps(Finder):
        kept = answer(torch.tensor([[0, 0, 0, 10**9, 10**9]]))
    done = anonymize_video(film(tmp_path/'a.mp4'), tmp_path/'b.mp4', find_faces=Keeps(answer), every=1)
    assert done['doubts'] == 12 and brightest(tmp_path/'b.mp4') < SEEN


def test_a_part_of_a_frame_is_checked_in_its_own_pixels():
    class Near:
        def detect_uint8(self, frames, whole=None): return answer(right(frames) + torch.tensor([0, 500, 0, 500, 0]))
    frame = np.zeros((1, 240, 400, 3), np.uint8)
    frame[:, 100:120, 100:120] = 255
    with pytest.raises(ValueError, match="inside a frame 96 wide"):
        detect_near(Near(), frame, np.array([[100., 100, 120, 120]]))


@pytest.mark.parametrize('shade', [0, 1, 3])
def test_a_nearly_black_place_under_the_mask_stops_nothing(tmp_path, shade):
    "The fallback covers a doubt on a dark frame, and the bright square elsewhere is hidden."
    path = film(tmp_path/'a.mp4', ground=shade)
    def fails_at_first(frames):
        fails_at_first.asked += 1
        if fails_at_first.asked in (3, 4): raise RuntimeError('no memory')
        return right(frames)
    fails_at_first.asked = 0
    done = anonymize_video(path, tmp_path/'b.mp4', find_faces=fails_at_first, every=1)
    assert done['frames'] == 12 and done['doubts'] and brightest(tmp_path/'b.mp4') < SEEN


def test_the_fallback_asks_no_method_and_no_check(tmp_path, monkeypatch):
    def never(*_, **__): raise AssertionError('asked')
    monkeypatch.setattr(hiding, 'unchanged_faces', never)
    monkeypatch.setattr(hiding, 'anonymize_region', never)
    frame = next(read_video_frames(film(tmp_path/'a.mp4')))
    shown = cover_doubtful_frame(frame, [(40., 40., 70., 70.)], None, 'mask', 'lost').to_ndarray(format='gray')
    assert shown[40:70, 40:70].max() < 30 and shown[:, -8:].min() > 80
    pixels = np.full((120, 160, 3), 250, np.uint8)
    shown = cover_doubtful_pixels(pixels, [(40., 40., 70., 70.)], None, 'mask', 'lost', 2.)
    assert shown[40:70, 40:70].max() == 0 and shown[:5].min() == 250


def test_where_a_part_cannot_be_painted_the_frame_is_black(tmp_path, monkeypatch):
    def fails(*_, **__): raise MemoryError
    monkeypatch.setattr(hiding, 'blend_shapes', fails)
    frame = next(read_video_frames(film(tmp_path/'a.mp4')))
    shown = cover_doubtful_frame(frame, [(40., 40., 70., 70.)], None, 'mask', 'lost')
    assert shown.to_ndarray(format='gray').max() < 20
    assert MASK_CONFIG.mask_shape.shape == 'ellipse'
