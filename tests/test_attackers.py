"What an attacker may know, must read and must not see."
import math
import sys
import types

import pytest
import torch
from torch import nn

from faceanon.evaluation import attackers
from faceanon.evaluation.attackers import (
    ATTACKERS,
    discriminant_attacker,
    embed_all,
    evaluate_attacker,
    halve_images,
    make_attacker,
    one_cycle_lr,
    pixel_statistics,
    random_shift,
    standardize,
    train_attacker,
    verify_fixed,
    worst_attack,
)
from faceanon.evaluation.metrics import best_threshold, bootstrap_interval, eer_by_identity_weights, pair_scores


def people_and_faces(people=9, each=12, strength=.1, size=16, seed=0):
    "A smooth picture a person, noise, 8 bits; the last third of the people is unseen."
    gen = torch.Generator().manual_seed(seed)
    own = nn.functional.interpolate(torch.randn(people, 3, 4, 4, generator=gen), size, mode='bilinear')
    ids = torch.arange(people).repeat_interleave(each)
    faces = .5 + strength*own[ids] + .02*torch.randn(people*each, 3, size, size, generator=gen)
    faces = (faces.clamp(0, 1)*255).round().byte()
    known, even = ids < people*2//3, torch.arange(len(ids)) % 2 == 0
    return [(faces[rows], ids[rows]) for rows in (known & even, known & ~even, ~known)]


def retrain_and_attack(name, training, known, unseen, steps, batch, seed=0):
    "One attacker from scratch to its row, with the mean loss of its last 50 steps."
    attacker = make_attacker(name, *training, seed)
    run = train_attacker(attacker, *training, steps, batch, lr=ATTACKERS[name].lr, seed=seed)
    losses = [row['loss'] for row in run]
    return evaluate_attacker(attacker, *known, *unseen) | dict(loss=sum(losses[-50:])/len(losses[-50:]))


PARTS = people_and_faces()
QUICK = dict(steps=6, batch=16)


def test_there_are_three_attackers_of_two_architectures_one_of_them_standardising():
    assert len(ATTACKERS) >= 3
    assert len({spec.build for spec in ATTACKERS.values()}) >= 2
    assert {spec.standardized for spec in ATTACKERS.values()} == {True, False}


@pytest.mark.parametrize('name', ATTACKERS)
def test_an_attack_is_repeatable_and_obeys_its_seed(name):
    rows = [retrain_and_attack(name, *PARTS, **QUICK, seed=seed) for seed in (0, 0, 1)]
    assert rows[0] == rows[1]
    assert rows[0]['loss'] != rows[2]['loss']
    assert {'attacker', 'rank5', 'tar@1e-2', 'tar@1e-3'} <= {*rows[0]}
    assert rows[0]['chance'] == 1/6 and rows[0]['n_pairs'] == 36*35//2
    assert all(0 <= rows[0][k] <= 1 for k in ('rank1', 'rank5', 'eer', 'auc', 'tar@1e-1'))


@pytest.mark.parametrize('name', ATTACKERS)
def test_making_an_attacker_leaves_the_global_stream_alone(name):
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    make_attacker(name, *PARTS[0], seed=1)
    assert torch.equal(torch.rand(3), want)


