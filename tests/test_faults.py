"Faults planted one at a time into copies of the modules. A check that a fault does not upset is no check."
import importlib
import inspect
import itertools
import random
import types
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from toy_game import CFG, changed, toy_batch, toy_data, toy_nets, weights

from faceanon.config import DECODER_LOSSES, seed_everything
from faceanon.data.synthetic_people import PEOPLE

# --- planting ---

def copy_of(name, *swaps):
    "A fresh module from the source of `faceanon.NAME`, with pieces of text swapped."
    real = importlib.import_module(f'faceanon.{name}')
    source = inspect.getsource(real)
    for old, new in swaps:
        assert source.count(old) == 1, f"{source.count(old)} places in {name} to plant {old!r}"
        source = source.replace(old, new)
    copy = types.ModuleType(real.__name__)
    copy.__package__ = real.__package__
    exec(compile(source, f'{name} with a fault', 'exec'), vars(copy))
    return copy


def planted(wanted, name, *swaps):
    "The module `wanted` as it is when `name` has a fault: its own wing uses the faulty functions too, on every path."
    copies = {name: copy_of(name, *swaps)}
    def linked(home):
        if home not in copies: copies[home] = copy_of(home)
        user = copies[home]
        for key, value in list(vars(user).items()):
            if not inspect.isfunction(value) or not value.__module__.startswith('faceanon.'): continue
            source = value.__module__.removeprefix('faceanon.')
            if source == name or (source != home and source.split('.')[0] == wanted.split('.')[0]):
                setattr(user, key, getattr(linked(source) if source != name else copies[name], key))
        return user
    return linked(wanted)


# --- players that show what happens ---

class Painter(nn.Module):
    "An M that paints its first face black and each further one lighter."
    def mean_code(self, faces): return faces[:, :1, :8, :8]
    def add_noise(self, code): return code
    def decode(self, code): return shades(len(code))[:, None, None, None].expand(-1, 3, CFG.face_size, CFG.face_size)


class Watcher(nn.Module):
    "An A that keeps what it is shown."
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
    def forward(self, frames, targets):
        self.shown = frames
        return dict(nothing=0*self.weight*frames.sum())


def shades(count): return torch.arange(count)/count


# --- checks: each passes on the real module ---

def doubt(nets, batch, objective):
    "How far D is from the truth about M's pictures; for confusion, how close to the uniform answer."
    torch.manual_seed(0)
    with torch.no_grad(): logits = nets.D[0](nets.M(batch.faces))
    return (nn.functional.cross_entropy(logits, batch.ids) if objective == 'negative' else
            logits.log_softmax(1).mean()).item()


def check_adversarial_term_hides_the_name(training):
    "20 steps with this term alone: D's loss on M's pictures rises, or its answer comes closer to the uniform one."
    for objective in ('negative', 'confusion'):
        cfg = replace(CFG, d_pool=1, objective=objective, decoder='plays',
                      det_weight=0, l1_weight=0, rate_weight=0, code_adv_weight=0)
        nets, batch = replace(toy_nets(cfg, loudness=50), A=Watcher()), toy_batch()
        opt_d, opt_ma = training.make_optimizers(nets, cfg)
        for step in range(15): training.update_d(nets, opt_d, batch.faces, batch.ids, cfg, step)
        before = doubt(nets, batch, objective)
        for _ in range(20): training.update_ma(nets, opt_ma, batch, cfg, 0)
        assert doubt(nets, batch, objective) > before + .1, objective


def check_d_stands_still_in_ms_step(training):
    for objective, decoder in itertools.product(('negative', 'confusion'), DECODER_LOSSES):
        nets, cfg = toy_nets(), replace(CFG, objective=objective, decoder=decoder)
        before = weights(nets)
        training.update_ma(nets, training.make_optimizers(nets, cfg)[1], toy_batch(), cfg, 0)
        assert changed(nets, before) == 'MA'
        watchers = [*nets.D.parameters(), *nets.R.parameters()]
        assert all(p.grad is None for p in watchers), "a gradient was left behind"
        assert all(p.requires_grad for p in watchers), "D cannot learn any more"


def check_each_face_is_in_its_place(training):
    nets, cfg = replace(toy_nets(), M=Painter(), A=Watcher()), replace(CFG, code_adv_weight=0, batch_frames=6)
    batch = toy_batch(cfg)
    assert batch.boxes[:, 0].bincount().max() > 1, "no frame with several faces"
    training.generator_losses(nets, batch, cfg, 0)
    expected = batch.frames.clone()
    colours = shades(len(batch.faces) + len(batch.boxes))[len(batch.faces):]
    for (frame, x1, y1, x2, y2), colour in zip(batch.boxes.tolist(), colours):
        expected[frame, :, y1:y2, x1:x2] = colour
    assert torch.allclose(nets.A.shown, expected, atol=1e-5)


