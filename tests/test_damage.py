"Damaged files, full disks and kills: what comes out shows nobody, and what does not come out leaves nothing behind."
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_video import COUNT, FILES, SEEN, bright, brightest, draw, leftovers, mask, moments, sounds

from faceanon import cli
from faceanon.models.face_detectors import Detections
from faceanon.video import selection
from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import read_sidecar, sidecar_path, write_sidecar
from faceanon.video.frame_times import DAMAGED_FRAME
from faceanon.video.hiding import VIDEO_ON_DOUBT
from faceanon.video.mask_shapes import MaskShape
from faceanon.video.reading import VideoError, describe_film, probe_video, read_video_frames

av = pytest.importorskip('av')
CONTEXT = multiprocessing.get_context('fork')
WHOLE = {'b-frames.mp4': FILES['b-frames.mp4'], 'sound.mkv': dict(voices=1, options=dict(g='10')),
         'plain.mov': dict(options=dict(bf='0', g='10')), 'mjpeg.avi': FILES['mjpeg.avi'],
         'vp9.webm': dict(codec='libvpx-vp9'), 'h265.mp4': FILES['h265.mp4'], 'vp8.webm': dict(codec='libvpx'),
         'ffv1.mkv': dict(codec='ffv1', options=dict(slicecrc='1', g='1')), 'fast.mp4': None}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    for name, how in WHOLE.items():
        if name == 'fast.mp4': fast(draw(folder/'slow.mp4', **FILES['b-frames.mp4']), folder/name)
        else: draw(folder/name, **how)
    return folder


def fast(path, out):
    "The same packets, with the table of an MP4 before them."
    with av.open(str(path)) as old, av.open(str(out), 'w', options=dict(movflags='faststart')) as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is None: continue
            packet.stream = streams[packet.stream.index]
            new.mux(packet)