def test_weights_order_and_shifts_have_seeds_of_their_own():
    def losses(weights, order):
        attacker = make_attacker('cnn', *PARTS[0], seed=weights)
        return [row['loss'] for row in train_attacker(attacker, *PARTS[0], **QUICK, seed=order)]
    assert losses(0, 0) == losses(0, 0)
    assert losses(0, 0)[0] != losses(1, 0)[0]
    assert losses(0, 0)[0] != losses(0, 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize('name', ATTACKERS)
def test_without_information_every_attacker_is_at_chance(name):
    training, known, unseen = people_and_faces(people=30, each=24, strength=0)
    attacker = make_attacker(name, *training)
    for _ in train_attacker(attacker, *training, steps=60, batch=32, lr=ATTACKERS[name].lr): pass
    row = evaluate_attacker(attacker, *known, *unseen)
    assert abs(row['rank1'] - 1/20) <= 3*(1/20*19/20/len(known[1]))**.5
    low, high = bootstrap_interval(*eer_by_identity_weights(embed_all(attacker, unseen[0]), unseen[1], bins=256), 100,
                                   level=.999)
    assert low - .02 <= .5 <= high + .02
    assert low <= row['eer'] <= high


def test_plain_identity_is_read():
    row = retrain_and_attack('cnn', *PARTS, steps=80, batch=16)
    assert row['rank1'] > .9 and row['eer'] < .1


def test_the_discriminant_reads_faint_identity_of_known_and_unseen_people():
    training, known, unseen = people_and_faces(people=18, each=24, strength=.012)
    row = evaluate_attacker(discriminant_attacker(*training), *known, *unseen)
    assert row['attacker'] == 'discriminant' and row['rank1'] > .9 and row['eer'] < .3
    assert row == evaluate_attacker(discriminant_attacker(*training), *known,
                                    *unseen), "in closed form, so twice the same"


def test_the_discriminant_is_at_chance_without_information():
    training, known, unseen = people_and_faces(people=30, each=24, strength=0)
    row = evaluate_attacker(discriminant_attacker(*training), *known, *unseen)
    assert abs(row['rank1'] - 1/20) <= 3*(1/20*19/20/len(known[1]))**.5
    assert abs(row['eer'] - .5) < .06


def test_the_discriminant_weighs_directions_by_what_varies_within_a_person():
    "Whitened: pictures of one person differ by one unit along every axis, where people are told apart."
    faces, ids = people_and_faces(each=160)[0]  # more pictures than the 192 numbers of a shrunken one
    attacker = discriminant_attacker(faces, ids, dims=4)
    places = embed_all(attacker, faces)
    assert places.shape == (len(faces), 4)
    within = torch.stack([places[ids == i] - places[ids == i].mean(0) for i in range(6)]).flatten(0, 1)
    torch.testing.assert_close(within.T @ within/len(within), torch.eye(4), atol=.05, rtol=0)
    means = torch.stack([places[ids == i].mean(0) for i in range(6)])
    torch.testing.assert_close(attacker.net.places, means, atol=1e-3, rtol=1e-3)
    assert bool((means.var(0).diff() <= 1e-3).all()), "the direction that tells most comes first"
    scores = attacker.net.classify(places)
    assert torch.equal(scores.argmax(1), torch.cdist(places, means).argmin(1)) and scores.max() <= 0
    block = faces[0, 1, 4:6, 6:8].double().mean().item()/255
    assert halve_images(faces[:1]/255).view(3, 8, 8)[1, 2, 3].item() == pytest.approx(block)


def test_the_discriminant_of_one_picture_for_everybody_finds_nothing():
    faces, ids = torch.full_like(PARTS[0][0], 90), PARTS[0][1]
    attacker = discriminant_attacker(faces, ids)
    row = evaluate_attacker(attacker, faces, ids, torch.full_like(PARTS[2][0], 90), PARTS[2][1])
    assert row['eer'] == .5 and row['rank1'] == pytest.approx(1/6)
    assert bool(embed_all(attacker, faces).isfinite().all()) and bool(embed_all(attacker, PARTS[2][0]).isfinite().all())


def test_a_seed_cannot_pass_for_a_rate():
    "It once did, and no attacker learned."
    attacker = make_attacker('cnn', *PARTS[0])
    with pytest.raises(TypeError, match='positional'): train_attacker(attacker, *PARTS[0], 6, 16, 0)


def test_a_probe_in_the_middle_does_not_change_training():
    def losses(probe):
        attacker = make_attacker('cnn', *PARTS[0])
        for row in train_attacker(attacker, *PARTS[0], **QUICK):
            if probe: embed_all(attacker, PARTS[1][0])
            yield row['loss']
    assert list(losses(False)) == list(losses(True))


@pytest.mark.parametrize('name', ATTACKERS)
def test_an_embedding_does_not_depend_on_its_neighbours(name):
    attacker = make_attacker(name, *PARTS[0])
    for _ in train_attacker(attacker, *PARTS[0], **QUICK): pass
    faces = PARTS[2][0]
    together, alone = embed_all(attacker, faces), torch.cat([embed_all(attacker, f[None]) for f in faces[:5]])
    assert not together.requires_grad and together.dtype == torch.float32
    torch.testing.assert_close(together[:5], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('seed', range(3))
def test_pixel_statistics_one_pixel_at_a_time(seed):
    faces = torch.randint(0, 256, (1500, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    faces[:, 1, 2, 3] = 9  # nothing varies here
    mean, std = pixel_statistics(faces)
    values = faces.double() / 255
    for c, y, x in ((0, 0, 0), (2, 3, 1), (1, 2, 3)):
        here = values[:, c, y, x]
        assert mean[c, y, x].item() == pytest.approx(here.mean().item(), abs=1e-6)
        assert std[c, y, x].item() == pytest.approx(max(here.std(correction=0).item(), 1/255), abs=1e-6)


def test_standardising_undoes_gain_and_offset_and_bounds_outliers():
    gen = torch.Generator().manual_seed(0)
    pictures = torch.rand(50, 3, 4, 4, generator=gen)
    gain, offset = torch.rand(2, 3, 4, 4, generator=gen)
    of = lambda x: standardize(x, x.mean(0), x.std(0))
    torch.testing.assert_close(of(pictures), of(pictures*(.1 + gain) + offset), atol=1e-4, rtol=1e-4)
    assert standardize(torch.full((1, 3, 4, 4), 9.), offset, gain).max() == 1.75


def test_a_shift_is_a_window_of_the_picture_with_repeated_edges():
    pictures = torch.arange(40*3*5*5).view(40, 3, 5, 5).float()
    moved = random_shift(pictures, 2, torch.Generator().manual_seed(0))
    seen = set()
    for face, result in zip(pictures, moved):
        fits = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if torch.equal(result, face[
            :, (torch.arange(5) + dy).clamp(0, 4)][:, :, (torch.arange(5) + dx).clamp(0, 4)])]
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) > 15


@pytest.mark.parametrize('steps', [1, 2, 9, 10, 11, 2000])
def test_the_rate_rises_to_its_peak_falls_and_never_ends(steps):
    rates = [one_cycle_lr(step, steps, 2.) for step in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) <= 2 and min(rates) > 0
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)


def test_the_fixed_verifier_by_counting():
    training, _, (faces, ids) = PARTS
    net = make_attacker('sphere', *training).net
    hidden = (faces.float()*.5 + 60).byte()
    before = [p.detach().clone() for p in net.parameters()]
    row = verify_fixed(net, faces, hidden, ids)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    net.eval()
    with torch.no_grad():
        clear, anonymized = (nn.functional.normalize(net.embed(f.float()/255)) for f in (faces, hidden))
    assert row['threshold'] == pytest.approx(best_threshold(*pair_scores(clear, ids)), abs=1e-6)
    once, other = (lambda i, j: i < j), (lambda i, j: i != j)
    for name, a, b, used in (('original', clear, clear, once), ('cross', clear, anonymized, other),
                             ('anonymized', anonymized, anonymized, once)):
        wrong = {True: [], False: []}
        for i in range(len(ids)):
            for j in range(len(ids)):
                same = bool(ids[i] == ids[j])
                if used(i, j): wrong[same].append((float(a[i] @ b[j]) >= row['threshold'] - 1e-7) != same)
        error = sum(sum(v)/len(v) for v in wrong.values())/2
        assert row[f'error_{name}'] == pytest.approx(error, abs=.01)


def test_the_worst_attack_is_the_lowest_eer_and_the_highest_rank():
    rows = [dict(attacker=n, eer=e, rank1=r) for n, e, r in (('a', .4, .3), ('b', .2, .1), ('c', .3, .5))]
    for order in (rows, rows[::-1]):
        assert worst_attack(order) == dict(eer_worst=.2, attacker_worst='b', rank1_worst=.5, rank1_attacker='c')
    nan = [[rows[0] | {name: math.nan}] for name in ('eer', 'rank1')]
    for bad, says in (([], 'no attacks'), (nan[0], 'NaN'), (nan[1], 'NaN')):
        with pytest.raises(ValueError, match=says): worst_attack(bad)


FACES, IDS = PARTS[0]


@pytest.mark.parametrize('faces,ids,error,says', [
    (FACES.float()/255, IDS, TypeError, 'as shipped'),
    (FACES[:, :1], IDS, ValueError, r'\(n, 3, s, s\)'),
    (FACES[:, :, :-1], IDS, ValueError, r'\(n, 3, s, s\)'),
    (FACES[:0], IDS[:0], ValueError, 'no training faces'),
    (FACES, IDS[:-1], ValueError, 'ids of'),
    (FACES, IDS.int(), ValueError, 'int64'),
    (FACES, IDS - 1, ValueError, 'from 0'),
])
def test_faces_that_cannot_be_learnt_from_are_refused(faces, ids, error, says):
    with pytest.raises(error, match=says): make_attacker('cnn', faces, ids)
    with pytest.raises(error, match=says): discriminant_attacker(faces, ids)
    fresh = make_attacker('cnn', *PARTS[0])
    with pytest.raises(error, match=says): list(train_attacker(fresh, faces, ids, **QUICK))


def test_bad_requests_are_refused():
    attacker = make_attacker('cnn', *PARTS[0])
    with pytest.raises(ValueError, match="unknown attacker 'eve'"): make_attacker('eve', *PARTS[0])
    with pytest.raises(ValueError, match=r'ids must lie in \[0, 6\)'):
        list(train_attacker(attacker, FACES, IDS + 1, **QUICK))
    for steps, batch in ((0, 16), (1, 1)):
        with pytest.raises(ValueError, match='steps >= 1'): list(train_attacker(attacker, *PARTS[0], steps, batch))
    with pytest.raises(ValueError, match=r'ids must lie in \[0, 6\)'): evaluate_attacker(attacker, *PARTS[2], *PARTS[2])
    with pytest.raises(ValueError, match='at least two people'):
        evaluate_attacker(attacker, *PARTS[1], FACES[:4], IDS[:4])
    with pytest.raises(ValueError, match='no faces'): embed_all(attacker, FACES[:0])


def test_a_loss_that_is_not_finite_stops_training():
    attacker = make_attacker('cnn', *PARTS[0])
    attacker.net.fc.weight.data.fill_(math.nan)
    with pytest.raises(FloatingPointError, match='loss'): list(train_attacker(attacker, *PARTS[0], **QUICK))


FAULTS = {
    'weights ignore the seed': ('torch.manual_seed(seed)', 'torch.manual_seed(0)',
                                test_weights_order_and_shifts_have_seeds_of_their_own),
    'order ignores the seed': ('gen, net = torch.Generator().manual_seed(seed)', 'gen, net = torch.Generator()',
                               test_weights_order_and_shifts_have_seeds_of_their_own),
    'embedding in training mode': ('    net.eval()\n', '',
                                   lambda: test_an_embedding_does_not_depend_on_its_neighbours('cnn')),
    'a probe ends training': ('net.train(training)', 'pass', test_a_probe_in_the_middle_does_not_change_training),
    'the mildest attack counts': ('min(rows, key', 'max(rows, key',
                                  test_the_worst_attack_is_the_lowest_eer_and_the_highest_rank),
    'no floor under the deviation': ('.clamp_min(1/255)', '', lambda: test_pixel_statistics_one_pixel_at_a_time(0)),
    'shift by one too few': ('torch.randint(2*max_shift + 1,', 'torch.randint(1,',
                             test_a_shift_is_a_window_of_the_picture_with_repeated_edges),
    'threshold from anonymized pairs': ("best_threshold(*pairs['original'])", "best_threshold(*pairs['anonymized'])",
                                        test_the_fixed_verifier_by_counting),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_is_caught(fault, monkeypatch):
    right, wrong, check = FAULTS[fault]
    with open(attackers.__file__) as file: source = file.read()
    assert source.count(right) == 1, f"{right!r} is to be planted in one place"
    faulty = types.ModuleType('faceanon.evaluation.faulty_attackers')
    faulty.__package__ = 'faceanon.evaluation'
    monkeypatch.setitem(sys.modules, faulty.__name__, faulty)  # dataclasses look their module up
    exec(compile(source.replace(right, wrong), attackers.__file__, 'exec'), vars(faulty))
    for name in attackers.__all__:
        if name in globals(): monkeypatch.setitem(globals(), name, getattr(faulty, name))
    with pytest.raises(AssertionError): check()