def check_anneal_moves(training):
    "Which lambda does each loss get? Two D steps a step, of two losses each, then M's own."
    cfg, seen = replace(CFG, d_pool=1, d_steps=2, steps=3, objective='negative'), []
    def note(loss):
        def noting(*args):
            seen.append((loss.__name__, args[-1]))
            return loss(*args)
        return noting
    of_d = training.identity_loss.__globals__  # its module, or the copy with a fault
    with patch.dict(of_d, angular_softmax_loss=note(of_d['angular_softmax_loss'])), \
            patch.object(training, 'negative_loss', note(training.negative_loss)):
        list(training.adversarial_steps(toy_nets(cfg), toy_data(), cfg))
    def published(step): return max(5., 1500/(1 + .1*step))
    expected = []
    for step in range(cfg.steps):
        for i in range(2): expected += [('angular_softmax_loss', published(2*step + i))]*2
        expected += [('negative_loss', published(2*step))]
    assert [name for name, _ in seen] == [name for name, _ in expected]
    assert [weight for _, weight in seen] == pytest.approx([weight for _, weight in expected])
    assert training.anneal_weight(10**6) == 5


def check_metrics_count_right(metrics):
    "Against counting on fingers."
    logits, ids = torch.randn(30, 7), torch.randint(7, (30,))
    for k in range(1, 8):
        counted = sum(int(name in sorted(range(7), key=lambda j: -row[j])[:k]) for row, name in
                      zip(logits.tolist(), ids.tolist()))/30
        assert metrics.rank_k(logits, ids, k) == pytest.approx(counted)

    genuine, impostor = torch.randn(40) + 1, torch.randn(50)
    for far in (0, .02, .1, .5):
        allowed = [t for t in [*genuine.tolist(), *impostor.tolist()] if (impostor >= t).float().mean() <= far + 1e-6]
        counted = max((genuine >= t).float().mean().item() for t in allowed)
        assert metrics.tar_at_far(genuine, impostor, far) == pytest.approx(counted)

    scores, hits = np.random.rand(20), np.random.rand(20) < .5
    in_order = [bool(hit) for _, hit in sorted(zip(-scores, hits))]
    precision = [sum(in_order[:n])/n for n in range(1, 21)]
    counted = sum(max(precision[n:]) for n in range(20) if in_order[n])/25
    assert metrics.average_precision(scores, hits, 25) == pytest.approx(counted)

    half = np.array([[0., 0, 10, 10]]), np.array([[0., 0, 10, 20]])  # overlap of exactly one half
    assert metrics.match_boxes(*half) == [False]
    assert metrics.match_boxes(np.repeat(half[1], 2, 0), half[1]) == [True, False]


def check_training_obeys_its_seed(training):
    "The draws come from `cfg.seed` and from nothing else."
    draw, nets, batches = training.sample_batch, toy_nets(), []
    def keep(*args):
        batches.append(draw(*args))
        return batches[-1]
    def drawn(seed, noise):
        seed_everything(noise)
        with patch.object(training, 'sample_batch', keep):
            next(training.adversarial_steps(nets, toy_data(), replace(CFG, seed=seed)))
        return batches[-1]
    first, again, other = drawn(0, 0), drawn(0, 1), drawn(1, 0)
    for part in ('faces', 'frames', 'boxes'):
        assert torch.equal(getattr(first, part), getattr(again, part)), part
    assert not torch.equal(first.faces, other.faces)
    assert not torch.equal(first.frames, other.frames)


def check_finetuning_obeys_its_seed(supervised):
    data, cfg = toy_data(), replace(CFG, finetune_steps=1)
    def losses(seed):
        return [row['loss'] for row in supervised.finetune_a(toy_nets().A, data.frames, data.targets, cfg, seed)]
    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def check_world_obeys_its_seed(world):
    def picture(*args): return world.make_face(*args, 32)
    assert torch.equal(picture(3, 5), picture(3, 5))
    assert not torch.equal(picture(3, 5), picture(3, 6))
    assert not torch.equal(picture(3, 5), picture(4, 5))
    def frame(number): return world.make_frame(PEOPLE['train'], number, 64)[0]
    assert torch.equal(frame(1), frame(1))
    assert not torch.equal(frame(1), frame(2))


def check_everything_is_seeded(config):
    def draws(seed):
        stream = config.seed_everything(seed)
        return torch.rand(()).item(), np.random.rand(), random.random(), torch.rand((), generator=stream).item()
    assert draws(0) == draws(0)
    assert all(a != b for a, b in zip(draws(0), draws(1)))


CHECKS = {
    check_adversarial_term_hides_the_name: 'training.adversarial',
    check_d_stands_still_in_ms_step: 'training.adversarial',
    check_each_face_is_in_its_place: 'training.adversarial',
    check_anneal_moves: 'training.adversarial',
    check_metrics_count_right: 'evaluation.metrics',
    check_training_obeys_its_seed: 'training.adversarial',
    check_finetuning_obeys_its_seed: 'training.supervised',
    check_world_obeys_its_seed: 'data.synthetic',
    check_everything_is_seeded: 'config',
}


@pytest.mark.parametrize('check', CHECKS, ids=lambda check: check.__name__)
def test_the_real_code_passes(check): check(copy_of(CHECKS[check]))


# --- faults: the module, then pairs of what stands there and what should not ---

