"A stream that changes in its middle, and one that is turned or mirrored: the face is hidden in every frame."
from fractions import Fraction

import numpy as np
import pytest
import torch

from faceanon.faces import tensor_of
from faceanon.models.baselines import BASELINES
from faceanon.video.anonymize import anonymize_stream, anonymize_video
from faceanon.video.audit_files import audit_file
from faceanon.video.encoding import EncodingConfig, encode_video
from faceanon.video.face_list import read_sidecar, sidecar_path
from faceanon.video.orientation import nearest_orientation
from faceanon.video.reading import VideoError, open_video, probe_video, read_video_frames, upright_frame
from faceanon.video.rerender import read_review_frame

av = pytest.importorskip('av')
mask = BASELINES['mask']
SEEN = 170  # the 'face' is a square of 250 on a ground of 90
TICK = Fraction(1, 25)


def picture(size, place):
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    pixels[place[1]:place[3], place[0]:place[2]] = 250
    return pixels


def face_at(size, i):
    "Near the lower right corner: outside of a frame half as large."
    side = size[1]//5
    x, y = size[0] - 2*side - i, size[1] - 2*side
    return x, y, x + side, y + side


def draw_parts(path, parts, codec, restart=False):
    "Parts of (size, frames, pixel format, colour space), each by an encoder of its own, muxed after one another."
    with av.open(str(path), 'w') as out:
        stream, tick = out.add_stream(codec, rate=25), 0
        (stream.width, stream.height), stream.pix_fmt = parts[0][0], parts[0][2]
        for size, count, pix_fmt, space in parts:
            encoder = av.codec.CodecContext.create(codec, 'w')
            (encoder.width, encoder.height), encoder.pix_fmt = size, pix_fmt
            encoder.framerate, encoder.time_base, encoder.colorspace, encoder.bit_rate = 25, TICK, space, 2_000_000
            if codec == 'libx264': encoder.options = dict(crf='10', x264opts='repeat-headers=1:annexb=1')
            tick = 0 if restart else tick
            for i in range(count):
                frame = av.VideoFrame.from_ndarray(picture(size, face_at(size, i)), format='rgb24').reformat(
                    format=pix_fmt, dst_colorspace=space)
                frame.pts, frame.time_base, tick = tick, TICK, tick + 1
                mux(out, stream, encoder.encode(frame))
            mux(out, stream, encoder.encode(None))
    return path


def mux(out, stream, packets):
    for packet in packets:
        packet.stream, packet.time_base = stream, TICK
        out.mux(packet)


