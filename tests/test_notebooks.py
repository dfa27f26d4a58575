"Every notebook runs from its first cell to its last: the cells that make the numbers, at toy size."
import os
import shutil
from pathlib import Path

import matplotlib
import pytest

pytest.importorskip('nbdev', reason="notebooks are run by nbdev, which this machine does not have")
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


@pytest.fixture(scope='module')
def shared_out(tmp_path_factory):
    "One folder for all reproductions, because each goes on from what the one before it wrote."
    return tmp_path_factory.mktemp('reproduce')


def case(path):
    "Reproductions stay together, in order, on one worker; the others go where there is room."
    name = path.relative_to(ROOT/'nbs').with_suffix('').as_posix()
    group = 'reproduce' if path.parent.name == 'reproduce' else name
    return pytest.param(path, id=name, marks=pytest.mark.xdist_group(group))


@pytest.mark.parametrize('path', [case(p) for p in NOTEBOOKS])
def test_notebook_runs(path, shared_out, tmp_path, monkeypatch, capfd):
    out = shared_out if path.parent.name == 'reproduce' else tmp_path
    if not (out/'figures').exists(): shutil.copytree(ROOT/'figures'/'data', out/'figures'/'data')
    monkeypatch.setenv('FACEANON_PRESET', 'toy')
    monkeypatch.setenv('FACEANON_OUT', str(out))
    monkeypatch.setenv('IN_TEST', '1')  # the runner sets it and would leave it
    monkeypatch.chdir(path.parent)
    before = files_a_notebook_could_change()
    with matplotlib.rc_context():
        passed, _ = run_notebook(path, skip_flags=get_config(path=ROOT).tst_flags.split(),
                                 force_flags=['data'] if os.environ.get('FACEANON_DATA') else [], basepath=ROOT)
    if not passed: pytest.fail(capfd.readouterr().err[-6000:], pytrace=False)
    after = files_a_notebook_could_change()
    assert {p.relative_to(ROOT) for p in after if after[p] != before.get(p)} == set(), "written into the tracked tree"
