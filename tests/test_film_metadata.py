"What a film's container holds besides pictures and sound goes; if asked, times, the camera and the copyright stay."
import base64
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from test_finder_checks import SEEN, brightest
from test_finder_checks import film as plain_film

from faceanon.video.anonymize import anonymize_video
from faceanon.video.reading import VideoError

PLANTED = base64.b64encode(b'PLANTED picture'*20).decode()
STAYS = dict(creation_time='2020-01-02T03:04:05.000000Z', make='Acme', model='Camera 1', copyright='A. Nother')
GOES = {'title': 'PLANTED title', 'artist': 'PLANTED', 'comment': 'PLANTED', 'location': '+50.1+008.2/PLANTED',
        'com.apple.quicktime.location.iso6709': '+50.1+008.2/PLANTED', 'METADATA_BLOCK_PICTURE': PLANTED,
        'description': 'PLANTED', 'encoded_by': 'PLANTED', 'com.apple.quicktime.software': 'PLANTED'}


def bright(frames):
    rows = [[i, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] for i, frame in enumerate(frames)
            for ys, xs in [(frame.mean(0) > .7).nonzero().T] if len(ys)]
    return torch.tensor(rows).reshape(-1, 5).long()


def tagged(path, tags):
    "A film with tags, a chapter, a cover picture and words about its stream."
    options = dict(movflags='use_metadata_tags') if path.suffix in ('.mp4', '.mov') else {}
    with av.open(str(plain_film(path.with_stem('plain')))) as source, av.open(str(path), 'w', options=options) as out:
        out.metadata.update(tags)
        pictures = out.add_stream_from_template(source.streams.video[0])
        pictures.metadata['title'] = 'PLANTED stream'
        if path.suffix == '.mkv': out.add_attachment('PLANTED.png', 'image/png', b'PLANTED')
        part = dict(id=1, start=0, end=400, time_base=Fraction(1, 1000), metadata=dict(title='PLANTED'))
        out.set_chapters([part])
        for packet in source.demux(video=0):
            if not packet.size: continue
            packet.stream = pictures
            out.mux(packet)
    return path


def tags_of(path):
    with av.open(str(path)) as file:
        words = [file.metadata, *(s.metadata for s in file.streams)]
        return {k.lower(): v for k, v in file.metadata.items()}, str([dict(one) for one in words]), len(file.streams)


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
@pytest.mark.parametrize('keep', [False, True])
def test_only_what_may_stay_stays(tmp_path, suffix, keep):
    path, out = tagged(tmp_path/f'a{suffix}', STAYS | GOES), tmp_path/f'b{suffix}'
    assert b'PLANTED' in path.read_bytes()
    done = anonymize_video(path, out, find_faces=bright, every=1, keep_metadata=keep)
    tags, words, streams = tags_of(out)
    assert 'PLANTED' not in words and PLANTED[:40] not in words and streams == 1 and brightest(out) < SEEN
    assert b'PLANTED' not in out.read_bytes() and PLANTED[:40].encode() not in out.read_bytes()
    assert {key: tags.get(key) for key in STAYS} == (STAYS if keep else dict.fromkeys(STAYS))
    removed = {part.lower() for part in done['removed']}
    assert {f'metadata {key}' for key in ('title', 'comment')} <= removed
    assert ({f'metadata {key}' for key in STAYS} & removed == set()) is keep
    assert 'chapters' in removed and (suffix != '.mkv' or any('stream' in part for part in removed)), removed


def test_a_copyright_that_is_long_or_no_text_is_none(tmp_path):
    path = tagged(tmp_path/'a.mkv', dict(copyright=PLANTED, make='Acme\x01PLANTED', model='Camera 1'))
    anonymize_video(path, tmp_path/'b.mkv', find_faces=bright, every=1, keep_metadata=True)
    data = (tmp_path/'b.mkv').read_bytes()
    assert b'Camera 1' in data and PLANTED[:40].encode() not in data and b'PLANTED' not in data


