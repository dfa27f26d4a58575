"Faces are hidden in the film in which they were found, and in no other."
import os
import shutil

import pytest
from click.testing import CliRunner
from test_stream_changes import SEEN, SMALL, av, bright, brightest, mask, picture

from faceanon.cli import app
from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import read_sidecar, sidecar_path, write_sidecar
from faceanon.video.hiding import MASK_CONFIG
from faceanon.video.reading import VideoError
from faceanon.video.rerender import rerender_video

COUNT = 40


def draw_film(path, left):
    "Films of one size, rate and length; the face is elsewhere."
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=25, options=dict(crf='10'))
        (stream.width, stream.height), stream.pix_fmt = SMALL, 'yuv420p'
        for i in range(COUNT):
            x = left if i >= COUNT//2 else 20  # the first half is the same
            pixels = picture(SMALL, (x, 10, x + 24, 34))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
    return path


@pytest.fixture
def films(tmp_path):
    return draw_film(tmp_path/'one.mp4', 30), draw_film(tmp_path/'other.mp4', 120)


def test_the_list_of_another_film_is_refused(films, tmp_path):
    one, other = films
    anonymize_video(one, tmp_path/'o.mp4', mask, bright)
    sidecar = sidecar_path(tmp_path/'o.mp4')
    assert brightest(tmp_path/'o.mp4') < SEEN
    with pytest.raises(VideoError, match='another (film|video)'):
        anonymize_video(other, tmp_path/'p.mp4', mask, None, sidecar=sidecar)
    with pytest.raises(VideoError, match='another (film|video)'):
        rerender_video(other, tmp_path/'p.mp4', sidecar, [], MASK_CONFIG)
    assert not (tmp_path/'p.mp4').exists()
    anonymize_video(one, tmp_path/'p.mp4', mask, None, sidecar=sidecar)
    assert brightest(tmp_path/'p.mp4') < SEEN


@pytest.mark.parametrize('how', ['renamed over', 'written over', 'removed'])
def test_a_film_that_is_replaced_meanwhile_is_refused(films, tmp_path, how):
    one, other = films
    def replace_it():
        if how == 'renamed over': os.replace(other, one)
        elif how == 'written over': shutil.copyfile(other, one)
        else: one.unlink()
    passes = []
    def progress(frames):
        passes.append(1)
        if len(passes) == 2: replace_it()
        yield from frames
    with pytest.raises(VideoError): anonymize_video(one, tmp_path/'o.mp4', mask, bright, progress=progress)
    assert not (tmp_path/'o.mp4').exists()


def test_a_film_that_is_replaced_by_an_equal_one_with_other_dates_is_refused_too(films, tmp_path):
    one, _ = films
    def progress(frames):
        yield from frames
        os.utime(one, (1, 1))
    with pytest.raises(VideoError, match='replaced or changed'):
        anonymize_video(one, tmp_path/'o.mp4', mask, bright, progress=progress)
    assert not (tmp_path/'o.mp4').exists()


@pytest.mark.skipif(os.name == 'nt', reason="Windows keeps no time of the last change of status")
def test_a_film_whose_place_another_took_for_a_moment_is_refused(films, tmp_path):
    "Its sound might have been copied then."
    one, other = films
    def progress(frames):
        away = tmp_path/'away'
        os.replace(one, away)
        os.replace(other, one)
        yield from frames
        os.replace(one, other)
        os.replace(away, one)
    with pytest.raises(VideoError, match='replaced'):
        anonymize_video(one, tmp_path/'o.mp4', mask, bright, progress=progress)
    assert not (tmp_path/'o.mp4').exists()


def without_its_film(path, out, change=lambda film: None):
    "The same list with another `film` in its header, or none."
    header, rows = read_sidecar(path)
    film = change(header['film'])
    header = {key: value for key, value in header.items() if key not in ('film', 'digest')}
    write_sidecar(out, header | ({} if film is None else dict(film=film)), rows)
    return out


@pytest.mark.parametrize('change', [lambda film: None, lambda film: 'one.mp4', lambda film: dict(start=film['start']),
                                    lambda film: film | dict(scenes='all'), lambda film: film | dict(scenes=[[0, 7]])])
def test_a_list_that_does_not_say_its_film_is_refused_everywhere(films, tmp_path, change):
    one, _ = films
    anonymize_video(one, tmp_path/'o.mp4', mask, bright)
    before = (tmp_path/'o.mp4').read_bytes()
    old = without_its_film(sidecar_path(tmp_path/'o.mp4'), tmp_path/'old.jsonl', change)
    says = 'make the list again|scenes must be|a scene must be'
    with pytest.raises(VideoError, match=says):
        anonymize_video(one, tmp_path/'p.mp4', mask, None, sidecar=old)
    with pytest.raises(VideoError, match=says): rerender_video(one, tmp_path/'o.mp4', old, [], MASK_CONFIG)
    done = CliRunner().invoke(app, ['anonymize', str(one), '-o', str(tmp_path/'p.mp4'), '--faces', str(old)])
    assert done.exit_code == 1 and 'FAILED' in done.output
    assert not (tmp_path/'p.mp4').exists() and (tmp_path/'o.mp4').read_bytes() == before


def test_another_film_is_stopped_at_its_first_scene(films, tmp_path):
    "Even by a list whose digests are those of this film."
    dark = tmp_path/'dark.mp4'
    with av.open(str(dark), 'w') as out:
        stream = out.add_stream('libx264', rate=25, options=dict(crf='10'))
        (stream.width, stream.height), stream.pix_fmt = SMALL, 'yuv420p'
        for i in range(COUNT):
            pixels = picture(SMALL, (20, 10, 44, 34))
            pixels[SMALL[1]//2:] = 20 if i < COUNT//2 else 90  # its second half is the same as the other film's
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
    one, _ = films
    for path in (one, dark): anonymize_video(path, path.with_stem(f'{path.stem}_out'), mask, bright)
    lists = [sidecar_path(path.with_stem(f'{path.stem}_out')) for path in (one, dark)]
    film = read_sidecar(lists[1])[0]['film']
    assert all(len(code) == 4 for _, code in film['scenes']) and film['scenes'][0][0] == 0
    mixed = without_its_film(lists[0], tmp_path/'mixed.jsonl', lambda own: film | dict(scenes=own['scenes']))
    seen = []
    def progress(frames):
        for frame in frames:
            seen.append(frame.pts)
            yield frame
    with pytest.raises(VideoError, match='frame 0 looks different'):
        anonymize_video(dark, tmp_path/'p.mp4', mask, None, sidecar=mixed, progress=progress)
    assert len(seen) < 12 and not (tmp_path/'p.mp4').exists()
