"A list of faces belongs to the moments of its film: one that says other times hides nothing in the right place."
import json

import pytest
from test_cli import FindBright, bright, video

from faceanon.models.baselines import mask
from faceanon.video import anonymize
from faceanon.video.anonymize import anonymize_video
from faceanon.video.detecting import DETECTOR_FAILED
from faceanon.video.face_list import read_sidecar, refuse_edited_list, write_sidecar
from faceanon.video.reading import VideoError, describe_film, read_video_frames
from faceanon.video.tracking import FrameFaces, TrackedFace


@pytest.mark.parametrize('frame', [0, 5, 11])
@pytest.mark.parametrize('ticks', [-1, 1])
def test_a_list_with_another_time_is_refused_at_that_frame(tmp_path, frame, ticks):
    "As many frames of the same size; one of them at another moment."
    film, listed = video(tmp_path/'a.mp4', step=2), tmp_path/'o.mp4.faces.jsonl'
    anonymize_video(film, tmp_path/'o.mp4', mask, FindBright())
    header, *lines = listed.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    rows[frame]['pts'] += ticks
    edited = tmp_path/'edited.jsonl'
    edited.write_text('\n'.join([header, *map(json.dumps, rows)]) + '\n')
    assert read_sidecar(edited)[0]['frames'] == 12, "by itself it is a list like any other"
    with pytest.raises(VideoError, match=f'another video: frame {frame} '):
        anonymize_video(film, tmp_path/'p.mp4', mask, sidecar=edited)
    assert not (tmp_path/'p.mp4').exists()
    anonymize_video(film, tmp_path/'p.mp4', mask, sidecar=listed)
    assert max(bright(tmp_path/'p.mp4')) == 0


def test_what_was_known_before_a_cut_does_not_limit_what_is_covered_after_it(tmp_path):
    "The finder fails in the whole second scene: a place from the first scene is no knowledge about it."
    film, listed = video(tmp_path/'a.mp4', step=3), tmp_path/'list.jsonl'
    times = [frame.pts for frame in read_video_frames(film)]
    face = TrackedFace(0, (30., 20., 36., 26.), 1., 'found')
    rows = [FrameFaces(i, times[i], (face,)*(i < 6), i == 6, f'{DETECTOR_FAILED}: down'*(i >= 6)) for i in range(12)]
    about = dict(video='a.mp4', width=96, height=80, detector='d', enlarge=1., film=describe_film(film))
    write_sidecar(listed, about, rows)
    anonymize_video(film, tmp_path/'o.mp4', mask, sidecar=listed)
    assert max(bright(tmp_path/'o.mp4')[6:]) == 0


def test_a_name_that_is_no_text_is_written_and_read(tmp_path):
    path, about = tmp_path/'v.jsonl', dict(video='\udcff\udcfe.mp4', width=96, height=80, detector='größer', enlarge=1.)
    write_sidecar(path, about, [FrameFaces(0, 0, (), doubt='\udcff')])
    header, rows = read_sidecar(path)
    assert header['video'] == about['video'] and header['detector'] == 'größer' and next(rows).doubt == '\udcff'
    refuse_edited_list(path, overwrite=False)


def test_an_encoder_that_swallows_a_frame_leaves_no_film(tmp_path, monkeypatch):
    encode = anonymize.encode_video
    monkeypatch.setattr(anonymize, 'encode_video', lambda *given: encode(*given) - 1)
    with pytest.raises(VideoError, match='the encoder lost 1 frames'):
        anonymize_video(video(tmp_path/'a.mp4'), tmp_path/'o.mp4', mask, FindBright())
    assert not (tmp_path/'o.mp4').exists()
