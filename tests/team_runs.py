"What the tests of two games that a team of processes plays have in common."
import contextlib
import os
import signal
from unittest import mock

import pytest
import torch
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from faceanon.training.checkpoints import read_checkpoint
from faceanon.training.team import ALONE, join_team

launchers = pytest.importorskip('accelerate.launchers')


@contextlib.contextmanager
def in_float32():
    "On one thread, and without bfloat16, which rounds a batch otherwise than its halves."
    torch.set_num_threads(1)
    with mock.patch.object(torch, 'autocast', lambda *args, **options: contextlib.nullcontext()): yield


def alone_or_together():
    "Who trains here: of one process, a run that knows of no team."
    team = join_team()
    return team if team.count > 1 else ALONE


def killed_in(steps, team, step):
    "The rows of a run, whose second process ends at this step."
    for row in steps:
        if row['step'] == step and team.rank == 1: os.kill(os.getpid(), signal.SIGKILL)
        yield row


def run_alone_and_in_two(play, tmp_path_factory):
    "Number of processes -> the folder of a run. The two begin: they find nothing that another run has made."
    folders = {count: tmp_path_factory.mktemp(f'team{count}') for count in (1, 2)}
    for count in (2, 1): launchers.debug_launcher(play, (folders[count],), count)
    return folders


def stored(folder): return read_checkpoint(folder/'last.safetensors')[0]


def check_movement(ends, nets, tolerance):
    "Two processes have moved the weights as one, to a share of the distance; the draws are the same."
    one, two = map(stored, ends.values())
    for name, net in nets.items():
        begin = dict(net.named_parameters())
        whole, halves = (torch.cat([(tensors[f'{name}.{key}'] - value).flatten() for key, value in begin.items()])
                         for tensors in (one, two))
        assert whole.norm() > 0
        assert ((halves - whole).norm()/whole.norm()).item() < tolerance, name
    assert torch.equal(one['draws'], two['draws']) and torch.equal(one['noise'], two['noise'])
    return one, two


def check_resumed(play, folder, whole):
    "A run that lost a process at step 2 goes on in `folder` to the end of the one in `whole`."
    with pytest.raises((ProcessExitedException, ProcessRaisedException)): launchers.debug_launcher(play, (folder, 2), 2)
    assert read_checkpoint(folder/'last.safetensors')[1]['step'] == '2'
    launchers.debug_launcher(play, (folder,), 2)
    whole, resumed = stored(whole), stored(folder)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