def sounding(path, codec, suffix_packets=()):
    "A film with sound, headers among its packets as where Ogg's parts are joined."
    with av.open(str(plain_film(path.with_name('plain.mp4')))) as source, av.open(str(path), 'w') as out:
        pictures = out.add_stream_from_template(source.streams.video[0])
        voice = out.add_stream(codec, rate=48000, layout='mono')
        for packet in source.demux(video=0):
            if not packet.size: continue
            packet.stream = pictures
            out.mux(packet)
        tone = av.AudioFrame.from_ndarray((8000*np.sin(np.arange(24000)*.1)).astype(np.int16)[None], 's16', 'mono')
        tone.sample_rate, tone.pts = 48000, 0
        resampler = av.AudioResampler(voice.codec_context.format.name, 'mono', 48000,
                                      voice.codec_context.frame_size or None)
        packets = [packet for frame in resampler.resample(tone) for packet in voice.encode(frame)] + voice.encode()
        packets = [packet for packet in packets if packet.size]
        end, base = max(packet.pts for packet in packets), packets[0].time_base
        for packet in packets: out.mux(packet)
        for number, data in enumerate(suffix_packets):
            header = av.Packet(data)
            header.pts = header.dts = end + 1000 + 1000*number
            header.stream, header.time_base = voice, base
            out.mux(header)
    return path


def sounds(path):
    with av.open(str(path)) as file: return [bytes(p) for p in file.demux(audio=0) if p.size]


@pytest.mark.parametrize('codec, headers', [
    ('libopus', [b'OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0', b'OpusTags' + b'PLANTED'*90]),
    ('flac', [b'\x7fFLAC\x01\0\0\1fLaC' + b'PLANTED'*9, b'\x84\0\x02\x76' + b'PLANTED'*90]),
])
def test_headers_among_the_packets_of_sound_are_left_out(tmp_path, codec, headers):
    clean = sounds(sounding(tmp_path/'clean.mkv', codec))
    path = sounding(tmp_path/'a.mkv', codec, headers)
    assert path.read_bytes().count(b'PLANTED') >= 90 and len(clean) > 4
    anonymize_video(path, tmp_path/'b.mkv', find_faces=bright, every=1)
    assert b'PLANTED' not in (tmp_path/'b.mkv').read_bytes()
    assert sounds(tmp_path/'b.mkv') == clean, "the sound itself goes through bit for bit"


def page(serial, kind, packet):
    "A page of Ogg with one packet."
    sizes = b'\xff'*(len(packet)//255) + bytes([len(packet) % 255])
    head = struct.pack('<4sBBqIIIB', b'OggS', 0, kind, 0, serial, 0, 0, len(sizes))
    data, crc = head + sizes + packet, 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8): crc = ((crc << 1) ^ (0x04c11db7 if crc & 0x80000000 else 0)) & 0xffffffff
    return data[:22] + struct.pack('<I', crc) + data[26:]


@pytest.mark.parametrize('codec', ['libopus', 'flac'])
def test_a_second_segment_of_ogg_brings_no_name(tmp_path, codec):
    "Ogg chains whole files, each with headers of its own."
    def part(name, said):
        path = tmp_path/name
        with av.open(str(path), 'w', format='ogg') as out:
            pictures, voice = out.add_stream('libvpx', rate=25), out.add_stream(codec, rate=48000, layout='mono')
            pictures.width, pictures.height, pictures.pix_fmt = 96, 64, 'yuv420p'
            voice.metadata.update(ARTIST=said, METADATA_BLOCK_PICTURE=PLANTED)
            grey = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 90, np.uint8), format='rgb24')
            out.mux([*pictures.encode(grey), *pictures.encode()])
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), 's16', 'mono')
            tone.sample_rate, tone.pts = 48000, 0
            frames = av.AudioResampler(voice.codec_context.format.name, 'mono', 48000,
                                       voice.codec_context.frame_size or None).resample(tone)
            packets = [packet for frame in frames for packet in voice.encode(frame)] + voice.encode()
            for packet in packets:
                if packet.size: out.mux(packet)
        return path.read_bytes()
    one, two = part('one.ogg', 'PLANTED one'), part('two.ogg', 'PLANTED two')
    assert b'PLANTED one' in one and PLANTED[:40].encode() in two
    for name, data in (('single', one), ('chained', one + two), ('late header', one + page(77, 2, b'OpusHead'*3) +
                                                                 page(77, 0, b'OpusTagsPLANTED'))):
        path, out = tmp_path/f'{name}.ogg', tmp_path/f'{name}.mkv'
        path.write_bytes(data)
        try: anonymize_video(path, out, find_faces=bright, every=1)
        except VideoError:
            assert name != 'single' and not out.exists(), "refused as a whole, with nothing written"
            continue
        assert b'PLANTED' not in out.read_bytes() and PLANTED[:40].encode() not in out.read_bytes()
