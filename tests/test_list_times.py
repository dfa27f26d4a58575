"A list of faces belongs to the moments of its film: one that says other times hides nothing in the right place."
import json

import pytest

from faceanon.models.baselines import mask
from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import read_sidecar
from faceanon.video.reading import VideoError
from test_cli import FindBright, bright, video


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
