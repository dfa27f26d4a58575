"Two processes play the game that draws as one does, and a process that is killed loses nothing."
import json
from dataclasses import replace
from unittest import mock

import pytest
import torch
from team_runs import check_movement, check_resumed, in_float32, killed_in, run_alone_and_in_two
from test_drawn_training import CFG, toy_data, toy_judges

from faceanon.evaluation.drawn_networks import build_drawn_players
from faceanon.training.checkpoints import read_checkpoint, restore_state, save_state
from faceanon.training.drawn_data import DRAWN_TERMS
from faceanon.training.drawn_game import drawn_steps
from faceanon.training.face_prior import drawn_optimizers
from faceanon.training.losses import read_loss_rows
from faceanon.training.team import Team, join_team

TEAM = replace(CFG, batch_people=4, batch_frames=4, steps=4, reader_restart=3, terms=DRAWN_TERMS)
# Difference over the distance that the weights have moved. Adam makes full steps of the rounding of gradients that are
# 0 (biases before a BatchNorm). What is not shared moves M by .06 and more.
TOLERANCE = 1e-2
STRETCH = 2       # steps between two checkpoints


def fresh():
    "Players that have something to say and something to lose."
    players = build_drawn_players(TEAM)
    with torch.no_grad(): players.M.openness.fill_(1.)
    torch.manual_seed(1)
    return players, toy_judges()


def play(folder, killed_at=None):
    "What each process runs."
    with in_float32():
        team, (players, judges) = join_team(), fresh()
        opts, generator = drawn_optimizers(players, True), torch.Generator().manual_seed(0)
        path, start = folder/'last.safetensors', 0
        kept = {f'opt_{name}': opt for name, opt in opts.items()}
        if path.exists():
            tensors, about = read_checkpoint(path)
            start = int(about['step'])
            restore_state(path, tensors, players.modules(), kept, generator)
        for begin in range(start, TEAM.steps, STRETCH):
            steps = drawn_steps(players, judges, opts, toy_data(), TEAM, begin, begin + STRETCH, 2., generator, team)
            rows = read_loss_rows(list(killed_in(steps, team, killed_at)))
            if team.is_main:
                about = dict(step=str(begin + STRETCH), rows=json.dumps(rows))
                save_state(path, players.modules(), kept, generator, about)
            team.wait()


@pytest.fixture(scope='module')
def ends(tmp_path_factory):
    toy_data()  # the processes are forked from this one
    return run_alone_and_in_two(play, tmp_path_factory)


def test_two_processes_equal_one(ends):
    nets = fresh()[0].modules()
    one, two = check_movement(ends, nets, TOLERANCE)
    for name, net in nets.items():
        for key, value in net.named_buffers():  # running statistics; vectors of the critic's power iteration
            if not value.is_floating_point(): continue
            assert torch.allclose(one[f'{name}.{key}'], two[f'{name}.{key}'], atol=1e-3), (name, key)
    rows = [json.loads(read_checkpoint(folder/'last.safetensors')[1]['rows']) for folder in ends.values()]
    for mine, theirs in zip(*rows, strict=True): assert mine == pytest.approx(theirs, rel=1e-2)


def test_a_team_that_loses_a_process_goes_on_to_the_same_end(ends, tmp_path): check_resumed(play, tmp_path, ends[2])


def test_people_that_cannot_be_shared_are_refused():
    players, judges = fresh()
    steps = drawn_steps(players, judges, drawn_optimizers(players, True), toy_data(), TEAM, 0, 1, 2.,
                        torch.Generator(), Team(mock.Mock(num_processes=3, process_index=0)))
    with pytest.raises(ValueError, match='8 rows cannot be shared equally by 3 processes'): next(steps)
