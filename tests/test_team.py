"Two processes train the M that one process trains, and a process that is killed loses nothing."
from dataclasses import replace
from unittest import mock

import pytest
from team_runs import check_movement, check_resumed, in_float32, killed_in, run_alone_and_in_two
from toy_game import CFG, toy_data, toy_nets

from faceanon.training.adversarial import adversarial_steps
from faceanon.training.checkpoints import read_log, run_training
from faceanon.training.team import Team, join_team

TEAM = replace(CFG, steps=4, d_pool=1, d_restart=3)  # D begins again in the last step
TOLERANCE = 1e-3  # difference over the distance that the weights have moved


def play(folder, killed_at=None):
    "What each process runs."
    with in_float32():
        team = join_team()
        for _ in killed_in(run_training(folder, toy_nets(TEAM), toy_data(), TEAM, team), team, killed_at): pass


@pytest.fixture(scope='module')
def ends(tmp_path_factory):
    toy_data()  # the processes are forked from this one
    return run_alone_and_in_two(play, tmp_path_factory)


def test_two_processes_equal_one(ends):
    check_movement(ends, vars(toy_nets(TEAM)), TOLERANCE)
    for mine, theirs in zip(*(read_log(folder/'log.jsonl') for folder in ends.values()), strict=True):
        hits = {name for name in mine if name.startswith('rank1')}
        for name in mine.keys() - hits: assert mine[name] == pytest.approx(theirs[name], rel=1e-2), name


def test_a_team_that_loses_a_process_goes_on_to_the_same_end(ends, tmp_path):
    check_resumed(play, tmp_path, ends[2])
    assert (tmp_path/'log.jsonl').read_text() == (ends[2]/'log.jsonl').read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['last.safetensors', 'log.jsonl']


def test_a_batch_that_cannot_be_shared_is_refused():
    team = Team(mock.Mock(num_processes=3, process_index=0))
    with pytest.raises(ValueError, match='8 rows cannot be shared equally by 3 processes'):
        next(adversarial_steps(toy_nets(TEAM), toy_data(), TEAM, team=team))
