"Two processes train an M that draws as one does, and a process that is killed loses nothing."
import json
import os
from dataclasses import replace
from unittest import mock

import pytest
import torch
from team_runs import alone_or_together, check_movement, check_resumed, in_float32, killed_in, run_alone_and_in_two
from test_drawn_training import CFG, toy_data, toy_judges
from torch.optim import SGD

from faceanon.evaluation import drawn_networks
from faceanon.evaluation.drawn_networks import build_drawn_players, train_drawn_anonymizer
from faceanon.training.checkpoints import read_checkpoint, restore_state, save_state
from faceanon.training.drawn_data import DRAWN_TERMS
from faceanon.training.drawn_game import drawn_steps
from faceanon.training.face_prior import drawn_optimizers, prior_steps
from faceanon.training.losses import read_loss_rows
from faceanon.training.team import Team

TEAM = replace(CFG, batch_people=4, batch_frames=4, steps=4, reader_restart=3, terms=DRAWN_TERMS)
# Difference over the distance that the weights have moved. Adam makes full steps of the rounding of gradients that are
# 0 (biases before a BatchNorm). What is not shared moves M by .06 and more.
TOLERANCE = 1e-2
STRETCH = 2       # steps between two checkpoints
# No M reaches these error rates, so the weight of the readers grows as fast as it may, however a probe is rounded.
RUN = replace(CFG, wanted_ten=.9)
DESCENT_TOLERANCE = 3e-3  # of prior and game together, and of the prior alone, without Adam


def fresh():
    "Players that have something to say and something to lose."
    players = build_drawn_players(TEAM)
    with torch.no_grad(): players.M.openness.fill_(1.)
    torch.manual_seed(1)
    return players, toy_judges()


def play(folder, killed_at=None):
    "What each process runs."
    with in_float32():
        team, (players, judges) = alone_or_together(), fresh()
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


def check_buffers(nets, one, two):
    "Running statistics, and vectors of the critic's power iteration, are the same."
    for name, net in nets.items():
        for key, value in net.named_buffers():
            if not value.is_floating_point(): continue
            assert torch.allclose(one[f'{name}.{key}'], two[f'{name}.{key}'], atol=1e-3), (name, key)


def test_two_processes_equal_one(ends):
    nets = fresh()[0].modules()
    check_buffers(nets, *check_movement(ends, nets, TOLERANCE))
    rows = [json.loads(read_checkpoint(folder/'last.safetensors')[1]['rows']) for folder in ends.values()]
    for mine, theirs in zip(*rows, strict=True): assert mine == pytest.approx(theirs, rel=1e-2)


def test_a_team_that_loses_a_process_goes_on_to_the_same_end(ends, tmp_path): check_resumed(play, tmp_path, ends[2])


def descent(players, game):
    "Descent with momentum at three times the rates of Adam, and without its full steps of rounding."
    return {name: SGD([dict(params=group['params'], lr=3*group['lr']) for group in opt.param_groups], momentum=.5)
            for name, opt in drawn_optimizers(players, game).items()}


def learn_prior(folder):
    "What each process runs of the prior alone."
    with in_float32():
        team, (players, _), generator = alone_or_together(), fresh(), torch.Generator().manual_seed(0)
        steps = prior_steps(players, descent(players, False), toy_data(), CFG, 0, CFG.prior_steps, generator, team)
        rows = read_loss_rows(list(steps))
        if team.is_main:
            save_state(folder/'last.safetensors', players.modules(), {}, generator, dict(rows=json.dumps(rows)))
        team.wait()


def train(folder, killed_at=None):
    "What each process runs of a whole run; one that was killed goes on in calls of one stretch."
    team, seconds = alone_or_together(), 0. if (folder/'last.safetensors').exists() else torch.inf
    shared = mock.patch.dict(os.environ, FACEANON_OUT=str(folder.parent))
    changes = dict(drawn_folder=lambda cfg, name: folder, drawn_optimizers=descent,
                   prior_steps=lambda *args: killed_in(prior_steps(*args), team, killed_at))
    with in_float32(), shared, mock.patch.multiple(drawn_networks, **changes):
        while train_drawn_anonymizer(RUN, seconds=seconds, team=team) is None: pass


@pytest.fixture(scope='module')
def runs(tmp_path_factory): return run_alone_and_in_two(train, tmp_path_factory)


def test_two_processes_learn_the_prior_as_one(tmp_path_factory):
    toy_data()
    ends = run_alone_and_in_two(learn_prior, tmp_path_factory)
    nets = {name: net for name, net in fresh()[0].modules().items() if name != 'readers'}
    check_buffers(nets, *check_movement(ends, nets, DESCENT_TOLERANCE))
    rows = [json.loads(read_checkpoint(folder/'last.safetensors')[1]['rows']) for folder in ends.values()]
    for mine, theirs in zip(*rows, strict=True): assert mine == pytest.approx(theirs, rel=1e-3)


def test_two_processes_train_the_m_that_one_trains(runs):
    nets = build_drawn_players(RUN).modules()
    check_buffers(nets, *check_movement(runs, nets, DESCENT_TOLERANCE))
    assert {path.name for path in runs[2].iterdir()} == {'last.safetensors', 'world-drawn-0.json',
                                                         'world-drawn-0.safetensors'}
    mine, theirs = (json.loads((folder/'world-drawn-0.json').read_text())['probes'] for folder in runs.values())
    assert [row['step'] for row in theirs] == [2, 4, 6, 8]
    for row, other in zip(mine, theirs, strict=True):
        told = [name for name in row if name.startswith('loss_') or name in ('nats', 'readers_weight')]
        for name in told: assert row[name] == pytest.approx(other[name], rel=1e-2), name


def test_a_whole_run_that_loses_a_process_goes_on_to_the_same_end(runs, tmp_path):
    check_resumed(train, tmp_path, runs[2])


def sent_means(steps):
    "Numbers in each vector that goes round to be averaged, in the first step of the first of two processes."
    sent = []
    def reduce(values, how):
        if how == 'mean': sent.append(values.numel())
        return values
    next(steps(Team(mock.Mock(num_processes=2, process_index=0, reduce=reduce))))
    return sent


def test_only_what_learns_goes_round():
    (players, judges), generator = fresh(), torch.Generator().manual_seed(0)
    M, critic, readers = ([p.numel() for p in net.parameters()] for net in (players.M, players.critic, players.readers))
    opts = drawn_optimizers(players, False)
    sent = sent_means(lambda team: prior_steps(players, opts, toy_data(), CFG, 0, 1, generator, team))
    assert sent == [sum(M) - players.M.openness.numel(), sum(critic), 4]  # the last are losses
    opts = drawn_optimizers(players, True)
    sent = sent_means(lambda team: drawn_steps(players, judges, opts, toy_data(), TEAM, 0, 1, 2., generator, team))
    assert sent == [*2*[sum(readers)], sum(M), sum(critic), 14]


def test_what_cannot_be_shared_is_refused():
    (players, judges), three = fresh(), Team(mock.Mock(num_processes=3, process_index=0))
    game = drawn_steps(players, judges, drawn_optimizers(players, True), toy_data(), TEAM, 0, 1, 2.,
                       torch.Generator(), three)
    prior = prior_steps(players, drawn_optimizers(players, False), toy_data(), CFG, 0, 1, torch.Generator(), three)
    for steps in (game, prior):
        with pytest.raises(ValueError, match='8 rows cannot be shared equally by 3 processes'): next(steps)
