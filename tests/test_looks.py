"Who is there for long is looked for, whatever a film's header says about its frames."
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from test_stream_changes import bright

from faceanon.video.anonymize import anonymize_video
from faceanon.video.reading import probe_video, read_video_frames

SEEN, COUNT = 200, 40


def film(path, times, there):
    "Frames at these times, in ms, in a stream that promises 25 frames a second; a square in some of them."
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libvpx' if path.suffix == '.webm' else 'libx264', rate=25, options=dict(crf='8'))
        stream.width, stream.height, stream.pix_fmt = 160, 120, 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, time in enumerate(times):
            pixels = np.full((120, 160, 3), 90, np.uint8)
            if i in there: pixels[40:70, 60:90] = 250
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


SLOW = [40*min(i, 5) + 1000*max(0, i - 5) for i in range(COUNT)]         # a frame a second, after the first few
PAUSE = [40*i + 5000*(i >= 22) for i in range(COUNT)]                    # one of the frames is shown for five seconds
HIDDEN = {'slow': (SLOW, {21, 22, 23}), 'slow, once': (SLOW, {21}), 'shown long': (PAUSE, {21}),
          'before a pause': (PAUSE, {20, 21}), 'at the start': ([0, *range(5000, 5000 + 40*(COUNT - 1), 40)], {0})}


@pytest.mark.parametrize('name', ['a.mkv', 'a.ts', 'a.flv'])
@pytest.mark.parametrize('what', HIDDEN)
def test_a_frame_that_is_shown_for_long_is_looked_at(tmp_path, what, name):
    times, there = HIDDEN[what]
    path = film(tmp_path/name, times, there)
    if what != 'at the start': assert probe_video(path).rate == 25
    done = anonymize_video(path, tmp_path/'b.mkv', find_faces=bright)
    shown = [frame.to_ndarray(format='gray').max() for frame in read_video_frames(tmp_path/'b.mkv')]
    assert len(shown) == done['frames'] == COUNT and max(shown) < SEEN


def test_a_steady_film_is_looked_at_at_every_fourth_frame(tmp_path):
    asked = []
    def nobody(frames):
        asked.append(len(frames))
        return torch.zeros(0, 5, dtype=torch.int64)
    anonymize_video(film(tmp_path/'a.mkv', [40*i for i in range(COUNT)], ()), tmp_path/'b.mkv', find_faces=nobody)
    assert sum(asked) == COUNT//4 + 1, "and the last"
