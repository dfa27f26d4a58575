"Pixels that change their shape, pictures that change their turn, and files that end before their header says."
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from test_stream_changes import LARGE, SEEN, SMALL, TICK, av, bright, brightest, face_at, mask, mux, picture

from faceanon.cli import app
from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import read_sidecar, sidecar_path
from faceanon.video.reading import read_video_frames

PART = 8  # frames


def draw_shapes(path, codec, ratios, b_frames=0):
    "Parts of one film, each with another pixel aspect ratio."
    with av.open(str(path), 'w') as out:
        stream, tick = out.add_stream(codec, rate=25), 0
        (stream.width, stream.height), stream.pix_fmt = SMALL, 'yuv420p'
        for ratio in ratios:
            encoder = av.codec.CodecContext.create(codec, 'w')
            (encoder.width, encoder.height), encoder.pix_fmt, encoder.sample_aspect_ratio = SMALL, 'yuv420p', ratio
            encoder.framerate, encoder.time_base = 25, TICK
            encoder.bit_rate, encoder.max_b_frames = 2_000_000, b_frames
            if codec == 'libx264': encoder.options = dict(crf='10', x264opts='repeat-headers=1:annexb=1')
            for i in range(PART):
                frame = av.VideoFrame.from_ndarray(picture(SMALL, face_at(SMALL, i)), format='rgb24')
                frame.pts, frame.time_base, tick = tick, TICK, tick + 1
                mux(out, stream, encoder.encode(frame))
            mux(out, stream, encoder.encode(None))
    return path


def width_over_height(frame):
    ys, xs = (frame.to_ndarray(format='gray') > SEEN).nonzero()
    return (xs.max() + 1 - xs.min())/(ys.max() + 1 - ys.min())


@pytest.mark.parametrize('b_frames', [0, 2])
@pytest.mark.parametrize('suffix, codec', [('.ts', 'libx264'), ('.mkv', 'libx264'), ('.avi', 'mpeg4')])
def test_pixels_that_change_their_shape_are_seen_as_players_show_them(tmp_path, suffix, codec, b_frames):
    path = draw_shapes(tmp_path/f'in{suffix}', codec, [Fraction(1), Fraction(2), Fraction(1)], b_frames)
    seen = [width_over_height(frame) for frame in read_video_frames(path)]
    assert len(seen) == 3*PART
    wide = [number for number, shape in enumerate(seen) if 1.6 < shape < 2.4]
    assert all(.8 < shape < 1.2 for number, shape in enumerate(seen) if number not in wide)
    if (suffix, b_frames) != ('.avi', 2): assert wide == list(range(PART, 2*PART)), "AVI gives packets no time"
    done = anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    assert done['faces'] == done['frames'] == 3*PART and brightest(tmp_path/'out.mp4') < SEEN
    assert [change.split(': ')[1] for change in done['changes']] == [
        'pixel aspect ratio 1 becomes pixel aspect ratio 2', 'pixel aspect ratio 2 becomes pixel aspect ratio 1']
    cuts = [row.frame for row in read_sidecar(sidecar_path(tmp_path/'out.mp4'))[1] if row.cut]
    assert cuts == [wide[0], wide[-1] + 1]
    with av.open(str(tmp_path/'out.mp4')) as out: assert out.streams.video[0].sample_aspect_ratio in (None, 1)


def draw_turns(path, turns):
    "Parts of one film, each with another orientation in H.264's own messages."
    with av.open(str(path), 'w') as out:
        stream, tick = out.add_stream('libx264', rate=25), 0
        (stream.width, stream.height), stream.pix_fmt = LARGE, 'yuv420p'
        for turn in turns:
            encoder = av.codec.CodecContext.create('libx264', 'w')
            (encoder.width, encoder.height), encoder.pix_fmt = LARGE, 'yuv420p'
            encoder.framerate, encoder.time_base, encoder.max_b_frames = 25, TICK, 0
            encoder.options = dict(crf='10', x264opts='repeat-headers=1:annexb=1')
            how = f'h264_metadata=display_orientation=insert:rotate={turn}'
            tell = av.bitstream.BitStreamFilterContext(how, stream)
            for i in range(PART):
                frame = av.VideoFrame.from_ndarray(picture(LARGE, (200 + i, 20, 240 + i, 60)), format='rgb24')
                frame.pts, frame.time_base, tick = tick, TICK, tick + 1
                for packet in encoder.encode(frame): mux(out, stream, tell.filter(packet))
            for packet in encoder.encode(None): mux(out, stream, tell.filter(packet))
    return path