def hurt(path, out, numbers, how):
    "A copy of a video with some of its packets, counted as they are stored, overwritten; their times of showing."
    with av.open(str(path)) as file:
        there = [(p.pos + (8 if path.suffix == '.avi' else 0), bytes(p), p.pts) for p in file.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        near, payload, _ = there[number]
        start, size = data.index(payload[-12:], near) + 12 - len(payload), len(payload)  # behind a header of the block
        if how == 'zeros': data[start:start + size] = bytes(size)
        else: data[start + size//2:start + size] = random.Random(1).randbytes(size - size//2)
    out.write_bytes(data)
    return [there[number][2] for number in numbers]


def shown(path): return [frame.to_ndarray(format='gray').max() for frame in read_video_frames(path)]


@pytest.mark.parametrize('on_doubt', VIDEO_ON_DOUBT)
@pytest.mark.parametrize('name', ['b-frames.mp4', 'sound.mkv', 'plain.mov', 'mjpeg.avi', 'vp9.webm', 'h265.mp4',
                                  'ffv1.mkv'])
@pytest.mark.parametrize('number', [0, 7, COUNT - 1])
def test_a_damaged_packet_shows_nobody_and_shifts_nothing(whole, tmp_path, name, number, on_doubt):
    path, out = tmp_path/name, tmp_path/f'o{Path(name).suffix}'
    lost, = hurt(whole/name, path, [number], 'zeros' if number == 7 and name != 'ffv1.mkv' else 'noise')
    times = moments(whole/name)
    try: report = anonymize_video(path, out, mask, bright, every=2, on_doubt=on_doubt)
    except VideoError as error:
        if on_doubt != 'stop': assert 'found no frame' in str(error) and number == 0, "no first picture, no other"
        assert not out.exists() and leftovers(tmp_path) == []
        return
    rows = list(read_sidecar(sidecar_path(out))[1])
    doubted = [row.frame for row in rows if row.doubt.startswith(DAMAGED_FRAME)]
    assert report['damaged'] == len(doubted) and report['frames'] == len(rows) == COUNT
    dropped = doubted if on_doubt == 'drop-frame' else []
    later = [t for i, t in enumerate(times) if i not in dropped]
    assert moments(out) == ([0, *later[1:]] if name == 'mjpeg.avi' and dropped == [0] else later), "AVI begins at 0"
    assert sounds(out) == sounds(whole/name)
    after = shown(out)
    if on_doubt != 'blur-frame': assert max(after) < SEEN
    if on_doubt == 'mask': assert [i for i, light in enumerate(after) if light < 40] == doubted, "whole and no other"
    if on_doubt == 'hold' and 0 < min(doubted, default=0): assert min(after) > 70, "the last good frame, never black"
    if on_doubt == 'stop': assert doubted == [], "not marked, and looked at like any other"
    elif number == 7: assert lost*probe_video(path).time_base in [times[i] for i in doubted]


def test_hold_repeats_the_last_good_frame(whole, tmp_path):
    hurt(whole/'plain.mov', tmp_path/'a.mov', [5, 6], 'zeros')
    anonymize_video(tmp_path/'a.mov', tmp_path/'o.mov', mask, bright, on_doubt='hold', mask_shape=MaskShape())
    frames = [f.to_ndarray(format='gray').astype(int) for f in read_video_frames(tmp_path/'o.mov')]
    for i in (5, 6): assert abs(frames[i] - frames[4]).max() < 9
    assert abs(frames[7] - frames[4]).max() > 60


def test_damage_is_hidden_whatever_the_list_says(whole, tmp_path):
    path, sidecar = tmp_path/'a.mov', tmp_path/'x.jsonl'
    anonymize_video(whole/'plain.mov', tmp_path/'o.mov', mask, bright, sidecar=sidecar)
    header, rows = read_sidecar(sidecar)
    rows = [row for row in rows]
    assert not any(row.doubt for row in rows), "the list is of the file when it was whole"
    hurt(whole/'plain.mov', path, [4, 9], 'noise')
    with pytest.raises(VideoError, match='of another video'):
        anonymize_video(path, tmp_path/'p.mov', mask, None, sidecar=sidecar, chosen=dict(span=(50, 60)))
    assert not (tmp_path/'p.mov').exists(), "its packets are others"
    write_sidecar(sidecar, header | dict(film=describe_film(path)), rows)
    report = anonymize_video(path, tmp_path/'p.mov', mask, None, sidecar=sidecar, chosen=dict(span=(50, 60)))
    after = shown(tmp_path/'p.mov')
    assert report['damaged'] == 2 and [light < 40 for light in after] == [i in (4, 9) for i in range(COUNT)]
    assert max(after) > SEEN, "the others stay, as was asked for"


def test_a_picture_that_is_marked_is_neither_looked_at_nor_trusted(whole, tmp_path):
    path, noted, asked = tmp_path/'a.mov', {}, []
    hurt(whole/'plain.mov', path, [7], 'noise')
    frames = [frame.to_ndarray(format='gray').max() for frame in read_video_frames(path, noted)]
    assert noted == {7: f'{DAMAGED_FRAME}: its picture is incomplete'} and frames[7] > SEEN, "it shows something"
    def find(frames):
        asked.append(len(frames))
        return bright(frames)
    anonymize_video(path, tmp_path/'o.mov', mask, find, every=1)
    assert sum(asked) == COUNT - 1
    assert [light < 40 for light in shown(tmp_path/'o.mov')] == [i == 7 for i in range(COUNT)], "black, not only a box"
    header, rows = read_sidecar(tmp_path/'o.mov.faces.jsonl')
    row = list(rows)[7]
    assert [face.source for face in row.faces] == ['filled'] and row.doubt and not row.cut


def test_many_damaged_frames_end_in_no_error(whole, tmp_path):
    hurt(whole/'plain.mov', tmp_path/'a.mov', range(1, 19), 'zeros')
    report = anonymize_video(tmp_path/'a.mov', tmp_path/'o.mov', mask, bright)
    assert report['damaged'] == report['doubts'] == 19, "and the last one needs those before it"
    assert max(shown(tmp_path/'o.mov')) < SEEN


def test_damage_is_an_error_to_whoever_does_not_take_note(whole, tmp_path):
    hurt(whole/'plain.mov', tmp_path/'a.mov', [3], 'zeros')
    with pytest.raises(VideoError, match='frame 3 is damaged'): list(read_video_frames(tmp_path/'a.mov'))
    noted = {}
    assert len(list(read_video_frames(tmp_path/'a.mov', noted))) == COUNT and list(noted) == [3]


def test_where_a_packet_may_be_no_picture_damage_is_an_error(whole, tmp_path):
    hurt(whole/'vp8.webm', tmp_path/'a.webm', [6], 'zeros')
    try: anonymize_video(tmp_path/'a.webm', tmp_path/'o.webm', mask, bright)
    except VideoError as error: assert 'damaged' in str(error) and not (tmp_path/'o.webm').exists()
    else: assert brightest(tmp_path/'o.webm') < SEEN


@pytest.mark.parametrize('tenth', range(10))
@pytest.mark.parametrize('name', ['fast.mp4', 'sound.mkv', 'plain.mov', 'vp9.webm'])
def test_a_file_cut_at_a_tenth(whole, tmp_path, name, tenth):
    data, path, out = (whole/name).read_bytes(), tmp_path/name, tmp_path/f'o{Path(name).suffix}'
    path.write_bytes(data[:len(data)*tenth//10])
    try: report = anonymize_video(path, out, mask, bright)
    except VideoError as error:
        assert name in str(error) and not out.exists() and leftovers(tmp_path) == []
        assert name not in ('sound.mkv', 'vp9.webm') or tenth < 6, "the part that is there is a video"
        return
    assert max(shown(out)) < SEEN
    times = moments(out)  # frames that are shown early may have been stored late, behind the cut
    assert set(times) <= set(moments(whole/name)) and report['frames'] == len(times)
    if name in ('fast.mp4', 'plain.mov'): assert len(times) == COUNT and tenth == 9, "an MP4 promises its frames"


def test_an_end_before_its_time_is_told(tmp_path):
    path = draw(tmp_path/'long.mkv', 60, options=dict(g='5'))
    assert anonymize_video(path, tmp_path/'o.mkv', mask, bright)['ends_early'] == 0
    data = path.read_bytes()
    path.write_bytes(data[:len(data)*4//10])
    report = anonymize_video(path, tmp_path/'p.mkv', mask, bright)
    assert report['ends_early'] == pytest.approx(2.4 - report['frames']/25, abs=.05) and report['ends_early'] > 1


# --- what a command makes of damaged and impossible files ---

class FindBright:
    "In the place of CenterFace."
    def __init__(self, **settings): pass

    def detect(self, frames):
        boxes = bright(frames)
        return Detections(boxes, torch.ones(len(boxes)), torch.full((len(boxes), 5, 2), float('nan')))

    def __call__(self, frames): return bright(frames)


def typed(*words): return CliRunner().invoke(cli.app, ['anonymize', '--method', 'mask', *map(str, words)])


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.setattr(selection, 'CenterFace', FindBright)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('rotate', [0, 90])
def test_the_line_tells_of_damage_and_an_audit_is_not_shifted(command, rotate):
    draw(command/'whole.mov', options=dict(bf='0', g='10'), rotate=rotate)
    hurt(command/'whole.mov', command/'a.mov', [5, 12], 'zeros')
    result = typed('a.mov', '-o', 'b.mov')
    assert result.exit_code == 0 and '2 damaged' in result.output and '2 doubts' in result.output
    words = ['audit', 'b.mov', '--original', 'a.mov', '--faces', 'b.mov.faces.jsonl', '--max-leak', '0']
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0 and 'None of 18 faces' in result.output


def closed(path):
    path.chmod(0)
    return path


MADE = {
    'a folder': lambda p, v: p.mkdir(), 'nothing': lambda p, v: p.write_bytes(b''),
    'zeros': lambda p, v: p.write_bytes(bytes(5000)), 'text': lambda p, v: p.write_text('a face'*99),
    'a picture': lambda p, v: p.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(99)),
    'its first bytes': lambda p, v: p.write_bytes(v[:40]), 'its last half': lambda p, v: p.write_bytes(v[len(v)//2:]),
    'upside down': lambda p, v: p.write_bytes(v[::-1]), 'no permission': lambda p, v: closed(p),
    'a link to nothing': lambda p, v: p.symlink_to('nowhere.mp4'), 'no such file': lambda p, v: None,
    'a pipe without a writer': lambda p, v: os.mkfifo(p), 'sound only': lambda p, v: tone(p),
    'a playlist': lambda p, v: p.write_text('#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n'),
} | {
    f'noise {n}': lambda p, v, n=n: p.write_bytes(random.Random(n).randbytes(4000)) for n in range(6)} | {
    f'a byte in {n} wrong': lambda p, v, n=n: p.write_bytes(flipped(v, n)) for n in (20, 50, 100, 200, 500, 1000)} | {
    f'a hole at {n} tenths': lambda p, v, n=n: p.write_bytes(hole(v, n)) for n in range(10)}


def tone(path):
    with av.open(str(path), 'w') as out:
        sound = out.add_stream('aac', rate=16000, layout='mono')
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format='s16', layout='mono')
        frame.sample_rate = 16000
        out.mux(sound.encode(frame)), out.mux(sound.encode())


def flipped(data, every):
    chance, data = random.Random(every), bytearray(data)
    for _ in range(max(1, len(data)//every)): data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def hole(data, tenth):
    at = len(data)*tenth//10
    return data[:at] + data[at + len(data)//20:]


@pytest.mark.parametrize('what', MADE)
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_a_bad_input_is_one_line_and_a_good_one_beside_it_is_done(whole, command, what, suffix):
    if what == 'no permission' and os.geteuid() == 0: pytest.skip("root may read everything")
    name = 'b-frames.mp4' if suffix == '.mp4' else 'sound.mkv'
    bad = command/f'bad{suffix}'
    MADE[what](bad, (whole/name).read_bytes())
    shutil.copy(whole/'plain.mov', command/'good.mov')
    result = typed(bad.name, 'good.mov', '-o', 'out')
    assert 'Traceback' not in result.output and isinstance(result.exception, SystemExit | None)
    assert result.exit_code in (0, 1) and max(shown(command/'out'/'good.mov')) < SEEN
    assert f'FAILED {bad.name}' in result.output or (command/'out'/bad.name).exists() or what == 'a folder'
    if (out := command/'out'/bad.name).exists(): assert max(shown(out), default=0) < SEEN
    assert leftovers(command/'out') == []


def test_what_can_be_read_only_once_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path/'a.mp4')
    with pytest.raises(VideoError, match='a.mp4: expected a file, which can be gone through twice'):
        anonymize_video(tmp_path/'a.mp4', tmp_path/'o.mp4', mask, bright)


def test_a_video_of_no_permission_is_named(whole, command):
    "As a user who is not root, where root runs the tests."
    shutil.copy(whole/'plain.mov', command/'a.mov')
    (command/'a.mov').chmod(0)
    def run(to):
        if os.geteuid() == 0: os.seteuid(65534)
        to.send(asked('a.mov', '-o', 'b.mov'))
    command.chmod(0o777)
    code, said = in_a_child(run)
    assert code == 1 and 'FAILED a.mov: cannot read it' in said and sorted(os.listdir(command)) == ['a.mov']


# --- full disks ---

COUNT_LARGE = 100


def asked(*words):
    result = typed(*words)
    return result.exit_code, result.output


def in_a_child(run):
    "What `run` sends, from a process of its own."
    here, there = multiprocessing.Pipe()
    child = CONTEXT.Process(target=run, args=(there,))
    child.start()
    wait([here, child.sentinel])
    assert here.poll(), "the child ended and said nothing"
    answer = here.recv()
    child.join()
    return answer


@pytest.fixture(scope='module')
def large(tmp_path_factory):
    "Noise does not compress, so there is something to be written."
    path, chance = tmp_path_factory.mktemp('large')/'large.mp4', np.random.default_rng(0)
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=25, options=dict(preset='ultrafast', crf='18'))
        stream.width, stream.height, stream.pix_fmt = 240, 180, 'yuv420p'
        for i in range(COUNT_LARGE):
            picture = np.repeat(chance.integers(60, 120, (180, 240, 1)), 3, 2).astype(np.uint8)
            picture[20:36, 20 + i:36 + i] = 250
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.ts', '.avi'])
@pytest.mark.parametrize('most', [300, 30_000, 200_000])
def test_a_limit_on_the_size_of_files_is_a_clear_error(large, command, most, suffix):
    def run(to):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        to.send(asked(large, '-o', f'o{suffix}'))
    code, said = in_a_child(run)
    assert code == 1 and 'cannot be written' in said and 'File too large' in said
    left = sorted(os.listdir(command))
    assert left in ([], [f'o{suffix}.faces.jsonl']) and (left == []) == (most < 1000), "a list that is whole may stay"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk of 64 kB")
def test_a_full_disk_is_a_clear_error(large, command):
    disk = command/'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        code, said = asked(large, '-o', 'disk/o.mp4')
        assert code == 1 and 'cannot be written' in said and 'No space left' in said
        assert [name for name in os.listdir(disk) if not name.endswith('.faces.jsonl')] == []
    finally: subprocess.run(['umount', disk], check=True)


# --- kills ---

def started(path, out):
    "A run in a process of its own, and how many frames it has gone through in both passes."
    done = CONTEXT.Value('i', 0)
    def counted(frames):
        for frame in frames:
            done.value += 1
            yield frame
    how = dict(overwrite=True, progress=counted)
    child = CONTEXT.Process(target=anonymize_video, args=(path, out, mask, bright), kwargs=how)
    child.start()
    return child, done


def lights(path):
    "Of all frames that can be had from what a killed run left."
    try: return [frame.to_ndarray(format='gray').max() for frame in read_video_frames(path, {})]
    except VideoError: return []


@pytest.mark.timeout(1200)  # 25 runs one after another, which a busy machine may not end in 300 seconds
def test_25_kills_leave_no_face_and_the_next_run_clears_up(large, tmp_path):
    chance, parts, killed = random.Random(3), [], 0
    for attempt in range(25):
        number, moment = (signal.SIGKILL, signal.SIGTERM)[attempt % 2], chance.randrange(2*COUNT_LARGE)
        child, done = started(large, tmp_path/f'o{attempt % 3}.ts')
        while child.is_alive() and done.value < moment: time.sleep(.0005)
        os.kill(child.pid, number)
        child.join()
        assert child.exitcode in (0, -number, 128 + number)
        killed += child.exitcode != 0
        names = os.listdir(tmp_path)
        for name in (name for name in names if name.startswith('o') and name.endswith('.ts')):
            there = lights(tmp_path/name)
            assert len(there) == COUNT_LARGE and max(there) < SEEN, "an old or a new result, whole"
        hidden = [tmp_path/name for name in leftovers(tmp_path)]
        if number == signal.SIGTERM: assert not any(str(child.pid) in path.name for path in hidden)
        files = [file for path in hidden for file in (path, *path.glob('*')) if file.is_file()]
        parts += [max(found) for file in files if (found := lights(file))]
    assert killed > 15 and len(parts) > 2 and max(parts) < SEEN, "parts were there to be looked at, and show nobody"
    assert leftovers(tmp_path), "something was left by the last one"
    anonymize_video(large, tmp_path/'o0.ts', mask, bright, overwrite=True)
    assert leftovers(tmp_path) == []


def test_a_list_that_was_not_finished_is_removed_too(whole, tmp_path):
    def die(to):
        def rows():
            to.send(os.getpid())
            os.kill(os.getpid(), signal.SIGKILL)
            yield
        write_sidecar(tmp_path/'x.jsonl', dict(video='v', width=9, height=9, detector='d', enlarge=1.), rows())
    in_a_child(die)
    assert len(leftovers(tmp_path)) == 1
    anonymize_video(whole/'plain.mov', tmp_path/'o.mov', mask, bright)
    assert leftovers(tmp_path) == []
