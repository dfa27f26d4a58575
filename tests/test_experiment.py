"From a preset to a row: what is kept is read, what is missing is named."
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from faceanon.config import get_preset, runs_dir
from faceanon.data.files import DataError
from faceanon.evaluation import experiment, splits
from faceanon.evaluation.attackers import ATTACKERS
from faceanon.evaluation.experiment import (
    evaluate_method,
    evaluate_methods,
    evaluate_privacy,
    frozen_and_tuned_detector,
    method_by_name,
)
from faceanon.evaluation.networks import checkpoint_path, initial_detector
from faceanon.evaluation.splits import cached, data_config, faces_for_role, frames_for_role
from faceanon.models.baselines import BASELINES

ROOT = Path(__file__).resolve().parents[1]
CFG = get_preset('toy', attack_faces=2, test_faces=2, frames=6, attack_steps=2, finetune_steps=1, a_warmup=2)
JUDGE = ('cnn',)
JOBS = [(name, CFG, 'val', JUDGE) for name in ('mask', 'none')]


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    "One folder for all, because what is drawn and trained at toy size is the same for all."
    return tmp_path_factory.mktemp('out')


@pytest.fixture(autouse=True)
def out(shared, monkeypatch):
    monkeypatch.setenv('FACEANON_OUT', str(shared))
    forget_data()
    return shared


def forget_data():
    "What this process has read is read again."
    splits._load_faces.cache_clear()
    splits._load_frames.cache_clear()


@pytest.mark.parametrize('folder', [None, '', 'empty'])
def test_the_real_preset_without_data_is_a_clear_error(folder, tmp_path, monkeypatch):
    if folder is None: monkeypatch.delenv('FACEANON_DATA', raising=False)
    else: monkeypatch.setenv('FACEANON_DATA', folder and str(tmp_path))
    says = 'expected lfw|expected jhmdb|expected weights' if folder else 'FACEANON_DATA is not set'
    cfg = data_config(get_preset('real'))
    for ask in (lambda: faces_for_role(cfg, 'train'), lambda: frames_for_role(cfg, 'train'),
                lambda: evaluate_method('mask', cfg)):
        with pytest.raises(DataError, match=says): ask()


def test_what_is_drawn_is_read_the_next_time(monkeypatch):
    first = faces_for_role(data_config(CFG), 'known'), frames_for_role(data_config(CFG), 'test')
    forget_data()
    def never(*_): raise AssertionError("drawn twice")
    monkeypatch.setattr(splits, 'make_face', never)
    monkeypatch.setattr(splits, 'make_frame', never)
    again = faces_for_role(data_config(CFG), 'known'), frames_for_role(data_config(CFG), 'test')
    for a, b in zip(first, again): assert torch.equal(a[0], b[0])
    assert torch.equal(first[0][1], again[0][1])
    for a, b in zip(first[1][1], again[1][1]): assert all(torch.equal(a[k], b[k]) for k in (*a, *b))


def test_drawing_that_fails_leaves_nothing_to_read():
    def broken(): raise OSError("no space")
    with pytest.raises(OSError, match='no space'): cached(runs_dir(), 'broken', {}, broken)
    assert load_file(cached(runs_dir(), 'broken', {}, lambda: dict(x=torch.ones(2))))['x'].tolist() == [1, 1]


def test_an_unknown_method_is_one_clear_error():
    for name in ('blurr8', 'learned@7', 'learned'):
        says = f"no M called '{name.split('@')[0]}'.*`make train` makes it"
        with pytest.raises(FileNotFoundError, match=says) as error: method_by_name(name, CFG)
        assert error.value.__cause__ is None and error.value.__context__ is None
    with pytest.raises(FileNotFoundError, match='toy-5-other.anonymizer-300.safetensors'):
        checkpoint_path('other@300', replace(CFG, seed=5))


def test_rows_are_made_once_and_again_for_another_budget(monkeypatch):
    rows = evaluate_methods(JOBS, workers=1)
    assert [row['method'] for row in rows] == ['mask', 'none']
    path = runs_dir()/'toy-rows'/'val-mask-0-cnn.json'
    assert json.loads(path.read_text()) == rows[0]
    def never(*_): raise AssertionError("made twice")
    monkeypatch.setattr(experiment, 'evaluate_utility', never)
    assert evaluate_methods(JOBS, workers=1) == rows
    for changes in (dict(attack_steps=3), dict(finetune_steps=2)):
        with pytest.raises(AssertionError, match='made twice'):
            evaluate_method('mask', replace(CFG, **changes), 'val', JUDGE)
    # all attackers: another row
    with pytest.raises(AssertionError, match='made twice'): evaluate_method('mask', CFG, 'val')


