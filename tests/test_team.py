"Two processes train the M that one process trains, and a process that is killed loses nothing."
import contextlib
import os
import signal
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from toy_game import CFG, toy_data, toy_nets

from faceanon.training.adversarial import adversarial_steps
from faceanon.training.checkpoints import read_checkpoint, read_log, run_training
from faceanon.training.team import Team, join_team

launchers = pytest.importorskip('accelerate.launchers')
TEAM = replace(CFG, steps=4, d_pool=1, d_restart=3)  # D begins again in the last step
TOLERANCE = 1e-3  # difference over the distance that the weights have moved


def play(folder, killed_at=None):
    "What each process runs. In float32: bfloat16 rounds a batch otherwise than its halves."
    torch.set_num_threads(1)
    with mock.patch.object(torch, 'autocast', lambda *args, **options: contextlib.nullcontext()):
        team, nets = join_team(), toy_nets(TEAM)
        for row in run_training(folder, nets, toy_data(), TEAM, team):
            if row['step'] == killed_at and team.rank == 1: os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope='module')
def ends(tmp_path_factory):
    "Number of processes -> the folder of a run."
    toy_data()  # the processes are forked from this one
    folders = {count: tmp_path_factory.mktemp(f'team{count}') for count in (1, 2)}
    for count, folder in folders.items(): launchers.debug_launcher(play, (folder,), count)
    return folders


def stored(folder): return read_checkpoint(folder/'last.safetensors')[0]


def moved(tensors, begin, letter):
    "The weights of a network as one vector, less those it began with."
    return torch.cat([(tensors[f'{letter}.{name}'] - value).flatten() for name, value in begin.items()])


def test_two_processes_equal_one(ends):
    one, two = map(stored, ends.values())
    for letter, net in vars(toy_nets(TEAM)).items():
        begin = dict(net.named_parameters())
        whole, halves = (moved(tensors, begin, letter) for tensors in (one, two))
        assert whole.norm() > 0
        assert ((halves - whole).norm()/whole.norm()).item() < TOLERANCE, letter
    assert torch.equal(one['draws'], two['draws']) and torch.equal(one['noise'], two['noise'])
    for mine, theirs in zip(*(read_log(folder/'log.jsonl') for folder in ends.values()), strict=True):
        hits = {name for name in mine if name.startswith('rank1')}
        for name in mine.keys() - hits: assert mine[name] == pytest.approx(theirs[name], rel=1e-2), name


def test_a_team_that_loses_a_process_goes_on_to_the_same_end(ends, tmp_path):
    with pytest.raises((ProcessExitedException, ProcessRaisedException)):
        launchers.debug_launcher(play, (tmp_path, 2), 2)
    assert read_checkpoint(tmp_path/'last.safetensors')[1]['step'] == '2'
    launchers.debug_launcher(play, (tmp_path,), 2)
    whole, resumed = stored(ends[2]), stored(tmp_path)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert (tmp_path/'log.jsonl').read_text() == (ends[2]/'log.jsonl').read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['last.safetensors', 'log.jsonl']


def test_a_batch_that_cannot_be_shared_is_refused():
    team = Team(mock.Mock(num_processes=3, process_index=0))
    with pytest.raises(ValueError, match='8 rows cannot be shared equally by 3 processes'):
        next(adversarial_steps(toy_nets(TEAM), toy_data(), TEAM, team=team))
