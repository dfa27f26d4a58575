"Every notebook runs from its first cell to its last: the cells that make the numbers, at toy size."
import os
import shutil
import sys
from pathlib import Path

import matplotlib
import pytest

pytest.importorskip('nbdev', reason="notebooks are run by nbdev, which this machine does not have")
import nbdev.test  # noqa: E402
from nbdev.config import get_config  # noqa: E402
from nbdev.test import test_nb as run_notebook  # noqa: E402  under its own name pytest would collect it

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)


def files_a_notebook_could_change():
    "Sizes and times of what is kept beside the notebooks; the notebooks themselves may be being edited."
    places = [*(ROOT/'figures').rglob('*'), *(ROOT/'faceanon'/'weights').rglob('*'), *(ROOT/'nbs').rglob('*'),
              *ROOT.glob('*')]
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in places
            if p.is_file() and p.suffix != '.ipynb' and '.ipynb_checkpoints' not in p.parts}


def case(paths, name):
    "Notebooks that go on from each other run in one test, in order; the others where there is room."
    return pytest.param(paths, id=name, marks=pytest.mark.xdist_group(name))


# What these write below `runs/` the next ones read.
LINKED = {*range(1, 10), 12, 17, 18, 19, 20, 27}
CHAIN = [p for p in NOTEBOOKS if p.parent.name == 'reproduce' and int(p.name[:2]) in LINKED]
CASES = [case(CHAIN, 'reproduce')] + [
    case([p], p.relative_to(ROOT/'nbs').with_suffix('').as_posix()) for p in NOTEBOOKS if p not in CHAIN]


@pytest.fixture
def nothing_stays(monkeypatch):
    "The runner lengthens `sys.path`, and IPython keeps what a notebook has made as long as the process lives."
    shells, begin = [], nbdev.test.CaptureShell
    monkeypatch.setattr(sys, 'path', [*sys.path])
    monkeypatch.setattr(nbdev.test, 'CaptureShell', lambda path: shells.append(begin(path)) or shells[-1])
    yield
    for shell in shells: shell.reset(new_session=False)


@pytest.mark.timeout(900)
@pytest.mark.parametrize('paths', CASES)
@pytest.mark.usefixtures('nothing_stays')
def test_notebook_runs(paths, tmp_path, monkeypatch, capfd):
    shutil.copytree(ROOT/'figures'/'data', tmp_path/'figures'/'data')
    monkeypatch.setenv('FACEANON_PRESET', 'toy')
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    monkeypatch.setenv('IN_TEST', '1')  # the runner sets it and would leave it
    before = files_a_notebook_could_change()
    for path in paths:
        monkeypatch.chdir(path.parent)
        with matplotlib.rc_context():
            passed, _ = run_notebook(path, skip_flags=get_config(path=ROOT).tst_flags.split(),
                                     force_flags=['data'] if os.environ.get('FACEANON_DATA') else [], basepath=ROOT)
        if not passed: pytest.fail(f'{path.name}\n' + capfd.readouterr().err[-6000:], pytrace=False)
    after = files_a_notebook_could_change()
    assert {p.relative_to(ROOT) for p in after if after[p] != before.get(p)} == set(), "written into the tracked tree"