def test_a_method_that_draws_noise_is_measured_on_the_same_pictures_again(monkeypatch):
    seen = []  # an untrained A finds nothing in any picture, so the pictures themselves are compared
    monkeypatch.setattr(experiment, 'evaluate_detector', lambda A, frames, *rest: seen.append(frames) or dict(map50=0))
    method = method_by_name('noise01', CFG)
    attacked = []
    for drawn_before in (1, 2):
        torch.rand(drawn_before)
        experiment.evaluate_utility(method, CFG, 'val')
        attacked.append(evaluate_privacy(method, CFG, 'val', JUDGE))
    assert torch.equal(seen[0], seen[2])
    assert attacked[0] == attacked[1]


def test_every_attacker_learns_at_its_own_rate_and_seed(monkeypatch):
    "A seed once passed for a rate, and attackers at seed 0 stood still."
    asked, train = [], experiment.train_attacker
    def watched(attacker, *args, **kwargs):
        before = [p.detach().clone() for p in attacker.net.parameters()]
        asked.append((attacker.name, kwargs))
        yield from train(attacker, *args, **kwargs)
        assert not all(torch.equal(a, b) for a, b in zip(before, attacker.net.parameters()))
    monkeypatch.setattr(experiment, 'train_attacker', watched)
    evaluate_privacy(BASELINES['none'], CFG, 'val')
    assert asked == [(name, dict(lr=spec.lr, seed=CFG.seed)) for name, spec in ATTACKERS.items()]


def test_the_frozen_and_the_tuned_detector_are_independent():
    states = list(frozen_and_tuned_detector(BASELINES['mask'], CFG, 'val'))
    assert [state for state, *_ in states] == ['frozen', 'tuned']
    frozen, tuned = (A.state_dict() for _, A, *_ in states)
    as_trained = initial_detector(CFG).state_dict()
    assert all(torch.equal(frozen[key], value) for key, value in as_trained.items())
    assert not all(torch.equal(tuned[key], value) for key, value in as_trained.items())
    assert not any(A.training for _, A, *_ in states)
    assert {p.data_ptr() for p in states[0][1].parameters()}.isdisjoint(p.data_ptr() for p in states[1][1].parameters())


KILLED = '''
import time
import torch
from faceanon.evaluation import experiment
from faceanon.config import get_preset
torch.set_num_threads(1)
utility = experiment.evaluate_utility
def slow(method, cfg, side):
    if method is not experiment.BASELINES['mask']:
        print('second', flush=True)
        time.sleep(600)
    return utility(method, cfg, side)
experiment.evaluate_utility = slow
cfg = get_preset('toy', **{changes})
experiment.evaluate_methods([(name, cfg, 'val', ('cnn',)) for name in ('mask', 'none')], workers=1)
'''


def test_a_killed_evaluation_goes_on_from_the_rows_that_are_done(tmp_path, monkeypatch):
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    names = ('attack_faces', 'test_faces', 'frames', 'attack_steps', 'finetune_steps', 'a_warmup')
    code = KILLED.replace('{changes}', repr({name: getattr(CFG, name) for name in names}))
    child = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try: assert child.stdout.readline() == 'second\n'  # the first row is done, the second begun
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    done = tmp_path/'runs'/'toy-rows'/'val-mask-0-cnn.json'
    when = done.stat().st_mtime_ns
    assert [p.name for p in done.parent.iterdir()] == [done.name]
    time.sleep(.01)
    rows = evaluate_methods(JOBS, workers=1)
    assert [row['method'] for row in rows] == ['mask', 'none']
    assert done.stat().st_mtime_ns == when and rows[0] == json.loads(done.read_text())


def test_workers_start_from_a_notebook(out):
    "IPython puts the notebook's name where a worker would look for a script to run."
    code = ('from faceanon.config import get_preset\nfrom faceanon.evaluation.experiment import evaluate_methods\n'
            'cfg = get_preset("toy", attack_faces=2, test_faces=2, frames=6, attack_steps=2, finetune_steps=1, '
            'a_warmup=2, seed=5)\n'
            'rows = evaluate_methods([(name, cfg, "val", ("cnn",)) for name in ("mask", "none")], 2)\n'
            'print("rows of", *(row["method"] for row in rows))')
    cells = [dict(cell_type='code', id='a', metadata={}, source=code, outputs=[], execution_count=None)]
    path = out/'pool.ipynb'
    path.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    run = subprocess.run([sys.executable, '-m', 'IPython', '--HistoryManager.enabled=False', str(path)], cwd=ROOT,
                         capture_output=True, text=True)
    assert 'rows of mask none' in run.stdout, run.stderr[-3000:]
