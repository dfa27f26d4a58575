"Stages that run at the same time: order, bounds, signals, clocks, and no more conversions than there are faces."
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakSet

import pytest
from click.testing import CliRunner
from test_cli import FindBright, bright, place, typed, video  # noqa: F401 (a fixture)

from faceanon import cli
from faceanon.video import stages
from faceanon.video.anonymize import anonymize_video
from faceanon.video.stages import PREFETCH_FRAMES, measure_pass, prefetch


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def wait_for(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(.005)


@pytest.mark.parametrize('threads', [1, 3])
def test_results_come_in_order_a_few_are_held_and_an_error_comes_in_its_turn(threads):
    asked, done = [], []
    def items():
        for i in range(30):
            asked.append(i)
            yield i
    def work(i):
        time.sleep(random.Random(i).random()/500)
        done.append(i)
        if i == 20: raise ValueError('twenty')
        return 2*i
    got = prefetch(work, items(), threads)
    assert next(got) == 0
    wait_for(lambda: len(done) == PREFETCH_FRAMES + 1)
    assert len(asked) == PREFETCH_FRAMES + 1, "no more than a few are held"
    assert [next(got) for _ in range(19)] == list(range(2, 40, 2))
    with pytest.raises(ValueError, match='twenty'): next(got)
    assert len(done) < 30 and list(got) == []


def test_an_error_of_the_items_comes_behind_the_results_before_it():
    def items():
        yield from range(3)
        raise OSError('the disk')
    got = prefetch(str, items(), 2)
    assert [next(got) for _ in range(3)] == ['0', '1', '2']
    with pytest.raises(OSError, match='the disk'): next(got)


@pytest.mark.parametrize('threads', [1, 2])
def test_no_more_items_are_alive_than_are_held(threads):
    class Item: pass
    alive, most = WeakSet(), []
    def items():
        for _ in range(40):
            item = Item()
            alive.add(item)
            yield item
            del item
    for _ in prefetch(lambda item: item, items(), threads):
        most.append(len(alive))
    assert max(most) <= PREFETCH_FRAMES + 2, "those held, and the last one of this loop"


def test_a_caller_that_stops_ends_the_items_too():
    asked, closed = [], []
    def items():
        try:
            for i in range(1000):
                asked.append(i)
                yield i
        finally: closed.append(threading.current_thread())
    got = prefetch(str, items(), 2)
    assert next(got) == '0'
    got.close()
    del got
    assert len(asked) <= PREFETCH_FRAMES + 2 and closed, "the film is closed"


@pytest.fixture
def interruptible():
    "A shell may have Ctrl-C ignored."
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_waits_until_threads_are_started_and_joined(monkeypatch, interruptible):
    done = []
    def from_here(): return threading.current_thread() is threading.main_thread()  # not other programs' threads
    class Thread(threading.Thread):
        def start(self):
            if from_here(): signal.raise_signal(signal.SIGINT)
            super().start()
            done.append('started')
        def join(self, timeout=None):
            if from_here(): signal.raise_signal(signal.SIGINT)
            super().join(timeout)
            done.append('joined')
    monkeypatch.setattr(stages.threading, 'Thread', Thread)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt): list(prefetch(int, [1]))
    monkeypatch.undo()
    assert done[:3] == ['started', 'started', 'joined']
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    wait_for(lambda: set(threading.enumerate()) == before)
    with ThreadPoolExecutor(1) as other:  # a thread that may not set a handler
        assert other.submit(lambda: list(prefetch(int, '123'))).result() == [1, 2, 3]


def test_the_waiting_for_what_never_ends_can_be_interrupted(monkeypatch, interruptible):
    free, works, joins, raised = threading.Event(), threading.Event(), threading.Event(), []
    def never(_):
        works.set()
        free.wait(100)
    ended = stages._has_ended
    def watched(thread):
        joins.set()
        return ended(thread)
    monkeypatch.setattr(stages, '_has_ended', watched)
    def interrupt(*_):  # once for the result, once for the end of the work; a signal may also come too late to count
        if len(raised) < 1 + joins.is_set():
            raised.append(joins.is_set())
            raise KeyboardInterrupt
    signal.signal(signal.SIGINT, interrupt)
    def until_twice():  # a wait that begins at the moment of a signal does not see it: it is sent again
        works.wait()
        while len(raised) < 2 and not free.wait(.01): os.kill(os.getpid(), signal.SIGINT)
    killer = threading.Thread(target=until_twice, daemon=True)
    killer.start()
    before = threading.active_count()
    try:
        with pytest.raises(KeyboardInterrupt): list(prefetch(never, [1]))
        assert raised == [False, True] and not free.is_set()
    finally: free.set()
    killer.join()
    wait_for(lambda: threading.active_count() < before)


