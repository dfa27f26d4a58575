"M that draws faces: the channel's statistics, its price, what a picture depends on, and the released weights."
import math

import pytest
import torch

from faceanon.models.anonymizer import Anonymizer, load_anonymizer, save_anonymizer, with_fixed_noise
from faceanon.models.face_critic import CodeReader, FaceCritic
from faceanon.models.face_generator import FaceAnonymizer, FaceGenerator

RELEASED = 'world-drawn-0'
QUARTERS = [117.0, 122.6, 108.6, 113.9, 137.9, 140.4, 121.1, 125.5, 132.5, 134.7, 120.6, 113.1]


def small(): return FaceAnonymizer(4, 8, 1, 8, 8).eval()


@pytest.mark.parametrize('openness', [-8., -2., 0., 3., 12.])
@torch.no_grad()
def test_every_number_of_a_code_has_variance_one(openness):
    M = small()
    M.openness.fill_(openness)
    seen = torch.randn(20_000, 108)*M.share.sqrt()
    code = M.add_noise(torch.nn.functional.pad(seen, (4, 0)))
    assert (code.var(0) - 1).abs().max() < .06
    assert code.mean(0).abs().max() < .04


def test_the_price_is_the_capacity_of_the_channels():
    M = small()
    with torch.no_grad(): M.openness.copy_(torch.linspace(-5, 5, 108))
    shares = [.98/(1 + math.exp(-logit)) for logit in M.openness.tolist()]
    assert M.price().item() == pytest.approx(sum(.5*math.log(1/(1 - p)) for p in shares), rel=1e-4)


@torch.no_grad()
def test_a_picture_depends_on_its_code_alone():
    M, code = small(), torch.randn(3, 112)
    drawn = M.decode(code)
    assert drawn.shape == (3, 3, 40, 40)
    assert 0 <= drawn.min() and drawn.max() <= 1
    M(torch.rand(5, 3, 40, 40))
    assert torch.equal(M.decode(code), drawn)
    assert torch.allclose(M.decode(code[1:2]), drawn[1:2], atol=1e-5)


@torch.no_grad()
def test_the_numbers_that_are_drawn_tell_nothing():
    M, who = small(), torch.randn(2, 4)
    assert M.mean_code(torch.rand(2, 3, 40, 40))[:, :4].abs().max() == 0
    code = M.encode(torch.rand(2, 3, 40, 40), who)
    assert torch.equal(code[:, :4], who)


def test_the_encoder_gets_no_gradient_from_what_is_drawn_and_all_of_it_from_the_code():
    M = small()
    M.decode(torch.randn(2, 112)).mean().backward()
    assert all(p.grad is None for p in M.encoder_parameters())
    M.encode(torch.rand(4, 3, 40, 40)).square().mean().backward()
    assert all(p.grad is not None for p in M.encoder_parameters())


@torch.no_grad()
def test_one_key_draws_one_noise_for_all_pictures_of_a_track():
    M, faces = small(), torch.rand(2, 3, 40, 40)
    once = with_fixed_noise(M, 3)
    assert torch.equal(once(faces), once(faces))
    assert not torch.equal(once(faces), with_fixed_noise(M, 4)(faces))
    assert with_fixed_noise(M, None) is M


@pytest.mark.parametrize(('faces', 'says'), [
    (torch.rand(1, 3, 48, 48), '40 high and 40 wide'), (torch.full((1, 3, 40, 40), 2.), r'\[0, 1\]'),
    (torch.full((1, 3, 40, 40), float('nan')), r'\[0, 1\]'), (torch.rand(1, 1, 40, 40), r'\(n, 3, h, w\)')])
def test_other_faces_are_refused(faces, says):
    with pytest.raises(ValueError, match=says): small()(faces)


def test_other_codes_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r'code must be \(n, 112\)'): small().decode(torch.zeros(1, 100))
    with pytest.raises(ValueError, match='multiple of 8'): FaceAnonymizer(width=12)
    with pytest.raises(ValueError, match='positive'): FaceGenerator(who=0)


@torch.no_grad()
def test_it_is_saved_and_restored(tmp_path):
    M, faces = small(), torch.rand(2, 3, 40, 40)
    again = load_anonymizer(save_anonymizer(tmp_path/'m.safetensors', M, seed=0))
    assert type(again) is FaceAnonymizer
    assert torch.equal(with_fixed_noise(again, 1)(faces), with_fixed_noise(M, 1)(faces))


@torch.no_grad()
def test_the_released_weights_draw_the_picture_they_drew():
    "Means of the quarters of one picture, in 255ths."
    M = Anonymizer.from_pretrained(RELEASED)
    assert M.price().item() == pytest.approx(102.18, abs=.01)
    code = torch.sin(torch.arange(M.generator.code_size)*1.7)[None]*2**.5  # variance 1, on every machine
    quarters = 255*torch.nn.functional.adaptive_avg_pool2d(M.decode(code), 2).flatten()
    assert quarters.tolist() == pytest.approx(QUARTERS, abs=.5)


def test_a_critic_and_a_reader_can_learn():
    critic, faces, actions = FaceCritic(10, 8), torch.rand(4, 3, 40, 40), torch.arange(4)
    whole, patches = critic(faces, actions, 1.)
    (whole.mean() + patches.mean()).backward()
    assert (whole.shape, patches.shape) == ((4,), (4, 100))
    assert critic.action.weight.grad[:4].abs().sum() > 0
    R, codes, names = CodeReader(12, 3, 32), torch.randn(30, 12), torch.arange(30) % 3
    optimizer = torch.optim.Adam(R.parameters(), 1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(R(codes), names)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < .1
