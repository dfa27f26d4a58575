"Regions that are always hidden, pictures in place of faces, results as a table, and an audit that saw nobody."
import csv
import io
import json

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from faceanon import cli
from faceanon.models.face_detectors import Detections
from faceanon.video import selection
from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import read_sidecar, refuse_edited_list
from faceanon.video.hiding import MethodConfig
from faceanon.video.reading import probe_video, read_video_frames, upright_frame
from faceanon.video.rerender import preview_decisions, rerender_video


class FindBright:
    "One box a frame around what is nearly white."
    def __init__(self, **settings): pass

    def detect(self, frames):
        rows = []
        for i, frame in enumerate(frames):
            y, x = (frame.amin(0) > .92).nonzero(as_tuple=True)
            if len(y) > 50: rows.append([i, x.min(), y.min(), x.max() + 1, y.max() + 1])
        boxes = torch.tensor(rows).reshape(-1, 5).long()
        return Detections(boxes, torch.ones(len(boxes)), torch.full((len(boxes), 5, 2), torch.nan))

    def __call__(self, frames): return self.detect(frames).boxes


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(selection, 'CenterFace', FindBright)
    return tmp_path


def typed(*words): return CliRunner().invoke(cli.app, [*map(str, words)])


def scene(face=True):
    pixels = np.full((80, 96, 3), 150, np.uint8)
    if face: pixels[30:50, 40:60] = 250
    return pixels


def film(path, count=6, face=True):
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=10, options=dict(crf='4'))
        stream.width, stream.height, stream.pix_fmt = 96, 80, 'yuv420p'
        for _ in range(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(scene(face), format='rgb24')))
        out.mux(stream.encode())
    return path


def seen(path):
    view = probe_video(path).view
    return [upright_frame(frame, view=view)[..., 0] for frame in read_video_frames(path)]


def test_a_region_of_a_film_is_black_in_every_frame_and_nothing_else_is(place):
    film(place/'a.mp4', face=False)
    done = typed('anonymize', 'a.mp4', '-o', 'b.mp4',
                 '--mask-region', '4,8,20,30', '--mask-region', '60,60,90,60,60,76',
                 '--crf', '4')
    assert done.exit_code == 0, done.output
    frames = seen(place/'b.mp4')
    assert len(frames) == 6
    for frame in frames:
        assert frame[9:29, 5:19].max() < 40 and frame[62:72, 61:66].max() < 40
        assert frame[8:30, 24:].min() > 120 and frame[70:, 80:].min() > 120


def test_a_later_rendering_by_the_list_hides_the_region_too(place):
    film(place/'a.mp4')
    region = ((4, 8), (20, 30))
    anonymize_video(place/'a.mp4', place/'b.mp4', find_faces=FindBright(), regions=[region], every=1)
    assert read_sidecar(place/'b.mp4.faces.jsonl')[0]['mask_regions'] == [[[4, 8], [20, 30]]]
    rerender_video(place/'a.mp4', place/'b.mp4', place/'b.mp4.faces.jsonl', [0], MethodConfig())
    frames = seen(place/'b.mp4')
    assert max(frame[9:29, 5:19].max() for frame in frames) < 40
    assert min(frame[35:45, 45:55].min() for frame in frames) > 220, "and shows who was decided to stay"
    anonymize_video(place/'a.mp4', place/'c.mp4', sidecar=place/'b.mp4.faces.jsonl')
    assert max(frame[9:29, 5:19].max() for frame in seen(place/'c.mp4')) < 40


@pytest.mark.parametrize('out', ['b.mp4', 'c.mp4'])
def test_a_region_that_is_added_to_a_list_is_stored_and_seen_in_the_review(place, out):
    "With the list of another result, and with the result's own."
    film(place/'a.mp4')
    anonymize_video(place/'a.mp4', place/'b.mp4', find_faces=FindBright(), every=1)
    for _ in range(2):
        done = typed('anonymize', 'a.mp4', '-o', out, '--faces', 'b.mp4.faces.jsonl', '--mask-region', '4,8,20,30',
                     '--overwrite')
        assert done.exit_code == 0, done.output
    own = place/f'{out}.faces.jsonl'
    assert read_sidecar(own)[0]['mask_regions'] == [[[4, 8], [20, 30]]]
    assert max(frame[9:29, 5:19].max() for frame in seen(place/out)) < 40
    rerender_video(place/'a.mp4', place/out, own, [0], MethodConfig())
    assert max(frame[9:29, 5:19].max() for frame in seen(place/out)) < 40
    with pytest.raises(FileExistsError, match='may have been edited'): refuse_edited_list(own, overwrite=False)
    for keep in ([], [0]):
        shown = preview_decisions(place/'a.mp4', own, 3, keep, MethodConfig())
        assert shown[9:29, 5:19].max() < 40 and shown[8:30, 24:28].min() > 60
    lines = own.read_text().splitlines()
    row = json.loads(lines[4]) | dict(doubt='track 0 was lost after frame 2')
    own.write_text('\n'.join([*lines[:4], json.dumps(row), *lines[5:]]) + '\n')
    assert preview_decisions(place/'a.mp4', own, 3, [], MethodConfig())[9:29, 5:19].max() < 40, "in doubt too"