@pytest.mark.parametrize('slow,waits', [('items', dict(work='starved', use='starved')),
                                        ('work', dict(items='blocked', use='starved')),
                                        ('use', dict(items='blocked', work='starved'))])
def test_clocks_tell_who_holds_up_whom(slow, waits):
    def pause(stage): time.sleep(.02 if stage == slow else 0)
    def items():
        for i in range(15):
            pause('items')
            yield i
    rows = []
    with measure_pass('pass', rows) as clocks:
        for _ in prefetch(lambda i: pause('work'), items(), 1, ('items', 'work', 'use'), clocks): pause('use')
    rows = {row['stage']: row for row in rows}
    assert list(rows) == ['items', 'work', 'use'] and {row['frames'] for row in rows.values()} == {15}
    assert rows[slow]['busy'] > .5, "the slow one works"
    assert all(rows[stage][what] > rows[stage]['busy'] for stage, what in waits.items())
    assert all(row['busy'] + row['starved'] + row['blocked'] < 1.05 for row in rows.values())
    assert rows['use']['busy'] + rows['use']['starved'] == pytest.approx(1, abs=.01)


def conversions(work):
    "How often FFmpeg converted a picture, in any thread."
    found = Counter()
    def watch(frame, event, arg):
        if event == 'c_call' and getattr(arg, '__name__', '') in ('reformat', 'to_ndarray'): found[arg.__name__] += 1
    threading.setprofile(watch)
    sys.setprofile(watch)
    try: work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return sum(found.values())


def test_only_faces_are_converted_in_the_second_pass(place):  # noqa: F811
    film, listed = video(place/'a.mp4', 20), place/'a.jsonl'
    anonymize_video(film, place/'b.mp4', find_faces=FindBright(), sidecar=listed, every=1)
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    faces = sum(len(line['faces']) for line in lines if 'faces' in line)
    head = {key: value for key, value in lines[0].items() if key != 'digest'}
    empty = [json.dumps(head), *(json.dumps(line | dict(faces=[]) if 'faces' in line else line) for line in lines[1:])]
    (place/'none.jsonl').write_text('\n'.join(empty) + '\n')
    def again(sidecar, out): return lambda: anonymize_video(film, place/out, sidecar=place/sidecar)
    scenes = len(head['film']['scenes'])
    assert faces == 20 and set(bright(place/'b.mp4')) == {0}
    assert conversions(again('none.jsonl', 'c.mp4')) == scenes, "only to compare where scenes begin"
    assert conversions(again('a.jsonl', 'd.mp4')) == scenes + 2*faces, "there and back"
    assert set(bright(place/'d.mp4')) == {0} and min(bright(place/'c.mp4')) > 300


def test_profile_tells_what_each_stage_did(place):  # noqa: F811
    video(place/'a.mp4', 20), video(place/'b.mp4', 10)
    plain = typed('a.mp4', '-o', 'plain', '--json')
    assert plain.exit_code == 0 and 'stages' not in json.loads(plain.stdout)['files'][0]
    told = CliRunner().invoke(cli.app, ['anonymize', 'a.mp4', 'b.mp4', '-o', 'out', '--json', '--profile', '--quiet'])
    assert told.exit_code == 0, told.output
    for row, count in zip(json.loads(told.stdout)['files'], (20, 10)):
        assert [(one['step'], one['stage'], one['frames']) for one in row['stages']] == [
            *(('find', stage, count) for stage in ('decode', 'convert', 'look, track, list')),
            *(('hide', stage, count) for stage in ('decode', 'hide', 'encode'))]
    heads = [line.split() for line in told.stderr.splitlines() if line.startswith('pass')]
    assert len(heads) == 2 and told.stderr.count('decode') == 4
    assert set(bright(place/'out/a.mp4')) == {0}
    assert Path('out/a.mp4').read_bytes() == Path('plain/a.mp4').read_bytes()
