"Times and places are the viewer's: the clock begins at the first frame, and a region means what is seen."
import json

import numpy as np
import pytest
from test_stream_changes import SMALL, TICK, av, bright, draw_turned, mask, picture

from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import read_sidecar, sidecar_path
from faceanon.video.reading import describe_video, probe_video
from faceanon.video.rerender import read_review_frame
from faceanon.video.review import collect_face_crops, read_video_summary

SEEN = 170
START = 90  # frames: 3.6 seconds


def draw_late(path, count=20):
    "A stream whose clock does not begin at 0."
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=25, options=dict(crf='10'))
        (stream.width, stream.height), stream.pix_fmt = SMALL, 'yuv420p'
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(SMALL, (20 + i, 10, 44 + i, 34)), format='rgb24')
            frame.pts, frame.time_base = START + i, TICK
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def clear_frames(path):
    with av.open(str(path)) as container:
        return [i for i, frame in enumerate(container.decode(video=0)) if frame.to_ndarray(format='gray').max() > SEEN]


@pytest.mark.parametrize('suffix', ['.ts', '.mkv', '.mov'])
def test_a_span_of_time_counts_from_the_first_frame(tmp_path, suffix):
    path = draw_late(tmp_path/f'in{suffix}')
    with av.open(str(path)) as container: assert suffix == '.mov' or next(container.decode(video=0)).time > 1
    anonymize_video(path, tmp_path/'out.mp4', mask, bright, chosen=dict(span=(0, .38)))
    assert clear_frames(tmp_path/'out.mp4') == list(range(10, 20))
    sidecar = sidecar_path(tmp_path/'out.mp4')
    anonymize_video(path, tmp_path/'again.mp4', mask, sidecar=sidecar, chosen=dict(span=(0, .2)))
    assert clear_frames(tmp_path/'again.mp4') == list(range(6, 20)), "the same by the list, and `keep` stays"


def test_review_tells_the_same_clock(tmp_path):
    path = draw_late(tmp_path/'in.ts')
    anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    sidecar = sidecar_path(tmp_path/'out.mp4')
    summary = read_video_summary(path, sidecar)[1]
    assert (summary.tracks[0].start, round(summary.tracks[0].end, 3), round(summary.end, 3)) == (0, .8, .8)
    crops = collect_face_crops(path, sidecar, summary.tracks)[0]
    assert all(round(crop.time, 3) == round(crop.frame/25, 3) for crop in crops)
    assert read_review_frame(path, tmp_path/'out.mp4', sidecar, 10).title.endswith('frame 10 at 0:00.4')


def test_an_early_end_is_seen_whenever_the_clock_begins(tmp_path):
    path = draw_late(tmp_path/'in.mkv')
    assert anonymize_video(path, tmp_path/'out.mp4', mask, bright)['ends_early'] == 0


@pytest.mark.parametrize('way', ['as it is', 'hflip', 'vflip', 'turned by 180',
                                 'clock', 'cclock', 'cclock_flip', 'clock_flip'])
def test_a_region_means_what_the_viewer_sees(tmp_path, way):
    from test_stream_changes import MATRICES
    path = draw_turned(tmp_path/'in.mov', way)
    seen = MATRICES[way][1](picture(SMALL, (20, 10, 51, 34))).mean(2) > SEEN
    ys, xs = map(np.flatnonzero, (seen.any(1), seen.any(0)))
    there = tuple(map(int, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)))
    height, width = seen.shape
    elsewhere = (0, 0, width, there[1] - 4) if there[1] > height/2 else (0, there[3] + 4, width, height)
    anonymize_video(path, tmp_path/'hidden.mov', mask, bright, chosen=dict(roi=there))
    anonymize_video(path, tmp_path/'shown.mov', mask, bright, chosen=dict(roi=elsewhere))
    assert clear_frames(tmp_path/'hidden.mov') == [] and clear_frames(tmp_path/'shown.mov') == list(range(8))


def test_list_and_json_say_which_frame_boxes_are_in(tmp_path):
    path = draw_turned(tmp_path/'in.mov', 'cclock_flip')
    anonymize_video(path, tmp_path/'out.mov', mask, bright)
    header = read_sidecar(sidecar_path(tmp_path/'out.mov'))[0]
    assert 'stored frame' in header['boxes'] and header['mirrored'] and header['rotation'] in (90, -90)
    row = json.loads(json.dumps(describe_video(probe_video(path))))
    assert (row['width'], row['height'], row['viewed_size']) == (*SMALL, list(SMALL[::-1]))
