"What travels beside the pixels of a film does not pass through, and the result says what it lacks."
import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageCms
from test_stream_changes import bright

from faceanon.video.anonymize import anonymize_video
from faceanon.video.reading import probe_video, read_video_frames, upright_frame
from faceanon.video.side_data import read_side_data

SEEN, COUNT = 200, 6
MARK = b'Alice at home'
NAL = b'\0\0\0\1'


def drawn(i):
    pixels = np.full((96, 128, 3), 90, np.uint8)
    pixels[20:36, 20 + i:36 + i] = 250
    return pixels


def kinds_in(path): return {kind.name for frame in read_video_frames(path) for kind in read_side_data(frame)}


def brightest(path): return max(frame.to_ndarray(format='gray').max() for frame in read_video_frames(path))


def camera_film(path, turn):
    "Motion JPEG as a camera writes it: each frame has EXIF data, a colour profile and a comment."
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes() + MARK
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('mjpeg', rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, 'yuvj420p'
        for i in range(COUNT):
            exif, file = Image.Exif(), io.BytesIO()
            exif[0x13b], exif[0x112] = MARK.decode(), turn
            Image.fromarray(drawn(i)).save(file, 'JPEG', quality=95, exif=exif, icc_profile=profile, comment=MARK)
            packet = av.Packet(file.getvalue())
            packet.stream, packet.is_keyframe = stream, True
            packet.pts = packet.dts = i
            packet.time_base, packet.duration = Fraction(1, 25), 1
            out.mux(packet)
    return path


@pytest.mark.parametrize('turn', [1, 6])
@pytest.mark.parametrize('name', ['a.avi', 'a.mkv'])
def test_a_camera_s_motion_jpeg_is_read_and_tells_nothing_more(tmp_path, name, turn):
    path = camera_film(tmp_path/name, turn)
    assert MARK in path.read_bytes() and 'ICC_PROFILE' in kinds_in(path)
    for out in (tmp_path/'b.avi', tmp_path/'b.mp4'):
        done = anonymize_video(path, out, find_faces=bright, every=1)
        assert (done['frames'], done['doubts']) == (COUNT, 0) and brightest(out) < SEEN
        assert MARK not in out.read_bytes() and 'ICC_PROFILE' not in kinds_in(out)
        assert 'without the colour profile of frames' in done['notes']
        told = [note for note in done['notes'] if 'turned otherwise' in note]
        assert len(told) == (turn == 6 and out.suffix == '.avi')
    seen = upright_frame(next(read_video_frames(path)), view=probe_video(path).view)
    assert seen.shape == ((128, 96, 3) if turn == 6 else (96, 128, 3))


def bits(*fields):
    "Of pairs of a number and its length, as bytes."
    text = ''.join(f'{value:0{length}b}' for value, length in fields)
    text += '0'*(-len(text) % 8)
    return int(text, 2).to_bytes(len(text)//8, 'big')


def escaped(payload):
    out = bytearray()
    for byte in payload:
        if byte <= 3 and out[-2:] == b'\0\0': out.append(3)
        out.append(byte)
    return bytes(out)


def sei(head, payload): return NAL + head + escaped(bytes([4, len(payload)]) + payload) + b'\x80'


CAPTIONS = b'\xb5\0\x31GA94\x03\xc1\xff\xfc\x94\x20\xff'  # ATSC A/53 with one pair of CEA-608
# ST 2094-40 for one window: brightness, two quantiles, no curve
HDR10_PLUS = b'\xb5\0\x3c\0\x01\x04' + bits(
    (1, 8), (1, 2), (1000, 27), (0, 1), (9000, 17), (9000, 17), (9000, 17), (800, 17), (2, 4), (1, 7), (10, 17),
    (99, 7), (8000, 17), (0, 10), (0, 1), (0, 1), (0, 1))
PLANTED = {'captions, H.264': ('libx264', sei(b'\x06', CAPTIONS), 'A53_CC', 'captions within the pictures'),
           'captions, HEVC': ('libx265', sei(b'\x4e\x01', CAPTIONS), 'A53_CC', 'captions within the pictures'),
           'HDR10+': ('libx265', sei(b'\x4e\x01', HDR10_PLUS), 'DYNAMIC_HDR_PLUS', 'HDR10+'),
           'Dolby Vision': ('libx265', NAL + b'\x7c\x01\x19' + bytes(range(1, 40)) + b'\x80', 'DOVI_RPU_BUFFER',
                            'Dolby Vision')}


def planted_film(path, codec, unit, last):
    "With one more unit in every packet, which FFmpeg's decoders hand over beside the picture."
    with av.open(str(path), 'w') as out:
        stream = out.add_stream(codec, rate=25, options={'x265-params': 'log-level=none:repeat-headers=1', 'bf': '0'})
        stream.width, stream.height, stream.pix_fmt = 128, 96, 'yuv420p'
        for packet in (*(p for i in range(COUNT) for p in stream.encode(av.VideoFrame.from_ndarray(drawn(i)))),
                       *stream.encode()):
            data = bytes(packet)
            new = av.Packet(data + unit if last else unit + data)
            new.stream, new.is_keyframe = stream, packet.is_keyframe
            new.pts, new.dts, new.time_base, new.duration = packet.pts, packet.dts, packet.time_base, packet.duration
            out.mux(new)
    return path


@pytest.mark.parametrize('encoder', ['libx264', 'libx265'])
@pytest.mark.parametrize('what', PLANTED)
def test_what_the_result_lacks_is_said(tmp_path, what, encoder):
    codec, unit, kind, words = PLANTED[what]
    path, out = planted_film(tmp_path/'a.ts', codec, unit, what == 'Dolby Vision'), tmp_path/'b.ts'
    assert kind in kinds_in(path)
    done = anonymize_video(path, out, find_faces=bright, every=1, codec=encoder)
    assert brightest(out) < SEEN and done['frames'] == COUNT and done['doubts'] == 0
    assert kind not in kinds_in(out) and any(words in note for note in done['notes'])


def test_nothing_is_said_where_nothing_is_lacking(tmp_path):
    path = planted_film(tmp_path/'a.ts', 'libx264', b'', False)
    assert anonymize_video(path, tmp_path/'b.mp4', find_faces=bright, every=1)['notes'] == []
