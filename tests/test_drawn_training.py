"The recipe of an M that draws: whom each loss moves, and that the released weights go on learning."
from functools import cache

import pytest
import torch
from torch import nn

from faceanon.data.synthetic import make_face, make_frame
from faceanon.data.synthetic_people import ACTIONS, PEOPLE
from faceanon.evaluation.drawn_networks import build_drawn_players
from faceanon.models.action_detector import small_detector
from faceanon.models.anonymizer import Anonymizer
from faceanon.models.discriminator import PlainCNN
from faceanon.training.drawn_data import DRAWN_TERMS, DrawnData, drawn_preset
from faceanon.training.drawn_game import code_terms, drawn_steps, update_critic, update_readers
from faceanon.training.drawn_judges import Judges
from faceanon.training.drawn_losses import critic_loss
from faceanon.training.face_prior import drawn_optimizers

CFG = drawn_preset('toy')


@cache
def toy_data():
    people = PEOPLE['train'][:CFG.people]
    numbers = [(p, n) for p in people for n in range(CFG.faces_per_person)]
    actions = torch.arange(len(numbers)) % len(ACTIONS)
    faces = torch.stack([make_face(p, n, 40, ACTIONS[a]) for (p, n), a in zip(numbers, actions.tolist())])
    frames, targets = zip(*[make_frame(people, i) for i in range(4)])
    ids = torch.arange(CFG.people).repeat_interleave(CFG.faces_per_person)
    return DrawnData(faces, ids, torch.stack(frames), list(targets), actions)


def toy_judges():
    crops = nn.ModuleList([PlainCNN(CFG.near_actions + 1, 8)])
    detectors = nn.ModuleList([small_detector(len(ACTIONS), 160, 8)])
    judges = Judges(crops, PlainCNN(CFG.people, 8), detectors, PlainCNN(10, 8))
    for net in vars(judges).values(): net.eval().requires_grad_(False)
    return judges


def seeded(): return torch.Generator().manual_seed(0)


def play(players, cfg, steps=1, weight=2.):
    "Some steps of the game; which parts of M moved."
    before = {name: p.detach().clone() for name, p in players.M.named_parameters()}
    opts = drawn_optimizers(players, True)
    rows = list(drawn_steps(players, toy_judges(), opts, toy_data(), cfg, 0, steps, weight, seeded()))
    moved = {name.split('.')[0] for name, p in players.M.named_parameters() if not torch.equal(p, before[name])}
    return rows, moved


@pytest.mark.parametrize('term', DRAWN_TERMS)
def test_what_the_code_tells_is_no_matter_of_the_generator(term):
    _, moved = play(build_drawn_players(CFG), drawn_preset('toy', terms=(term,)))
    reached = {'price': {'openness'}, 'spread': {'encoder', 'openness'}, 'readers': {'encoder', 'openness'}}
    assert moved == reached.get(term, {'encoder', 'generator', 'openness'})


def test_a_run_without_a_term_computes_it_nowhere():
    for term in DRAWN_TERMS:
        rows, _ = play(build_drawn_players(CFG), drawn_preset('toy', terms=tuple(t for t in DRAWN_TERMS if t != term)))
        assert {name for name in rows[0] if name.removeprefix('loss_') in DRAWN_TERMS} == {
            f'loss_{t}' for t in DRAWN_TERMS if t != term}


def test_readers_learn_names_from_a_loud_code_and_m_takes_them_back():
    players, data = build_drawn_players(drawn_preset('toy', reader_width=64)), toy_data()
    M = players.M
    with torch.no_grad(): M.openness.fill_(5.)
    M.train()
    players.readers.train()
    opt = drawn_optimizers(players, True)['readers']
    draws = seeded()
    losses = [update_readers(players, opt, data, CFG, draws)['loss_reader0'] for _ in range(25)]
    assert sum(losses[-5:]) < .7*sum(losses[:5])

    faces = data.faces.view(CFG.people, -1, 3, 40, 40)[:, :6].flatten(0, 1).float()/255
    players.readers.eval().requires_grad_(False)
    opt = torch.optim.Adam(M.encoder_parameters(), 4e-3)
    told = []
    for _ in range(12):
        means = M.mean_code(faces).unflatten(0, (CFG.people, 6))
        told.append(code_terms(M, players.readers, means, drawn_preset('toy', terms=('readers',)), 1.)['loss_readers'])
        opt.zero_grad()
        told[-1].backward()
        opt.step()
    assert told[-1] < .7*told[0]


def test_the_critic_learns_to_tell_noise_from_faces():
    players, data = build_drawn_players(CFG), toy_data()
    noise, actions = torch.rand(16, 3, 40, 40), torch.arange(16) % 10
    opt, draws = drawn_optimizers(players, True)['critic'], seeded()
    for _ in range(25): row = update_critic(players.critic, opt, data, noise, actions, draws)
    assert row['loss_critic'] < 3.2  # 4 where it knows nothing: 1 a side, whole and patches
    faces = data.faces[:16].float()/255
    with torch.no_grad():
        right = critic_loss(players.critic, faces, actions, noise, actions, 1.)
        assert right < critic_loss(players.critic, noise, actions, faces, actions, 1.) - 1


def test_the_released_weights_fit_and_go_on_learning():
    released = Anonymizer.from_pretrained('world-drawn-0')
    sizes = dict(who=32, said=64, map_channels=4, m_width=48, g_width=64)  # of the preset `real`
    assert sizes == {name: getattr(drawn_preset('real'), name) for name in sizes}
    players = build_drawn_players(drawn_preset('toy', **sizes))
    for net in (players.M, players.average): net.load_state_dict(released.state_dict())
    code = torch.sin(torch.arange(released.generator.code_size)*1.7)[None]*2**.5
    with torch.no_grad(): before = released.decode(code)
    rows, moved = play(players, drawn_preset('toy', **sizes))
    assert moved == {'encoder', 'generator', 'openness'}
    assert rows[0]['loss_price'] == pytest.approx(.0005*102.18, rel=1e-3)
    with torch.no_grad(): after = players.M.eval().decode(code)
    assert 0 < (after - before).abs().mean() < .05
