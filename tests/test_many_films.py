"Many films: shares of a list, records, processes, Ray. What is finished is never done twice, and nothing is lost."
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_cli import FindBright, bright, no_traceback, picture, place, tree, typed, video  # noqa: F401 (a fixture)

from faceanon import cli
from faceanon.atomic import only_writer
from faceanon.video import commands, many_films, selection
from faceanon.video.manifest import ManifestRow, digest_of_file, read_manifest, shard_rows
from faceanon.video.ray_engine import run_on_ray
from faceanon.video.run_records import read_record, record_path
from faceanon.video.workers import WorkerDied, run_in_processes

TESTS = Path(__file__).resolve().parent


def wait_for(holds, seconds=240):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(.02)


def watched_session(options, method=None, share=1):
    "A session that knows bright squares, notes what it begins and ends, and meets what a test has planned for a film."
    selection.CenterFace = FindBright
    work, plans = commands.start_session(options, method, share), Path(os.environ['PLANS'])
    def note(word, name):
        with (plans/'log').open('a') as log: log.write(f'{word} {name}\n')
    def watched(job, overwrite):
        name = Path(job.source).name
        note('begin', name)
        for plan in plans.glob(f'{name}.*'): meet(plan, work, job, overwrite)
        row = work(job, overwrite)
        note('end', name)
        return row
    return watched


def meet(plan, work, job, overwrite):
    if plan.suffix == '.crash': os.kill(os.getpid(), signal.SIGSEGV)
    if plan.suffix == '.full':  # for once
        plan.unlink()
        raise OSError(28, 'No space left on device')
    if plan.suffix == '.block':
        plan.with_suffix('.blocked').write_text(str(os.getpid()))
        while plan.exists(): time.sleep(.02)


@pytest.fixture
def plans(place, monkeypatch):  # noqa: F811
    folder = place/'plans'
    folder.mkdir()
    monkeypatch.setenv('PLANS', str(folder))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    monkeypatch.setattr(many_films, 'start_session', watched_session)
    return folder


def in_this_process(tasks, start, workers):
    work = start() if tasks else None
    yield from ((number, work(task)) for number, task in enumerate(tasks))


@pytest.fixture
def here(monkeypatch): monkeypatch.setitem(many_films.ENGINES, 'local', in_this_process)


def log(plans): return (plans/'log').read_text().split('\n')[:-1] if (plans/'log').exists() else []
def begun(plans): return [line.split()[1] for line in log(plans) if line.startswith('begin ')]
def ended(plans): return [line.split()[1] for line in log(plans) if line.startswith('end ')]


def films(place, count=4):  # noqa: F811
    for n in range(count): video(place/f'in/x/{n}.mp4', 12 + 3*n, step=1 + n % 2)
    picture(place/'in/p.png')
    done = CliRunner().invoke(cli.app, ['manifest', 'in', '-o', 'films.jsonl'])
    assert done.exit_code == 0, done.output


# libx264 writes other bytes in 1 of 500 runs, one thread or two, unless its macroblock tree is off.
SAME_BYTES = ('--codec', 'mpeg4')


def many(*more): return no_traceback(typed('in', '-o', 'out', '--manifest', 'films.jsonl', *SAME_BYTES, *more))


def report(code=0):
    done = CliRunner().invoke(cli.app, ['report', 'films.jsonl', 'out', '--json'])
    assert done.exit_code == code, done.output
    return {row['path']: row for row in json.loads(done.stdout)}


def content(folder): return {name: (folder/name).read_bytes() for name in tree(folder) if '.faceanon' not in name}


def all_hidden(folder, names):
    for name in names: assert set(bright(folder/name)) == {0}, name
    assert [name for name in tree(folder) if '.part-' in name] == []


@pytest.mark.parametrize('seed', range(5))
def test_shards_are_disjoint_complete_and_balanced(seed):
    draw = random.Random(seed)
    rows = [ManifestRow(f'{n}', 'video', draw.randrange(9999), draw.choice([0., draw.expovariate(1/300)]), '0'*64)
            for n in range(draw.randrange(1, 300))]
    count = draw.randrange(1, 12)
    shards = [shard_rows(draw.sample(rows, len(rows)), i, count) for i in range(1, count + 1)]
    assert sorted(row.path for shard in shards for row in shard) == sorted(row.path for row in rows)
    loads, longest = [sum(row.seconds for row in shard) for shard in shards], max(row.seconds for row in rows)
    assert max(loads) - min(loads) <= longest + 1e-6
    assert all(a.seconds >= b.seconds for shard in shards for a, b in zip(shard, shard[1:])), "the longest first"


