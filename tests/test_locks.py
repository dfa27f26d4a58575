"Two runs on one folder, on one machine or on two: none removes the other's work, and one result has one writer."
import json
import os
import subprocess
import sys
import time
from multiprocessing import get_context

import pytest

from faceanon import atomic
from faceanon.atomic import atomic_write, only_writer, part_folder, remove_stale_parts

CONTEXT = get_context('fork')
OWNER = atomic._OWNER_FILE


def names(folder): return sorted(p.name for p in folder.iterdir())


def gone_process():
    child = CONTEXT.Process(target=int)
    child.start()
    child.join()
    return child.pid


def left_behind(folder, name, pid, where=None, silent=0.):
    "A part as a killed run leaves it, `silent` seconds ago."
    part = folder/name
    part.mkdir()
    about = dict(format=atomic._OWNER_FORMAT, where=atomic._where() if where is None else where, pid=pid)
    (part/OWNER).write_text(json.dumps(about))
    (part/'film.mp4').write_bytes(b'half')
    os.utime(part/OWNER, (time.time() - silent,)*2)
    return part


def test_parts_of_processes_that_have_ended_here_are_removed(tmp_path):
    left_behind(tmp_path, '.a.mp4.part-1-x', gone_process())
    alive = left_behind(tmp_path, '.b.mp4.part-1-x', os.getpid(), silent=9e5)
    remove_stale_parts(tmp_path)
    assert names(tmp_path) == [alive.name] and (alive/'film.mp4').exists()


def test_a_process_elsewhere_is_known_by_its_heartbeat_alone(tmp_path):
    "Its number is free here, and says nothing."
    beats = left_behind(tmp_path, '.a.mp4.part-1-x', gone_process(), where='another machine')
    left_behind(tmp_path, '.b.mp4.part-1-x', os.getpid(), where='another machine', silent=atomic._SILENT_SECONDS + 99)
    remove_stale_parts(tmp_path)
    assert names(tmp_path) == [beats.name] and (beats/'film.mp4').exists()


@pytest.mark.parametrize('owner', [None, b'', b'\x00\xff', b'[]', b'{"format": "other"}', b'['*1999,
                                   b'{"format": "faceanon part 1", "where": 1, "pid": 1}',
                                   b'{"format": "faceanon part 1", "where": "x", "pid": true}',
                                   b'{"format": "faceanon part 1", "where": "x", "pid": -1}'])
def test_what_somebody_else_wrote_is_never_touched(tmp_path, owner):
    pid = gone_process()
    part = tmp_path/f'.a.mp4.part-{pid}-x'
    part.mkdir()
    (part/'dear.txt').touch()
    if owner is not None:
        (part/OWNER).write_bytes(owner)
        os.utime(part/OWNER, (1, 1))
    (tmp_path/f'.b.part-{pid}.mp4').touch()
    aside = left_behind(tmp_path, 'elsewhere', pid)
    (tmp_path/f'.c.part-{pid}-link').symlink_to(aside)
    before = names(tmp_path)
    remove_stale_parts(tmp_path)
    assert names(tmp_path) == before and (part/'dear.txt').exists() and (aside/'film.mp4').exists()


def test_the_heart_beats_while_a_file_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, '_BEAT_SECONDS', .01)
    with part_folder(tmp_path) as part:
        os.utime(part/OWNER, (1, 1))
        end = time.monotonic() + 200
        while (part/OWNER).stat().st_mtime < 2:
            assert time.monotonic() < end, "no heartbeat"
            time.sleep(.005)
    assert names(tmp_path) == []


def test_a_result_is_renamed_and_never_copied(tmp_path):
    "Somebody who has the old file open keeps it whole, and nobody sees a file that grows."
    out = tmp_path/'film.mp4'
    out.write_bytes(b'old')
    before = out.stat().st_ino
    with out.open('rb') as reader, atomic_write(out) as aside:
        aside.write_bytes(b'new and longer')
        written = aside.stat().st_ino
        moved = aside
        assert reader.read() == b'old'
    assert not moved.exists() and out.read_bytes() == b'new and longer'
    assert out.stat().st_ino == written != before


WRITER = """
import sys
from faceanon.atomic import only_writer
with only_writer(sys.argv[1]):
    print('mine', flush=True)
    sys.stdin.readline()
"""


def start_writer(path):
    child = subprocess.Popen([sys.executable, '-c', WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
    assert child.stdout.readline() == 'mine\n'
    return child


def test_a_second_writer_is_refused_and_the_lock_of_a_dead_one_is_not(tmp_path):
    out, long = tmp_path/'film.mp4', tmp_path/('n'*251 + '.mp4')
    first = start_writer(out)
    with pytest.raises(FileExistsError, match='film.mp4: another run is writing'), only_writer(out): pass
    with only_writer(tmp_path/'other.mp4'), only_writer(long), only_writer(long.with_suffix('.mov')): pass
    remove_stale_parts(tmp_path)
    with pytest.raises(FileExistsError), only_writer(out): pass
    first.kill()
    first.communicate()
    assert names(tmp_path), "the lock is still there"
    with only_writer(out):
        with pytest.raises(FileExistsError), only_writer(out): pass
    remove_stale_parts(tmp_path)
    assert names(tmp_path) == []


def test_a_lock_that_another_took_over_meanwhile_stays_his(tmp_path):
    "The one who was slower moves the lock of the faster one away, sees whose it is, and puts it back."
    out = tmp_path/'film.mp4'
    with only_writer(out):
        [lock] = tmp_path.glob('.*part-lock-*')
        with part_folder(tmp_path) as own: atomic._move_away(lock, own)
        assert json.loads((lock/OWNER).read_text())['pid'] == os.getpid()
        with pytest.raises(FileExistsError), only_writer(out): pass
    assert names(tmp_path) == []