@pytest.mark.parametrize('kind', ['png', 'jpg', 'gif'])
def test_a_region_of_a_picture_or_an_animation(place, kind):
    pages = [Image.fromarray(scene()) for _ in range(3 if kind == 'gif' else 1)]
    more = dict(save_all=True, append_images=pages[1:], duration=100) if kind == 'gif' else {}
    pages[0].save(place/f'a.{kind}', **more)
    done = typed('anonymize', f'a.{kind}', '-o', f'b.{kind}', '--mask-region', '4,8,20,30')
    assert done.exit_code == 0, done.output
    with Image.open(place/f'b.{kind}') as image:
        for number in range(getattr(image, 'n_frames', 1)):
            image.seek(number)
            pixels = np.asarray(image.convert('RGB'))
            assert pixels[9:29, 5:19].max() < 30 and pixels[:, 86:].min() > 120 and pixels[35:45, 45:55].max() < 40


@pytest.mark.parametrize('words, says', [(['4,8,2,30'], 'x1 < x2'), (['1,2,3'], 'a mask region is'),
                                         (['a,b,c,d'], 'a mask region is')])
def test_a_wrong_region_is_wrong_usage(place, words, says):
    Image.fromarray(scene()).save(place/'a.png')
    done = typed('anonymize', 'a.png', '-o', 'b.png', '--mask-region', *words)
    assert done.exit_code == 2 and says in done.output and not (place/'b.png').exists()


def test_a_region_outside_the_picture_hides_nothing_so_nothing_is_written(place):
    Image.fromarray(scene()).save(place/'a.png'), film(place/'a.mp4')
    done = typed('anonymize', 'a.png', 'a.mp4', '-o', 'out', '--mask-region', '500,500,600,600')
    assert done.exit_code == 1 and 'outside a picture' in done.output
    assert not (place/'out'/'a.png').exists() and not (place/'out'/'a.mp4').exists()


def test_a_picture_in_place_of_every_face(place):
    Image.fromarray(scene()).save(place/'a.png'), film(place/'a.mp4')
    Image.fromarray(np.full((30, 30, 3), [200, 20, 20], np.uint8)).save(place/'red.png')
    done = typed('anonymize', 'a.png', 'a.mp4', '-o', 'out', '--replace', 'red.png')
    assert done.exit_code == 0, done.output
    pixels = np.asarray(Image.open(place/'out'/'a.png').convert('RGB'))
    assert (abs(pixels[30:50, 40:60].astype(int) - [200, 20, 20]) < 12).all()
    frame = next(read_video_frames(place/'out'/'a.mp4')).to_ndarray(format='rgb24')
    assert frame[32:48, 42:58, 0].min() > 150 and frame[32:48, 42:58, 1].max() < 80
    assert typed('anonymize', 'a.png', '-o', 'c.png', '--replace', 'red.png', '--method', 'blur').exit_code == 2
    assert typed('anonymize', 'a.png', '-o', 'c.png', '--replace', 'none.png').exit_code != 0


def test_nothing_shows_through_a_transparent_picture(place):
    Image.fromarray(scene()).save(place/'a.png')
    Image.fromarray(np.zeros((30, 30, 4), np.uint8)).save(place/'clear.png')
    assert typed('anonymize', 'a.png', '-o', 'b.png', '--replace', 'clear.png').exit_code == 0
    assert np.asarray(Image.open(place/'b.png').convert('RGB'))[30:50, 40:60].max() == 0


def test_the_results_of_a_folder_as_one_table(place):
    (place/'in').mkdir()
    Image.fromarray(scene()).save(place/'in'/'=a,b.png')
    (place/'in'/'bad.png').write_bytes(b'no picture')
    done = typed('anonymize', 'in', '-o', 'out', '--csv', '--quiet')
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.exit_code == 1 and [row['ok'] for row in rows] == ['True', 'False']
    assert rows[0]['faces'] == '1' and '=a,b.png' in rows[0]['input'] and rows[1]['error']
    assert typed('anonymize', 'in', '-o', 'out', '--csv', '--json').exit_code == 2


def test_an_audit_that_saw_nobody_has_an_exit_status_of_its_own(place):
    film(place/'empty.mp4', face=False), film(place/'face.mp4')
    def audit(name, *more): return typed('audit', name, '--original', name, '--detector', 'centerface', *more)
    nobody = audit('empty.mp4', '--max-leak', '0')
    assert nobody.exit_code == 5 and 'Nothing was measured' in nobody.output
    assert audit('empty.mp4').exit_code == 0 and 'Nothing was measured' in audit('empty.mp4').output
    assert audit('face.mp4', '--max-leak', '0').exit_code != 5
