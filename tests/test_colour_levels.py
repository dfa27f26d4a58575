"What is not hidden is as bright in the result as in the film, whichever of the two scales of levels either uses."
from functools import partial

import av
import numpy as np
import pytest
from test_stream_changes import bright as bright_over

from faceanon.video.anonymize import anonymize_video
from faceanon.video.reading import read_video_frames

LIMITED, FULL = 1, 2  # FFmpeg's numbers: black and white are 16 and 235, or 0 and 255
GREYS = slice(48, None)  # columns that no mask reaches
STEPS = 2.4               # two steps of the coarser scale are 2*255/219


bright = partial(bright_over, over=230)


def samples(frame, plane=0):
    bits = frame.format.components[0].bits
    rows = np.frombuffer(frame.planes[plane], np.uint8 if bits <= 8 else np.uint16)
    return rows.reshape(frame.planes[plane].height, -1)[:, :frame.planes[plane].width], 2**(bits - 8)


def draw(path, codec, form, levels, size):
    "A ramp of grey without any colour, and a square."
    shades = np.repeat(np.linspace(8, 220, size[0])[None], size[1], 0)
    shades[8:18, 8:18] = 255
    with av.open(str(path), 'w') as out:
        stream = out.add_stream(codec, rate=25, options=dict(qscale='1') if codec == 'mjpeg' else {})
        stream.width, stream.height, stream.pix_fmt = *size, form
        stream.codec_context.color_range = levels
        for _ in range(3):
            frame = av.VideoFrame(*size, form)
            for i in range(len(frame.planes)):
                place, unit = samples(frame, i)
                place[:] = 128*unit if i else (16 + shades*219/255 if levels == LIMITED else shades).round()*unit
            frame.color_range = levels
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def shades_of(path):
    "By arithmetic of this test's own: what a player that heeds the film's words shows."
    shown = []
    for frame in read_video_frames(path):
        place, unit = samples(frame)
        usual = FULL if frame.format.name.startswith('gray') else LIMITED  # where a film does not say
        full = (frame.color_range or usual) == FULL
        shown.append(place/unit if full else (place/unit - 16)*255/219)
    return np.stack(shown)


@pytest.mark.parametrize('on_doubt', ['mask', 'hold'])
@pytest.mark.parametrize('levels', [LIMITED, FULL])
@pytest.mark.parametrize('form, size, result', [
    ('yuv420p', (96, 64), '.mp4'), ('yuv420p', (95, 63), '.mp4'), ('yuv411p', (96, 64), '.mp4'),
    ('yuv420p', (96, 64), '.avi'), ('yuv422p10le', (95, 63), '.mp4'), ('gray', (96, 64), '.mp4'),
    ('gray', (95, 63), '.mp4'), ('gray', (96, 64), '.webm'), ('gray10le', (95, 63), '.mp4')])
def test_levels_stay(tmp_path, form, size, result, levels, on_doubt):
    "The encoder takes another pixel format than the film's in all cases but one."
    def once(frames):
        once.asked += 1
        if once.asked == 2: raise RuntimeError('no memory')
        return bright(frames)
    once.asked = 0
    path, out = draw(tmp_path/'a.mkv', 'ffv1', form, levels, size), tmp_path/f'b{result}'
    anonymize_video(path, out, find_faces=once, every=1, on_doubt=on_doubt, crf=1)
    before, after = shades_of(path), shades_of(out)
    assert abs(before - after)[:, :, GREYS].max() <= STEPS and after[:, 8:18, 8:18].max() < 20


@pytest.mark.parametrize('form, result', [('gray', '.mp4'), ('gray', '.avi'), ('gray10le', '.mp4')])
def test_levels_of_grey_that_does_not_say(tmp_path, form, result):
    path, out = draw(tmp_path/'a.mkv', 'ffv1', form, 0, (95, 63)), tmp_path/f'b{result}'
    anonymize_video(path, out, find_faces=bright, every=1, crf=1)
    before, after = shades_of(path), shades_of(out)
    assert abs(before - after)[:, :, GREYS].max() <= STEPS and after[:, 8:18, 8:18].max() < 20


@pytest.mark.parametrize('pix_fmt', ['yuv420p', 'yuv444p'])
@pytest.mark.parametrize('levels', [LIMITED, FULL])
def test_motion_jpeg_in_a_pixel_format_that_is_asked_for_has_full_levels(tmp_path, levels, pix_fmt):
    path, out = draw(tmp_path/'a.mkv', 'ffv1', 'yuv420p', levels, (96, 64)), tmp_path/'b.mkv'
    anonymize_video(path, out, find_faces=bright, every=1, codec='mjpeg', pix_fmt=pix_fmt)
    before, after = shades_of(path), shades_of(out)
    assert abs(before - after)[:, :, GREYS].max() <= STEPS and after[:, 8:18, 8:18].max() < 20


def test_levels_of_motion_jpeg_stay_in_another_codec(tmp_path):
    path, out = draw(tmp_path/'a.avi', 'mjpeg', 'yuvj420p', FULL, (95, 63)), tmp_path/'b.mp4'
    anonymize_video(path, out, find_faces=bright, every=1, crf=1)
    before, after = shades_of(path), shades_of(out)
    assert abs(before - after)[:, :, GREYS].max() <= STEPS and after[:, 8:18, 8:18].max() < 20