@pytest.mark.parametrize('turns', [(0, 90), (90, 0), (0, 180, -90), (90, -90)])
def test_a_picture_that_turns_in_the_middle_is_hidden_and_shown_upright(tmp_path, turns):
    path = draw_turns(tmp_path/'in.ts', turns)
    with av.open(str(path)) as film:  # FFmpeg tells it with the frame that has the message
        told = [frame.rotation % 360 for frame in film.decode(video=0)]
    assert [told[PART*number] for number in range(len(turns))] == [turn % 360 for turn in turns]
    looked = []
    def finder(frames):
        looked.extend(bright(frames)[:, 1:].tolist())
        return bright(frames)
    done = anonymize_video(path, tmp_path/'out.mp4', mask, finder, every=1)
    assert done['faces'] == done['frames'] == len(turns)*PART and len(done['changes']) == len(turns) - 1
    assert brightest(path) > 230 and brightest(tmp_path/'out.mp4') < SEEN
    for number, turn in enumerate(turns):  # the middle of the face in the upright picture, by numpy alone
        whole = np.rot90(picture(LARGE, (200, 20, 240, 60)), turn//90)
        first = np.rot90(picture(LARGE, (200, 20, 240, 60)), turns[0]//90).shape
        y, x = (places.mean() + .5 for places in (whole[..., 0] > SEEN).nonzero())
        scale = min(first[0]/whole.shape[0], first[1]/whole.shape[1])
        x1, y1, x2, y2 = looked[number*PART]
        for got, place, axis in ((x1 + x2, x, 1), (y1 + y2, y, 0)):
            assert abs(got/2 - ((first[axis] - scale*whole.shape[axis])/2 + scale*place)) < 3


def draw_long(path, codec='libx264', count=50):
    with av.open(str(path), 'w') as out:
        stream = out.add_stream(codec, rate=25)
        (stream.width, stream.height), stream.bit_rate = LARGE, 3_000_000
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.gop_size = 4
        noise = np.random.default_rng(0)
        for i in range(count):
            pixels = picture(LARGE, face_at(LARGE, i))
            pixels[:60] = noise.integers(40, 120, pixels[:60].shape)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize('count', [12, 30])
@pytest.mark.parametrize('suffix, codec', [('.mkv', 'libx264'), ('.webm', 'libvpx'), ('.avi', 'mjpeg'),
                                           ('.flv', 'libx264')])
def test_a_file_that_ends_before_its_header_says_tells_how_much_is_missing(tmp_path, suffix, codec, count):
    whole, path = draw_long(tmp_path/f'whole{suffix}', codec, count), tmp_path/f'in{suffix}'
    assert anonymize_video(whole, tmp_path/'whole.mp4', mask, bright)['ends_early'] == 0
    path.write_bytes(whole.read_bytes()[:whole.stat().st_size//2])
    done = anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    assert brightest(tmp_path/'out.mp4') < SEEN and 3 <= done['frames'] < .8*count
    assert abs(done['ends_early'] - (count - done['frames'])/25) < .09


def test_the_command_says_that_a_file_is_cut_short(tmp_path, monkeypatch):
    whole, path = draw_long(tmp_path/'whole.mkv', count=12), tmp_path/'in.mkv'
    path.write_bytes(whole.read_bytes()[:whole.stat().st_size//2])
    monkeypatch.setattr('faceanon.video.commands.detector_from_option', lambda *_: bright)
    done = CliRunner().invoke(app, ['anonymize', str(path), '-o', str(tmp_path/'out.mp4')])
    assert done.exit_code == 0 and ' BEFORE ITS HEADER SAYS' in done.output and brightest(tmp_path/'out.mp4') < SEEN
