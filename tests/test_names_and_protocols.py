"A name of a file is a name: no address, no playlist, no pattern, and no text for a terminal to obey."
import os
import socket
import struct

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from faceanon.cli import app
from faceanon.models.baselines import mask
from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import sidecar_path
from faceanon.video.inputs import plan_jobs
from faceanon.video.mask_shapes import MaskShape
from faceanon.video.reading import VideoError, probe_video, read_video_frames


def find_bright(frames):
    "A finder that knows bright squares only."
    rows = []
    for i, frame in enumerate(frames):
        y, x = (frame.amin(0) > .8).nonzero(as_tuple=True)
        if len(y): rows.append([i, x.min(), y.min(), x.max() + 1, y.max() + 1])
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)


def film(path, count=6, sound=None):
    "A white square on grey, 96 by 64."
    with av.open(os.path.abspath(path), 'w', format='mp4' if sound is None else 'matroska') as file:
        video = file.add_stream('libx264', rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, 'yuv420p'
        voice = sound and file.add_stream(sound, rate=48000, layout='stereo', options=dict(strict='experimental'))
        pixels = np.full((64, 96, 3), 90, np.uint8)
        pixels[20:44, 30:54] = 250
        for _ in range(count): file.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
        file.mux(video.encode())
        if voice:
            for i in range(10):
                noise = np.random.default_rng(i).normal(0, .1, (2, 1024)).astype(np.float32)
                frame = av.AudioFrame.from_ndarray(noise, format='fltp', layout='stereo')
                frame.sample_rate, frame.pts = 48000, 1024*i
                for packet in voice.encode(frame): file.mux(packet)
            file.mux(voice.encode())
    return path


def white(path): return [int((f.to_ndarray(format='rgb24').min(2) > 200).sum()) for f in read_video_frames(path, {})]


ODD_NAMES = ['http:127.0.0.1:{port}.mp4', 'concat:a.mp4|b.mp4', 'file:other.mp4', '2024-05-01T10:30:00.mp4',
             'udp:127.0.0.1:9.mp4', 'clip[1080p].mp4', '%03d.mp4', 'new\nline\x1b[2J.mp4', 'x'*251 + '.mp4',
             os.fsdecode(b'\xff\xe9t\xe9.mp4'), '-.mp4', 'cam:0.mp4', 'pipe:1.mp4', 'subfile,,start,0,end,9,,:a.mp4']


@pytest.mark.parametrize('name', ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_a_name_is_read_and_written_as_a_name(tmp_path, monkeypatch, name):
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        server.setblocking(False)
        name = name.replace('{port}', str(server.getsockname()[1]))
        monkeypatch.chdir(tmp_path)
        os.mkdir('out')
        path, out = film(tmp_path/name), tmp_path/'out'/name
        assert white(path)[0] > 400
        done = anonymize_video(name, f'out/{name}', mask, find_bright, mask_shape=MaskShape(1.2), every=1)
        assert done['frames'] == 6 and white(out) == [0]*6 and sidecar_path(out).is_file()
        with pytest.raises(BlockingIOError): server.accept()  # nobody called
    assert sorted(os.listdir('out')) == sorted([name, sidecar_path(out).name])


PLAYLISTS = {
    'ffconcat': "ffconcat version 1.0\nfile 'real.mp4'\n",
    'hls': "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-VERSION:3\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n",
    'dash': '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
    'sdp': "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
}


@pytest.mark.parametrize('kind', PLAYLISTS)
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.ts'])
def test_a_playlist_is_refused_whatever_its_suffix(tmp_path, kind, suffix):
    film(tmp_path/'real.mp4')
    path = tmp_path/f'innocent{suffix}'
    path.write_text(PLAYLISTS[kind])
    with pytest.raises(VideoError, match='innocent'): probe_video(path)
    with pytest.raises(VideoError): anonymize_video(path, tmp_path/'out.mp4', mask, find_bright)
    assert sorted(os.listdir(tmp_path)) == sorted(['real.mp4', path.name])


def test_a_format_of_many_files_is_not_written(tmp_path):
    with pytest.raises(VideoError, match='not written'):
        anonymize_video(film(tmp_path/'a.mp4'), tmp_path/'out.m3u8', mask, find_bright)
    assert [name for name in os.listdir(tmp_path) if 'out' in name and 'faces' not in name] == []


def test_a_pattern_is_one_only_where_no_file_has_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir('[2024]')
    for name in ('clip[1080p].mp4', 'clip1.mp4', '[2024]/a.mp4'): film(tmp_path/name, 1)
    jobs, faults = plan_jobs(('clip[1080p].mp4',), 'done.mp4', None)
    assert [(job.source, job.out) for job in jobs] == [('clip[1080p].mp4', 'done.mp4')] and not faults
    assert [job.source for job in plan_jobs(('clip[12].mp4',), 'out', None)[0]] == ['clip1.mp4']
    assert [job.source for job in plan_jobs(('[2024]/*.mp4',), 'out', None)[0]] == ['[2024]/a.mp4']


def test_a_file_named_like_a_camera_is_a_file(tmp_path):
    film(tmp_path/'cam:0')
    jobs, faults = plan_jobs((str(tmp_path),), str(tmp_path/'out'), None)
    assert [(job.kind, os.path.basename(job.source)) for job in jobs] == [('video', 'cam:0')] and not faults


def test_long_names_stay_different_and_short_enough(tmp_path):
    names = ['x'*250 + end for end in ('a.mp4', 'b.mp4')]
    for name in names: film(tmp_path/name, 1)
    jobs, _ = plan_jobs((str(tmp_path),), None, None)
    made = [os.path.basename(job.out) for job in jobs]
    assert len(set(made)) == 2 and all(name.endswith('_anonymized.mp4') for name in made)
    assert all(len(os.fsencode(sidecar_path(job.out).name)) <= 255 for job in jobs)


def test_messages_show_no_control_character(tmp_path):
    (tmp_path/'bad\x1b]0;owned\x07\n.mp4').write_bytes(b'no film')
    (tmp_path/os.fsdecode(b'\xff.mp4')).write_bytes(b'no film')
    done = CliRunner().invoke(app, ['anonymize', str(tmp_path), '-o', str(tmp_path/'out')])
    assert done.exit_code == 1
    assert r'bad\x1b]0;owned\x07\n.mp4' in done.output and r'\xff.mp4' in done.output
    assert not set(done.output.replace('\n', '')) & set(map(chr, range(32)))


def test_what_a_folder_holds_and_is_not_done_is_named(tmp_path):
    for name in ('raw.NEF', '.hidden.mp4'): (tmp_path/name).write_bytes(b'II*\0' + bytes(100))
    (tmp_path/'notes.txt').write_text('some words')
    film(tmp_path/'clip')  # no suffix: by content
    done = CliRunner().invoke(app, ['anonymize', str(tmp_path), '-o', str(tmp_path/'out'), '--dry-run'])
    assert done.exit_code == 0 and 'NOT DONE 3' in done.output
    for name in ('notes.txt', 'raw.NEF', '.hidden.mp4'): assert name in done.output
    assert 'clip' in done.output.split('NOT DONE')[0]


def planted(path, out):
    "The same film, with a comment and a picture in Vorbis' header."
    said = b'\x03vorbis' + struct.pack('<II', 0, 2)
    for text in (b'ARTIST=PLANTED', b'METADATA_BLOCK_PICTURE=' + b'PLANTED'*300):
        said += struct.pack('<I', len(text)) + text
    with av.open(str(path)) as source, av.open(str(out), 'w') as file:
        streams = {s.index: file.add_stream_from_template(s) for s in source.streams}
        sound = source.streams.audio[0]
        header = sound.codec_context.extradata
        first, comment = header[1], header[2]
        rest = header[3:]
        said += b'\x01'
        sizes = bytes([first]) + b'\xff'*(len(said)//255) + bytes([len(said) % 255])
        made = b'\x02' + sizes + rest[:first] + said + rest[first + comment:]
        streams[sound.index].codec_context.extradata = made
        for packet in source.demux():
            if not packet.size: continue
            packet.stream = streams[packet.stream.index]
            file.mux(packet)
    return out


def test_comments_and_pictures_in_a_sound_header_are_left_out(tmp_path):
    path = planted(film(tmp_path/'plain.mkv', sound='vorbis'), tmp_path/'planted.mkv')
    assert path.read_bytes().count(b'PLANTED') > 300
    out = tmp_path/'out.mkv'
    anonymize_video(path, out, mask, find_bright, mask_shape=MaskShape(1.2), every=1)
    assert b'PLANTED' not in out.read_bytes() and white(out) == [0]*6
    def samples(path):
        with av.open(str(path)) as file: return [f.to_ndarray() for f in file.decode(audio=0)]
    assert len(samples(out)) == len(samples(path)) > 5
    assert all((a == b).all() for a, b in zip(samples(path), samples(out)))