def test_pictures_are_shared_out_too():
    rows = [ManifestRow(f'{n}.png', 'picture', 1000, 0., '0'*64) for n in range(40)]
    assert [len(shard_rows(rows, i, 4)) for i in (1, 2, 3, 4)] == [10]*4


def test_a_manifest_tells_size_length_and_content(place):  # noqa: F811
    films(place)
    rows = {row.path: row for row in read_manifest('films.jsonl')}
    assert list(rows) == ['p.png', 'x/0.mp4', 'x/1.mp4', 'x/2.mp4', 'x/3.mp4']
    assert [rows[f'x/{n}.mp4'].seconds for n in range(4)] == [1.2, 1.5, 1.8, 2.1]
    assert all(row.sha256 == digest_of_file(place/'in'/name) and row.bytes == (place/'in'/name).stat().st_size
               for name, row in rows.items())
    (place/'in/bad.mp4').write_bytes(b'no film')
    done = CliRunner().invoke(cli.app, ['manifest', 'in', '-o', 'films.jsonl'])
    assert done.exit_code == 1 and 'FAILED bad.mp4' in done.output
    assert [row.error != '' for row in read_manifest('films.jsonl')] == [True] + [False]*5


def test_two_shards_share_a_folder_and_a_second_run_does_nothing(place, plans, here):  # noqa: F811
    films(place)
    assert typed('in', '-o', 'plain', *SAME_BYTES).exit_code == 0
    assert many('--shard', '2/2').exit_code == 0
    half = begun(plans)
    assert report(1) and 0 < len(half) < 5
    assert many('--shard', '1/2').exit_code == 0
    assert sorted(begun(plans)) == ['0.mp4', '1.mp4', '2.mp4', '3.mp4', 'p.png']
    assert content(place/'out') == content(place/'plain')
    all_hidden(place/'out', [name for name in content(place/'out') if not name.endswith('.jsonl')])
    states = report()
    assert {row['state'] for row in states.values()} == {'done'} and states['p.png']['faces'] == 1
    again = many()
    assert again.exit_code == 0 and 'skipped 5' in again.output and len(begun(plans)) == 5


def test_other_settings_or_another_film_are_not_finished_and_replace_nothing_unasked(place, plans, here):  # noqa: F811
    films(place, 1)
    assert many().exit_code == 0
    before = content(place/'out')
    other = many('--shape', 'box')
    assert other.exit_code == 1 and 'no record says' in other.output and content(place/'out') == before
    assert many('--shape', 'box', '--overwrite').exit_code == 0 and content(place/'out')['p.png'] != before['p.png']
    video(place/'in/x/0.mp4', 20)
    changed = many('--shape', 'box')
    assert changed.exit_code == 0, "the manifest says that the film is done"
    (place/'out/x/0.mp4').unlink()
    changed = many('--shape', 'box')
    assert changed.exit_code == 1 and 'was changed since the manifest' in changed.output
    assert not (place/'out/x/0.mp4').exists()
    CliRunner().invoke(cli.app, ['manifest', 'in', '-o', 'films.jsonl'])
    assert many('--shape', 'box').exit_code == 0 and bright(place/'out/x/0.mp4') == [0]*20


def test_a_result_that_was_changed_since_is_left_alone(place, plans, here):  # noqa: F811
    films(place, 1)
    assert many().exit_code == 0
    (place/'out/x/0.mp4').write_bytes(b'reviewed')
    result = many()
    assert result.exit_code == 0 and 'skipped 2' in result.output and len(begun(plans)) == 2
    assert (place/'out/x/0.mp4').read_bytes() == b'reviewed'


def test_a_failure_is_tried_once_more_then_left_until_asked(place, plans, here):  # noqa: F811
    (place/'in').mkdir()
    (place/'in/bad.mp4').write_bytes(b'no film')
    picture(place/'in/p.png')
    CliRunner().invoke(cli.app, ['manifest', 'in', '-o', 'films.jsonl'])
    for run, times in (((), 2), ((), 2), (('--retry',), 4)):
        result = many(*run)
        assert result.exit_code == 1 and result.output.count('FAILED') == 1
        assert begun(plans).count('bad.mp4') == times and begun(plans).count('p.png') == 1
    found = report(1)
    assert found['bad.mp4']['state'] == 'given up' and 'bad.mp4' in found['bad.mp4']['error']
    (place/'plans/bad.mp4.full').touch()
    assert 'No space left' not in many('--retry').output and begun(plans).count('bad.mp4') == 6


