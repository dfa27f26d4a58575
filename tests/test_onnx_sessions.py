"A stored network runs at every size, on the cores that the process may use, and without torch."
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from faceanon import cli
from faceanon.models.face_detectors import CenterFace, centerface_weights
from faceanon.models.onnx_sessions import load_onnx, open_session, own_cores
from faceanon.video import selection
from faceanon.video.commands import start_session

OUTPUTS = '537', '538', '539', '540'


@pytest.fixture(scope='module')
def session(): return load_onnx(centerface_weights())


def test_weights_are_no_inputs_so_that_normalisations_can_be_folded(session):
    assert [one.name for one in session.get_inputs()] == ['input.1']
    assert session.get_overridable_initializers() == []


@pytest.mark.parametrize('count,height,width', [(1, 32, 32), (3, 64, 160), (2, 224, 96)])
def test_every_size_gives_the_maps_of_opencvs_engine(session, count, height, width):
    cv2 = pytest.importorskip('cv2')
    pictures = np.random.default_rng(width).uniform(0, 255, (count, 3, height, width)).astype(np.float32)
    engine = cv2.dnn.readNetFromONNX(str(centerface_weights()))
    engine.setInput(pictures)
    for ours, theirs in zip(session.run(OUTPUTS, {'input.1': pictures}), engine.forward(OUTPUTS)):
        assert ours.shape == theirs.shape and ours.shape[2:] == (height//4, width//4)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize('there,first', [(['CUDAExecutionProvider', 'CPUExecutionProvider'], 'CUDAExecutionProvider'),
                                         (['AzureExecutionProvider', 'CPUExecutionProvider'], 'CPUExecutionProvider')])
def test_a_gpu_is_used_where_the_engine_has_one(monkeypatch, there, first):
    import onnxruntime
    asked = []
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: there)
    monkeypatch.setattr(onnxruntime, 'InferenceSession', lambda model, options, providers: asked.extend(providers))
    open_session(b'')
    names = [one if isinstance(one, str) else one[0] for one in asked]
    assert names[0] == first and names[-1] == 'CPUExecutionProvider' and 'AzureExecutionProvider' not in names


@pytest.mark.parametrize('threads,wanted', [(None, own_cores()), (1, 1), (7, 7)])
def test_a_call_takes_as_many_threads_as_are_asked_for(monkeypatch, threads, wanted):
    import onnxruntime
    asked = []
    monkeypatch.setattr(onnxruntime, 'InferenceSession', lambda model, options, providers: asked.append(options))
    open_session(b'', threads)
    assert asked[0].intra_op_num_threads == wanted


CODE = """
import os, sys
if sys.argv[1:]: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from faceanon.models.onnx_sessions import own_cores
print(own_cores(), 'torch' in sys.modules)
"""


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason="the system knows no affinity")
def test_threads_are_as_many_as_cores_may_be_used():
    def told(*words, **environment):
        env = {key: value for key, value in os.environ.items() if key != 'OMP_NUM_THREADS'} | environment
        done = subprocess.run([sys.executable, '-c', CODE, *words], env=env, capture_output=True, text=True)
        return done.stdout.split()
    assert told() == [str(len(os.sched_getaffinity(0))), 'False']
    assert told('one') == ['1', 'False']
    assert told('one', OMP_NUM_THREADS='7') == ['1', 'False']


@pytest.mark.parametrize('asked,cores', [('1', 1), ('', None), ('many', None), ('0', None)])
def test_a_number_of_threads_in_the_environment_is_kept_to(monkeypatch, asked, cores):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setenv('OMP_NUM_THREADS', asked)
    assert own_cores() == (cores or 3)


@pytest.mark.parametrize('cores,share,threads', [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 2, 1), (2, 5, 1)])
def test_sessions_at_the_same_time_share_the_cores(monkeypatch, cores, share, threads):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(cores)), raising=False)
    monkeypatch.setenv('OMP_NUM_THREADS', '')
    loaded, asked = [], []
    monkeypatch.setattr(torch, 'set_num_threads', asked.append)
    def loads(*given, **named):
        loaded.append(CenterFace(*given, **named))
        return loaded[-1]
    monkeypatch.setattr(selection, 'CenterFace', loads)
    start_session(cli.app.commands['anonymize'].make_context('anonymize', ['a.png']).params, share=share)
    assert [one._wake().get_session_options().intra_op_num_threads for one in loaded] == [threads]
    assert asked == [max(1, threads//2)], "two threads of ours call torch"
