"How often the host waits for the device in a step of training, on a device that is simulated."
from dataclasses import replace

import pytest
import torch
from simulated_device import DEVICE, Far, counting_waits, far, move
from test_drawn_training import CFG as DRAWN
from test_drawn_training import toy_data as drawn_data
from test_drawn_training import toy_judges
from test_training import paper_nets, real_nets
from torch import nn
from toy_game import CFG, seeded, toy_data, toy_nets

from faceanon.config import PAPER_OBJECTIVE
from faceanon.evaluation.attackers import make_attacker, train_attacker
from faceanon.evaluation.drawn_networks import build_drawn_players
from faceanon.faces import check_images, crop_faces, paste_faces, send
from faceanon.training.adversarial import adversarial_steps
from faceanon.training.drawn_data import DRAWN_TERMS, DrawnData
from faceanon.training.drawn_game import drawn_steps
from faceanon.training.drawn_judges import judge_steps
from faceanon.training.face_prior import drawn_optimizers, prior_steps
from faceanon.training.losses import read_loss_rows
from faceanon.training.players import TrainData
from faceanon.training.supervised import finetune_a, train_identity_classifier, warm_up_a

# --- the simulated device ---

@pytest.mark.parametrize('wait', [
    lambda x: x.sum().item(), lambda x: float(x[0, 0]), lambda x: bool((x > 0).any()), lambda x: x.tolist(),
    lambda x: x.cpu(), lambda x: x.to('cpu'), lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: torch.where(x > 0),
    lambda x: x.masked_select(x > 0), lambda x: torch.ones(3).to(DEVICE),
    lambda x: torch.tensor([1., 2.], device=DEVICE), lambda x: x.new_tensor(3.),
    lambda x: x[[0, 1]], lambda x: x.unique(), lambda x: x.equal(x),
    lambda x: x.copy_(torch.ones(3, 3)), lambda x: torch.ones(3, 3).copy_(x)], ids=range(18))
def test_whatever_makes_the_host_wait_is_counted(wait):
    with counting_waits() as waits:
        x = Far(torch.arange(9.).view(3, 3))
        wait(x)
    assert sum(waits.lines.values()) == 1


def test_work_for_the_device_is_not_counted_and_is_done():
    with counting_waits() as waits:
        net = move(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
        opt = torch.optim.Adam(net.parameters(), .1)
        x, rows = Far(torch.rand(6, 3)), send(torch.tensor([5, 0, 1]), DEVICE)
        before = net[0].weight.held.clone()
        loss = nn.functional.cross_entropy(net(x[rows] + torch.randn(3, 3, device=DEVICE)), rows % 2)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.)
        opt.step()
        x[x > .5] = 0.
    assert not waits.lines and loss.held > 0 and x.held.max() <= .5
    assert (net[0].weight.held != before).all()


def test_what_lies_on_the_host_is_missed_on_the_device():
    with counting_waits(), pytest.raises(RuntimeError, match='two devices'): Far(torch.ones(3)) + torch.ones(3)


# --- steps of training ---

def data_there():
    data = toy_data()
    return TrainData(*map(far, (data.faces, data.ids, data.frames, list(data.targets))))


def drawn_data_there():
    data = drawn_data()
    targets = [t | far({key: t[key] for key in ('boxes', 'labels')}) for t in data.targets]
    return DrawnData(far(data.faces), far(data.ids), far(data.frames), targets, far(data.actions))


def all_there(nets):
    for net in vars(nets).values(): move(net)
    return nets


def game(make, cfg): return lambda: adversarial_steps(all_there(make(cfg)), data_there(), cfg)


def drawn_players():
    players = all_there(build_drawn_players(DRAWN))
    players.average.requires_grad_(False)
    return players


def prior():
    players = drawn_players()
    return prior_steps(players, drawn_optimizers(players, False), drawn_data_there(), DRAWN, 0, 4, seeded(0))


def drawn_game():
    players, cfg = drawn_players(), replace(DRAWN, terms=DRAWN_TERMS, reader_restart=1)
    opts = drawn_optimizers(players, True)
    return drawn_steps(players, all_there(toy_judges()), opts, drawn_data_there(), cfg, 0, 3, 2., seeded(0))


def judges():
    nets = all_there(toy_judges())
    for net in (nets.crops, nets.identity, nets.points): net.requires_grad_(True)
    return judge_steps(nets.crops, nets.identity, nets.points, drawn_data_there(), DRAWN)


def attacker():
    faces, ids = toy_data().faces, toy_data().ids
    reader = make_attacker('cnn', faces, ids)
    move(reader.net)
    return train_attacker(reader, far(faces), far(ids), steps=4, batch=8)


OURS = replace(CFG, steps=3, d_pool=2, d_restart=1, d_steps=2)
LOOPS = {  # the loop, how often our lines wait in a step, and whether torchvision's proposals take part
    'game': (game(toy_nets, OURS), 1, True),
    'game of real': (game(real_nets, replace(CFG, d_pool=1, d_restart=0, d_frozen=4)), 1, True),
    'game of paper': (game(paper_nets, replace(CFG, d_pool=1, d_restart=0, **PAPER_OBJECTIVE)), 1, True),
    'D': (lambda: train_identity_classifier(move(toy_nets().D[0]), data_there(), CFG), 1, False),
    'A names': (lambda: warm_up_a(move(toy_nets().A), data_there(), replace(CFG, a_warmup=10)), 1, False),
    'A finds': (lambda: finetune_a(move(toy_nets().A), data_there().frames, data_there().targets, CFG, 0), 1, True),
    'judges': (judges, 1, False), 'prior': (prior, 0, False), 'drawn game': (drawn_game, 0, False),
    'attacker': (attacker, 1, False),
}


@pytest.mark.parametrize('name', LOOPS)
def test_a_step_waits_once_at_most(name):
    make, ours, finds = LOOPS[name]
    with counting_waits() as waits:
        steps = make()
        next(steps)  # what a run does once may wait
        waits.lines.clear()
        next(steps)
    assert waits.of('ours') == ours, waits.lines
    assert waits.of('others') == 0, waits.lines
    assert finds == (waits.of('torchvision') > 0), waits.lines


def test_a_stretch_of_the_drawn_game_is_read_in_one_transfer():
    with counting_waits() as waits:
        rows = list(drawn_game())
        waits.lines.clear()
        read = read_loss_rows(rows)
    assert sum(waits.lines.values()) == 1
    assert [row['step'] for row in read] == [0, 1, 2]
    assert all(type(value) in (float, int) for row in read for value in row.values())


def test_without_a_gradient_values_are_looked_at_on_any_device():
    boxes = torch.tensor([[0, 1, 1, 9, 9]])
    with counting_waits():
        loud = Far(torch.full((1, 3, 16, 16), 255.))
        with torch.no_grad():
            for use in (lambda: check_images(loud), lambda: crop_faces(loud, boxes, 8),
                        lambda: paste_faces(loud/255, loud, boxes)):
                with pytest.raises(ValueError, match='got values from 255 to 255'): use()
        assert crop_faces(loud, boxes, 8).shape == (1, 3, 8, 8)
