"A face is hidden in its colours as in its brightness, and to its last pixel, in the decoded result."
import av
import numpy as np
import pytest
import torch

from faceanon.models.baselines import BASELINES
from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import write_sidecar
from faceanon.video.mask_shapes import MaskShape
from faceanon.video.reading import describe_film, read_video_frames
from faceanon.video.tracking import FrameFaces, TrackedFace

GROUND, FACE = (90, 90, 90), (220, 30, 58)  # of one brightness: only colour tells them apart
SIZE, COUNT = (96, 64), 12
FORMATS = [('libx264', 'yuv420p'), ('libx264', 'yuv444p'), ('libx265', 'yuv420p10le'), ('ffv1', 'gbrp10le'),
           ('ffv1', 'bgr0')]


def film(path, codec='libx264', pix_fmt='yuv420p', step=2, start=(21, 20), side=16):
    "A red square wanders over a grey ground."
    options = {'x265-params': 'log-level=none'} if codec == 'libx265' else dict(crf='10') if codec == 'libx264' else {}
    with av.open(str(path), 'w') as out:
        stream = out.add_stream(codec, rate=25, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE, pix_fmt
        for i in range(COUNT):
            pixels = np.full((SIZE[1], SIZE[0], 3), GROUND, np.uint8)
            x, y = start[0] + step*i, start[1]
            pixels[y:y + side, x:x + side] = FACE
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
    return path


def redness(path):
    "How much redder than green the reddest pixel of each frame is, in levels."
    pictures = (frame.to_ndarray(format='rgb24').astype(int) for frame in read_video_frames(path))
    return [(picture[..., 0] - picture[..., 1]).max() for picture in pictures]


def red(frames):
    "A finder of the square's inner pixels: those of its edge are blended with the ground where chroma is halved."
    rows = []
    for i, frame in enumerate(frames):
        ys, xs = (frame[0] - frame[1] > 100/255*(255 if frame.dtype == torch.uint8 else 1)).nonzero().T
        if len(ys): rows.append([i, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return torch.tensor(rows).reshape(-1, 5).long()


@pytest.mark.parametrize('codec, pix_fmt', FORMATS)
@pytest.mark.parametrize('doubt', [False, True])
def test_no_colour_of_a_face_is_left(tmp_path, codec, pix_fmt, doubt):
    "Neither where it is hidden nor where a doubtful frame is covered."
    path, out, looks = film(tmp_path/'a.mkv', codec, pix_fmt), tmp_path/'b.mkv', iter(range(10**6))
    def find(frames):
        boxes = red(frames)
        if doubt and any(next(looks) % 4 == 2 for _ in range(len(frames))): raise RuntimeError('no memory')
        return boxes
    assert min(redness(path)) > 120
    done = anonymize_video(path, out, find_faces=find, every=1, codec=codec)
    assert done['frames'] == COUNT and (0 < done['doubts'] < COUNT if doubt else not done['doubts'])
    left = redness(out)
    assert len(left) == COUNT and max(left) < 30


def listed(path, boxes, doubts=()):
    "A list by hand: one box a frame, or none; frames in doubt are named."
    rows = [FrameFaces(i, frame.pts, () if box is None else (TrackedFace(0, box, .9, 'found'),),
                       doubt='track 0 was lost' if i in doubts else '')
            for i, (frame, box) in enumerate(zip(read_video_frames(path), boxes))]
    about = dict(video=path.name, width=SIZE[0], height=SIZE[1], detector='hand', enlarge=1., film=describe_film(path))
    write_sidecar(path.with_suffix('.jsonl'), about, rows)
    return path.with_suffix('.jsonl')


def test_a_pixel_that_a_box_only_touches_is_hidden(tmp_path):
    "Boxes of tracks have fractions; the square's outermost pixels are inside by a part."
    path, out = film(tmp_path/'a.mkv', 'ffv1', 'bgr0', step=0), tmp_path/'b.mkv'
    edges = (.9, .9, .1, .1), (.5, .5, .5, .5), (0., .6, 1., .4), (.99, 0., .01, 1.)
    boxes = [(21 + a, 20 + b, 36 + c, 35 + d) for a, b, c, d in edges*3]
    anonymize_video(path, out, BASELINES['mask'], sidecar=listed(path, boxes), codec='ffv1',
                    mask_shape=MaskShape(1., 'box', 0))
    assert min(redness(path)) > 120 and max(redness(out)) < 5


def test_a_lost_face_that_moves_on_is_under_the_cover(tmp_path):
    "It is known in four frames only; in the eight after them it goes on by half of its side."
    path, out = film(tmp_path/'a.mkv', step=1), tmp_path/'b.mkv'
    boxes = [(21. + i, 20., 37. + i, 36.) if i < 4 else None for i in range(COUNT)]
    done = anonymize_video(path, out, BASELINES['mask'], sidecar=listed(path, boxes, range(4, COUNT)))
    assert done['doubts'] == COUNT - 4 and min(redness(path)) > 120
    grounds = [frame.to_ndarray(format='gray').max() for frame in read_video_frames(out)]
    assert min(grounds) > 80, "the whole frame is not covered"
    assert max(redness(out)) < 30


def test_a_face_is_not_taken_for_another_one_far_away(tmp_path):
    "The finder loses one in the frame in which another comes in elsewhere: the lost one stays hidden."
    path, out = tmp_path/'a.mkv', tmp_path/'b.mkv'
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('libx264', rate=25, options=dict(crf='10'))
        stream.width, stream.height, stream.pix_fmt = 192, 64, 'yuv420p'
        for i in range(COUNT):
            pixels = np.full((64, 192, 3), GROUND, np.uint8)
            pixels[20:36, 20:36] = FACE
            if i >= 6: pixels[20:36, 150:166] = FACE
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        file.mux(stream.encode())
    def one_at_a_time(frames):
        parts = [frame[..., 96:] for frame in frames]
        lefts = [0 if len(red([part])) == 0 else 96 for part in parts]
        boxes = [red([frame[..., left:left + 96]]) + torch.tensor([i, left, 0, left, 0])
                 for i, (frame, left) in enumerate(zip(frames, lefts))]
        return torch.cat(boxes)
    anonymize_video(path, out, BASELINES['mask'], one_at_a_time, every=1)
    assert min(redness(path)) > 120 and max(redness(out)) < 30