FAULTS = {
    'the adversarial term is added': (check_adversarial_term_hides_the_name, 'training.adversarial', (
        'loss_adv=cfg.adv_weight*_adversarial_loss(', 'loss_adv=-cfg.adv_weight*_adversarial_loss(')),
    'the negative loss is positive': (check_adversarial_term_hides_the_name, 'training.losses', (
        'return -angular_softmax_loss(', 'return angular_softmax_loss(')),
    'confusion is certainty': (check_adversarial_term_hides_the_name, 'training.losses', (
        'return -logits.log_softmax(1).mean() -', 'return logits.log_softmax(1).mean() +')),

    'D is not frozen': (check_d_stands_still_in_ms_step, 'training.adversarial', (
        'with frozen(nets.D), frozen(nets.R):', 'with frozen(nets.R):')),
    'R is not frozen': (check_d_stands_still_in_ms_step, 'training.adversarial', (
        'with frozen(nets.D), frozen(nets.R):', 'with frozen(nets.D):')),
    'D is trained to please M': (check_d_stands_still_in_ms_step, 'training.adversarial', (
        'with frozen(nets.D), frozen(nets.R):', 'with frozen(nets.R):'), (
        'ma = [dict(params=list(nets.M.parameters())',
        'ma = [dict(params=[*nets.M.parameters(), *nets.D.parameters()]')),
    'D is never thawed': (check_d_stands_still_in_ms_step, 'training.adversarial', (
        'p.requires_grad_(want)', 'p.requires_grad_(False)')),

    'a face is pasted a pixel too low': (check_each_face_is_in_its_place, 'faces', (
        'out[i][:, y1:y2, x1:x2] = resize(face[None], (y2-y1, x2-x1))[0]',
        'out[i][:, y1+1:y2, x1:x2] = resize(face[None], (y2-y1-1, x2-x1))[0]')),
    'faces are pasted into the next box': (check_each_face_is_in_its_place, 'faces', (
        'in zip(faces, boxes.tolist()):', 'in zip(faces, boxes.roll(1, 0).tolist()):')),
    'only one face of a frame is pasted': (check_each_face_is_in_its_place, 'faces', (
        'in zip(faces, boxes.tolist()):', 'in {r[0]: (f, r) for f, r in zip(faces, boxes.tolist())}.values():')),
    "other people's faces are pasted": (check_each_face_is_in_its_place, 'training.adversarial', (
        'anonymized[count:]', 'anonymized[:len(crops)]')),

    'the anneal is constant': (check_anneal_moves, 'training.losses', (
        'return max(floor, base/(1 + gamma*step))', 'return base')),
    'D always stands at step 0': (check_anneal_moves, 'training.adversarial', (
        'cfg, d_step + i, team)', 'cfg, 0, team)')),
    "M's anneal stands still": (check_anneal_moves, 'training.adversarial', (
        'update_ma(nets, opt_ma, batch, cfg, d_step, team)', 'update_ma(nets, opt_ma, batch, cfg, 0, team)')),

    'rank k is rank k - 1': (check_metrics_count_right, 'evaluation.score_arrays', (
        '((k - above) / level)', '((k - 1 - above) / level)')),
    'one false accept too many': (check_metrics_count_right, 'evaluation.metrics', (
        'allowed = math.floor(far*len(impostor) + 1e-9)', 'allowed = math.floor(far*len(impostor) + 1e-9) + 1')),
    'precision counts from 2': (check_metrics_count_right, 'evaluation.metrics', (
        'np.arange(1, len(found) + 1)', 'np.arange(2, len(found) + 2)')),
    'an overlap of one half is a hit': (check_metrics_count_right, 'evaluation.metrics', (
        'row[best] > iou', 'row[best] >= iou')),

    'the run has no seed': (check_training_obeys_its_seed, 'training.adversarial', (
        'generator = generator or torch.Generator().manual_seed(cfg.seed)',
        'generator = generator or torch.Generator()')),
    'faces are drawn from the common stream': (check_training_obeys_its_seed, 'training.players', (
        'rows = torch.randint(len(data.faces), (count,), generator=generator)',
        'rows = torch.randint(len(data.faces), (count,))')),
    'fine-tuning has one order only': (check_finetuning_obeys_its_seed, 'training.supervised', (
        'gen = torch.Generator().manual_seed(seed)', 'gen = torch.Generator().manual_seed(0)')),
    'the world is drawn anew each time': (check_world_obeys_its_seed, 'data.synthetic', (
        'np.random.default_rng([VERSION, 2, person, number])', 'np.random.default_rng()')),
    'all frames are one frame': (check_world_obeys_its_seed, 'data.synthetic', (
        'np.random.default_rng([VERSION, 3, people.start, number])',
        'np.random.default_rng([VERSION, 3, people.start])')),
    'torch is not seeded': (check_everything_is_seeded, 'config', ('    torch.manual_seed(seed)\n', '')),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_is_caught(fault):
    check, name, *swaps = FAULTS[fault]
    faulty = planted(CHECKS[check], name, *swaps)
    with pytest.raises(AssertionError): check(faulty)
