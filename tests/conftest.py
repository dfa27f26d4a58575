"One thread, the same seeds before every test, and the real data sets where there are any."
import os
import random
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


def pytest_collection_modifyitems(items):
    if os.environ.get('FACEANON_DATA'): return
    without = pytest.mark.skip(reason="needs real data: set FACEANON_DATA to a folder that holds lfw/ and jhmdb/")
    for item in items:
        if 'data' in item.keywords: item.add_marker(without)