def bright(frames, over=SEEN):
    rows = []
    for i, frame in enumerate(frames):
        ys, xs = (frame.mean(0) > over/255).nonzero().T
        if len(ys): rows.append([i, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return torch.tensor(rows).reshape(-1, 5).long()


def brightest(path):
    "By FFmpeg alone, without this package."
    with av.open(str(path)) as container:
        return max(int(frame.to_ndarray(format='gray').max()) for frame in container.decode(video=0))


SMALL, LARGE, TALL = (160, 96), (320, 192), (96, 160)
CHANGES = {
    'grows': [(SMALL, 6, 'yuv420p', 5), (LARGE, 6, 'yuv420p', 5)],
    'shrinks': [(LARGE, 6, 'yuv420p', 5), (SMALL, 6, 'yuv420p', 5)],
    'turned': [(LARGE, 6, 'yuv420p', 5), (TALL, 6, 'yuv420p', 5), (LARGE, 6, 'yuv420p', 5)],
}


@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.parametrize('suffix, codec', [('.webm', 'libvpx'), ('.webm', 'libvpx-vp9'), ('.ts', 'mpeg2video'),
                                           ('.ts', 'libx264'), ('.avi', 'mjpeg')])
def test_a_picture_that_changes_its_size_is_hidden_all_the_time(tmp_path, change, suffix, codec):
    parts = [(size, count, 'yuvj420p' if codec == 'mjpeg' else pix, space)
             for size, count, pix, space in CHANGES[change]]
    path = draw_parts(tmp_path/f'in{suffix}', parts, codec)
    done = anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    assert brightest(path) > 230 and brightest(tmp_path/'out.mp4') < SEEN
    header, rows = read_sidecar(sidecar_path(tmp_path/'out.mp4'))
    rows = list(rows)
    assert (header['width'], header['height']) == parts[0][0]
    assert done['doubts'] == 0 and done['faces'] == done['frames'] == len(rows) >= sum(part[1] for part in parts) - 2
    cuts = [row.frame for row in rows if row.cut]
    assert len(cuts) == len(parts) - 1 == len(done['changes'])
    old, new = ('{}x{}'.format(*part[0]) for part in parts[:2])
    assert done['changes'][0] == f'frame {cuts[0]}: {old} becomes {new}'
    with av.open(str(tmp_path/'out.mp4')) as out:
        assert {(frame.width, frame.height) for frame in out.decode(video=0)} == {parts[0][0]}


@pytest.mark.parametrize('codec, parts', [
    ('libx264', [(SMALL, 5, 'yuv420p', 5), (SMALL, 5, 'yuv444p', 5)]),
    ('libx264', [(SMALL, 5, 'yuv420p', 5), (SMALL, 5, 'yuv420p', 1)]),
    ('libx264', [(SMALL, 5, 'yuv420p', 5), (LARGE, 5, 'yuv420p10le', 1)]),
    ('mjpeg', [(SMALL, 5, 'yuvj420p', 5), (SMALL, 5, 'yuvj444p', 5)])])
def test_a_change_of_pixel_format_or_colours_is_a_cut_too(tmp_path, codec, parts):
    path = draw_parts(tmp_path/('in.avi' if codec == 'mjpeg' else 'in.ts'), parts, codec)
    kinds = {(f.format.name, f.colorspace) for f in read_video_frames(path)}
    assert len(kinds) == 1
    done = anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    assert brightest(tmp_path/'out.mp4') < SEEN and len(done['changes']) == 1 and done['faces'] == 10
    assert [row.frame for row in read_sidecar(sidecar_path(tmp_path/'out.mp4'))[1] if row.cut] == [5]


def test_colours_stay_what_they_are_when_their_tags_change(tmp_path):
    sheet = np.zeros((64, 96, 3), np.uint8)
    sheet[:] = 30, 160, 60
    with av.open(str(tmp_path/'in.ts'), 'w') as out:
        stream = out.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        for part, space in enumerate((5, 1)):
            encoder = av.codec.CodecContext.create('libx264', 'w')
            encoder.width, encoder.height, encoder.pix_fmt, encoder.colorspace = 96, 64, 'yuv420p', space
            encoder.framerate, encoder.time_base, encoder.options = 25, TICK, dict(crf='1')
            for i in range(4):
                frame = av.VideoFrame.from_ndarray(sheet, format='rgb24').reformat(format='yuv420p',
                                                                                   dst_colorspace=space)
                frame.pts, frame.time_base = 4*part + i, TICK
                mux(out, stream, encoder.encode(frame))
            mux(out, stream, encoder.encode(None))
    planes = [frame.to_ndarray()[[0, 70, 90], 5].astype(int) for frame in read_video_frames(tmp_path/'in.ts')]
    assert np.abs(np.diff(planes, axis=0)).max() <= 3


def test_audit_reads_original_and_result_and_tells_of_the_change(tmp_path, monkeypatch):
    path = draw_parts(tmp_path/'in.webm', CHANGES['grows'], 'libvpx')
    anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    monkeypatch.setattr('faceanon.video.audit_files.detector_from_option', lambda *_: bright)
    def leaks(result): return audit_file(str(result), str(path), None, None, None, None, None)
    audit, clear = leaks(tmp_path/'out.mp4'), leaks(path)
    assert audit['changes'] == ['frame 6: 160x96 becomes 320x192'] == clear['changes']
    assert audit['frames'] == audit['leaks']['faces'] == 12 and audit['leaks']['leaked'] == 0
    assert clear['leaks']['leaked'] > 0


def test_review_shows_frames_after_the_change_in_the_size_of_the_first(tmp_path):
    path = draw_parts(tmp_path/'in.webm', CHANGES['turned'], 'libvpx')
    anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    for number in (2, 8, 14):
        pair = read_review_frame(path, tmp_path/'out.mp4', sidecar_path(tmp_path/'out.mp4'), number)
        assert pair.before.shape == pair.after.shape == (192, 320, 3)
        x1, y1, x2, y2 = np.round(pair.boxes[0]*np.tile([320, 192], 2)).astype(int)
        assert pair.before[y1 + 4:y2 - 4, x1 + 4:x2 - 4].min() > SEEN > pair.after.max()


@pytest.mark.parametrize('second', [LARGE, TALL, (80, 48)])
def test_a_camera_that_changes_its_size_is_hidden_all_the_time(second):
    sizes, counts = [SMALL]*6 + [second]*6, {}
    frames = [torch.from_numpy(picture(size, face_at(size, i))).permute(2, 0, 1) for i, size in enumerate(sizes)]
    shown = list(anonymize_stream(frames, mask, bright, counts=counts))
    assert [frame.shape for frame in shown] == [(3, 96, 160)]*12 and max(int(frame.max()) for frame in shown) < SEEN
    assert counts['changes'] == ['frame 6: 160x96 becomes {}x{}'.format(*second)]


def test_the_encoder_is_never_given_another_size(tmp_path):
    path = draw_parts(tmp_path/'in.webm', CHANGES['grows'], 'libvpx')
    with open_video(path) as (container, stream):
        frames, info = list(container.decode(stream)), probe_video(path)
    with open_video(path) as (sound, source), pytest.raises(VideoError, match='320x192 among others of 160x96'):
        encode_video(tmp_path/'o.mp4', iter(frames), sound, source, info, 'libx264', EncodingConfig())


ONE, UP = 1 << 16, 1 << 30
MATRICES = {  # a b c d, and what FFmpeg's own command does with such a film
    'as it is': ((1, 0, 0, 1), lambda p: p), 'hflip': ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    'vflip': ((1, 0, 0, -1), lambda p: p[::-1]), 'turned by 180': ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
    'clock': ((0, 1, -1, 0), lambda p: np.rot90(p, -1)), 'cclock': ((0, -1, 1, 0), lambda p: np.rot90(p)),
    'cclock_flip': ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
    'clock_flip': ((0, -1, -1, 0), lambda p: np.rot90(p, 2).swapaxes(0, 1)),
}


def draw_turned(path, way, size=SMALL):
    a, b, c, d = (ONE*v for v in MATRICES[way][0])
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=25, options=dict(crf='10'))
        (stream.width, stream.height), stream.pix_fmt = size, 'yuv420p'
        stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, UP))
        for i in range(8):
            pixels = picture(size, (20 + i, 10, 44 + i, 34))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
    return path