def test_a_film_in_work_elsewhere_is_neither_disturbed_nor_counted(place, plans, here):  # noqa: F811
    films(place, 1)
    record = record_path(place/'out', 'x/0.mp4')
    record.parent.mkdir(parents=True)
    with only_writer(record):
        result = many()
        assert result.exit_code == 1 and 'another run is working on it' in result.output
    assert begun(plans) == ['p.png'] and report(1)['x/0.mp4']['state'] == 'new'
    assert many().exit_code == 0 and bright(place/'out/x/0.mp4') == [0]*12


def test_a_result_whose_record_was_not_written_is_made_again(place, plans, here):  # noqa: F811
    films(place, 1)
    assert many().exit_code == 0
    before, path = content(place/'out'), record_path(place/'out', 'x/0.mp4')
    path.write_text(path.read_text().replace('"done"', '"begun"'))
    assert report(1)['x/0.mp4']['state'] == 'begun'
    assert many().exit_code == 0 and content(place/'out') == before and begun(plans).count('0.mp4') == 2
    assert report()['x/0.mp4']['attempts'] == 2


def test_an_edited_list_survives_a_killed_run(place, plans, here):  # noqa: F811
    films(place, 1)
    assert many().exit_code == 0
    path = record_path(place/'out', 'x/0.mp4')
    path.write_text(path.read_text().replace('"done"', '"begun"'))
    listed = place/'out/x/0.mp4.faces.jsonl'
    edited = listed.read_bytes().replace(b'"keep": false', b'"keep": true', 1)
    listed.write_bytes(edited)
    result = many()
    assert result.exit_code == 1 and 'may have been edited' in result.output and listed.read_bytes() == edited


def test_a_film_that_kills_its_process_again_and_again_is_given_up(place, plans, here):  # noqa: F811
    films(place, 1)
    assert many().exit_code == 0
    path = record_path(place/'out', 'x/0.mp4')
    path.write_text(path.read_text().replace('"done"', '"begun"').replace('"attempts": 1', '"attempts": 3'))
    result = many()
    assert result.exit_code == 1 and 'several times' in result.output and begun(plans).count('0.mp4') == 1
    assert many('--retry').exit_code == 0 and report()['x/0.mp4']['state'] == 'done'


@pytest.mark.parametrize('text', ['', '{"format": "faceanon manifest 1", "files": 1}', 'x', '[]',
                                  '{"format": "faceanon manifest 1", "files": 1}\n{"path": "a"}'])
def test_a_broken_manifest_begins_nothing(place, plans, here, text):  # noqa: F811
    picture(place/'in/p.png')
    (place/'films.jsonl').write_text(text)
    result = many()
    assert result.exit_code == 2 and 'films.jsonl' in result.output and not (place/'out').exists()


@pytest.mark.parametrize('words', [('--shard', '3/2'), ('--shard', '0/2'), ('--skip-existing',)])
def test_options_that_do_not_fit_begin_nothing(place, plans, here, words):  # noqa: F811
    films(place, 1)
    assert many(*words).exit_code == 2 and not (place/'out').exists()
    assert typed('in', '-o', 'out', '--shard', '1/2').exit_code == 2


def test_two_processes_write_the_same_bytes_as_one_and_a_crash_ends_one_film(place, plans):  # noqa: F811
    films(place)
    assert typed('in', '-o', 'plain', *SAME_BYTES).exit_code == 0
    (plans/'1.mp4.crash').touch()
    result = no_traceback(typed('in', '-o', 'out', *SAME_BYTES, '--jobs', '2'))
    assert result.exit_code == 1 and result.output.count('FAILED') == 1 and 'SIGSEGV' in result.output
    plain = content(place/'plain')
    assert content(place/'out') == {k: v for k, v in plain.items() if '1.mp4' not in k}
    all_hidden(place/'out', ['p.png', 'x/0.mp4', 'x/2.mp4', 'x/3.mp4'])


def run_apart(code):
    return subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


SHARD = ("from faceanon.video import many_films; import test_many_films as t; from faceanon import cli\n"
         "many_films.start_session = t.watched_session\n"
         "cli.app(['anonymize', 'in', '-o', 'out', '--manifest', 'films.jsonl', *t.SAME_BYTES])")


