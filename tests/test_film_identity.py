"Faces are hidden in the film in which they were found, and in no other."
import os
import shutil

import pytest
from test_stream_changes import SEEN, SMALL, av, bright, brightest, mask, picture

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
    anonymize_video(one, tmp_path/'p.mp4', mask, None, sidecar=sidecar, film_known=True)
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


def test_a_list_that_does_not_say_its_film_is_refused_by_the_command(films, tmp_path):
    one, _ = films
    anonymize_video(one, tmp_path/'o.mp4', mask, bright)
    header, rows = read_sidecar(sidecar_path(tmp_path/'o.mp4'))
    assert set(header['film']) == {'start', 'packets'}
    header = {key: value for key, value in header.items() if key not in ('film', 'digest')}
    write_sidecar(tmp_path/'old.jsonl', header, rows)
    with pytest.raises(VideoError, match='which film'):
        anonymize_video(one, tmp_path/'p.mp4', mask, None, sidecar=tmp_path/'old.jsonl', film_known=True)
    assert not (tmp_path/'p.mp4').exists()
