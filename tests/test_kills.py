"A signal at any moment leaves no folder behind, or one that the next run removes."
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from faceanon import atomic
from faceanon.atomic import only_writer, part_folder, remove_stale_parts
from faceanon.video import commands
from faceanon.video.encoding import unwind_on_sigterm
from faceanon.video.inputs import Job


def in_a_child(work, *given):
    "What a process that does this work ends with."
    child = multiprocessing.get_context('fork').Process(target=work, args=given)
    child.start()
    child.join()
    return child.exitcode


def die_at(owner, name, signal_number, calls=1):
    "The call with this number sends the process a signal before it does anything."
    real, left = getattr(owner, name), [calls]
    def first(*given, **named):
        left[0] -= 1
        if left[0] == 0: os.kill(os.getpid(), signal_number)
        return real(*given, **named)
    setattr(owner, name, first)


MOMENTS = dict(made=(Path, 'mkdir'), claimed=(atomic, '_claim'), removed=(shutil, 'rmtree'), emptied=(Path, 'iterdir'))


def write_until(owner, name, number, place, calls):
    die_at(owner, name, number, calls)
    with unwind_on_sigterm(), only_writer(place/'a.mp4'), part_folder(place, 'a.mp4') as part:
        (part/'half').write_bytes(b'half')
        (part/'inner').mkdir()


@pytest.mark.parametrize('moment', MOMENTS)
@pytest.mark.parametrize('calls', [1, 2, 3])
def test_sigterm_at_every_step_leaves_nothing(tmp_path, moment, calls):
    assert in_a_child(write_until, *MOMENTS[moment], signal.SIGTERM, tmp_path, calls) in (0, 128 + signal.SIGTERM)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize('moment', MOMENTS)
@pytest.mark.parametrize('calls', [1, 2, 3])
def test_after_a_kill_at_every_step_the_next_run_removes_what_is_left(tmp_path, moment, calls):
    in_a_child(write_until, *MOMENTS[moment], signal.SIGKILL, tmp_path, calls)
    for part in tmp_path.iterdir():
        if not any(part.iterdir()): os.utime(part, (1, 1))  # long ago: a living process claims its folder at once
    remove_stale_parts(tmp_path)
    with only_writer(tmp_path/'a.mp4'): pass
    assert [*tmp_path.iterdir()] == []


def test_an_empty_folder_of_others_or_of_this_moment_stays(tmp_path):
    for name in ('.a.part-7-x', '.a.part-x-' + 'a'*32, '.a.part-7-' + 'A'*32):
        (tmp_path/name).mkdir()
        os.utime(tmp_path/name, (1, 1))
    (tmp_path/('.new.part-7-' + 'a'*32)).mkdir()
    full = tmp_path/('.full.part-7-' + 'a'*32)
    full.mkdir()
    (full/'mine').touch()
    os.utime(full, (1, 1))
    before = {*tmp_path.iterdir()}
    remove_stale_parts(tmp_path)
    assert {*tmp_path.iterdir()} == before and (full/'mine').exists()


def between_the_passes(place):
    def anonymize(job, **how): os.kill(os.getpid(), signal.SIGTERM)
    commands._anonymize_input = anonymize
    commands._run_job(Job('video', str(place/'a.mp4'), str(place/'out'/'b.mp4')))


def test_sigterm_outside_a_pass_unlocks_the_result(tmp_path):
    assert in_a_child(between_the_passes, tmp_path) == 128 + signal.SIGTERM
    assert [*(tmp_path/'out').iterdir()] == []