def matrix_of(path):
    from av.sidedata.sidedata import Type
    with av.open(str(path)) as container:
        found = next(container.decode(video=0)).side_data.get(Type.DISPLAYMATRIX)
        return None if found is None else np.frombuffer(bytes(found), np.int32).tolist()


@pytest.mark.parametrize('way', MATRICES)
def test_the_finder_sees_what_the_viewer_sees_and_the_matrix_goes_through(tmp_path, way):
    path, shown = draw_turned(tmp_path/'in.mov', way), []
    def finder(frames):
        shown.append((255*frames[0].permute(1, 2, 0)).numpy())
        return bright(frames)
    done = anonymize_video(path, tmp_path/'out.mov', mask, finder, every=1)
    expected = MATRICES[way][1](picture(SMALL, (20, 10, 44, 34))).astype(float)
    assert shown[0].shape == expected.shape and np.abs(shown[0] - expected).mean() < 3
    assert matrix_of(tmp_path/'out.mov') == matrix_of(path)
    assert done['faces'] == 8 and brightest(tmp_path/'out.mov') < SEEN
    assert probe_video(path).viewed_size == expected.shape[1::-1]
    row = next(read_sidecar(sidecar_path(tmp_path/'out.mov'))[1])  # boxes of the list are in stored pixels
    x1, y1, x2, y2 = row.faces[0].box
    assert x1 <= 20 and y1 <= 10 and x2 >= 44 and y2 >= 34 and max(x2 - x1, y2 - y1) < 40


def test_a_matrix_that_is_no_quarter_turn_goes_through_and_means_the_nearest(tmp_path):
    assert nearest_orientation((64000, 11000, 0, -11000, 64000, 0, 0, 0, UP)) == nearest_orientation(None)
    assert nearest_orientation((11000, 64000, 0, -64000, 11000, 0, 0, 0, UP)).quarters == 3


def test_a_still_of_a_mirrored_film_is_mirrored(tmp_path):
    path = draw_turned(tmp_path/'in.mov', 'hflip')
    frame = upright_frame(next(read_video_frames(path)))
    assert bright(tensor_of(frame)[None]/255).tolist() == [[0, 160 - 44, 10, 160 - 20, 34]]
