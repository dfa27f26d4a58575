"One thread, the same seeds before every test, the real data sets where there are any, and the pages of the site."
import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')

import numpy as np  # noqa: E402  the environment must be set before anything brings OpenMP
import pytest  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ROOT.parent/'shared'/'data'
if BESIDE.is_dir(): os.environ.setdefault('FACEANON_DATA', str(BESIDE))

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope='session')
def secret(tmp_path_factory):
    "Tests leave no secret in the user's folder."
    os.environ.setdefault('FACEANON_SECRET', str(tmp_path_factory.mktemp('secret')/'secret'))


@pytest.fixture(autouse=True)
def seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    torch.use_deterministic_algorithms(False)


def docs_module(name):
    "A program of .docs/, which is no package."
    spec = importlib.util.spec_from_file_location(name, ROOT/'.docs'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def runtime():
    "(folder of onnxruntime-web, why there is none): what `make docs` fetched, or what npm gives here."
    fetching = docs_module('fetch_runtime')
    return fetching.RUNTIME, fetching.fetch()


@pytest.fixture(scope='session')
def play_pages(runtime, tmp_path_factory):
    "The pages that play, made once: for the tests that play and for the site. FACEANON_PLAY names a folder to reuse."
    if made := os.environ.get('FACEANON_PLAY'): return Path(made)
    to = tmp_path_factory.mktemp('play')
    short = os.environ | {'FACEANON_PRESET': 'toy'}
    play = [sys.executable, str(ROOT/'.docs'/'play.py'), str(to)]
    subprocess.run(play, cwd=ROOT, env=short, check=True, timeout=1100)
    return to


@pytest.fixture(scope='session')
def site(play_pages, tmp_path_factory):
    "Built once, strictly: a warning is an error. (With `--quiet` mkdocs would not count them.)"
    pytest.importorskip('mkdocs_jupyter')
    to = tmp_path_factory.mktemp('site')
    env = os.environ | {'NO_MKDOCS_2_WARNING': '1', 'FACEANON_PLAY': str(play_pages)}
    build = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(to)]
    done = subprocess.run(build, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stdout + done.stderr
    return to


def pytest_collection_modifyitems(items):
    if os.environ.get('FACEANON_DATA'): return
    without = pytest.mark.skip(reason="needs real data: set FACEANON_DATA to a folder that holds lfw/ and jhmdb/")
    for item in items:
        if 'data' in item.keywords: item.add_marker(without)