def gone(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def test_a_killed_shard_repeats_nothing_finished_and_loses_nothing(place, plans, monkeypatch):  # noqa: F811
    films(place)
    (plans/'1.mp4.block').touch()
    shard = run_apart(SHARD)
    blocked = plans/'1.mp4.blocked'
    wait_for(lambda: blocked.exists() and blocked.read_text())
    shard.kill()
    shard.wait()
    wait_for(lambda: gone(int(blocked.read_text())))  # a worker without its parent ends
    before = ended(plans)
    assert before == ['3.mp4', '2.mp4'], "the longest first"
    (plans/'1.mp4.block').unlink()
    kept = {name: (place/'out/x'/name).stat() for name in before}
    monkeypatch.setitem(many_films.ENGINES, 'local', in_this_process)
    assert many().exit_code == 0
    assert {name: (place/'out/x'/name).stat() for name in before} == kept
    assert sorted(ended(plans)) == ['0.mp4', '1.mp4', '2.mp4', '3.mp4', 'p.png']
    all_hidden(place/'out', [name for name in content(place/'out') if not name.endswith('.jsonl')])
    assert {row['state'] for row in report().values()} == {'done'}


@pytest.fixture
def ray(plans, monkeypatch):
    "A cluster of this machine with two processors."
    monkeypatch.setenv('RAY_AUTH_MODE', 'disabled')  # else a token is written to the home folder
    monkeypatch.setenv('RAY_worker_niceness', '0')  # else anything else on the machine comes first
    ray = pytest.importorskip('ray', reason="needs Ray: pip install 'faceanon[ray]'")
    for _ in range(3):
        with suppress(Exception):
            ray.init('local', num_cpus=2, include_dashboard=False, log_to_driver=False)
            break
        ray.shutdown()
    else: pytest.skip("Ray did not start: its daemon waits 15 seconds for its agent, and a busy machine takes longer")
    yield ray
    ray.shutdown()


def start_counting():
    "Work that notes its tasks; the third task kills its process, once."
    plans = Path(os.environ['PLANS'])
    def count(task):
        with (plans/'log').open('a') as log: log.write(f"begin {task['number']}\n")
        if task['number'] == 2 and not (plans/'killed').exists():
            (plans/'killed').touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return dict(ok=True, number=task['number'])
    return count


@pytest.mark.parametrize('told,asked', [('', 'local'), ('head:6379', 'head:6379')])
def test_ray_starts_a_cluster_unless_it_is_told_of_one(monkeypatch, told, asked):
    "Ray by itself looks for the last cluster of the machine, which may be gone."
    ray = pytest.importorskip('ray', reason="needs Ray: pip install 'faceanon[ray]'")
    monkeypatch.setenv('RAY_ADDRESS', told)
    def init(address, **how): raise ConnectionError(address)
    monkeypatch.setattr(ray, 'init', init)
    with pytest.raises(ConnectionError, match=asked): next(run_on_ray([dict(number=0)], start_counting, 1))


def test_ray_begins_the_task_of_a_killed_worker_again_and_no_other(plans, ray):
    tasks = [dict(number=n) for n in range(5)]
    assert sorted(run_on_ray(tasks, start_counting, 2)) == [(n, dict(ok=True, number=n)) for n in range(5)]
    assert sorted(begun(plans)) == ['0', '1', '2', '2', '3', '4']


def test_ray_writes_the_same_bytes_and_a_killed_worker_loses_and_repeats_nothing(place, plans, ray):  # noqa: F811
    films(place)
    assert typed('in', '-o', 'plain', *SAME_BYTES).exit_code == 0
    (plans/'1.mp4.block').touch()
    def kill_once():
        blocked = plans/'1.mp4.blocked'
        wait_for(lambda: blocked.exists() and blocked.read_text())
        wait_for(lambda: len(ended(plans)) >= 2)
        (plans/'1.mp4.block').unlink()
        os.kill(int(blocked.read_text()), signal.SIGKILL)
    killer = threading.Thread(target=kill_once)
    killer.start()
    result = many('--engine', 'ray', '--jobs', '2')
    killer.join()
    assert result.exit_code == 0, result.output
    assert content(place/'out') == content(place/'plain')
    assert sorted(ended(plans)) == ['0.mp4', '1.mp4', '2.mp4', '3.mp4', 'p.png'], "each finished once"
    assert read_record(place/'out', 'x/1.mp4').attempts == 2
    assert {row['state'] for row in report().values()} == {'done'}


def test_a_worker_that_cannot_start_is_an_error_and_not_an_endless_loop():
    with pytest.raises(RuntimeError, match='could not start'): list(run_in_processes([1], partial(os._exit, 3), 1))
    assert isinstance(dict(run_in_processes([9], partial(partial, signal.raise_signal), 1))[0], WorkerDied)
