"Losses beside slow, obvious re-computations, and faults that these checks have to catch."
import math

import pytest
import torch
import torch.nn.functional as F

from faceanon.training import losses
from faceanon.training.losses import (
    angular_margin,
    angular_softmax_loss,
    anneal_weight,
    confusion_loss,
    negative_loss,
    photorealistic_loss,
    rate_loss,
    read_loss_rows,
)


def scored(n=30, c=7, d=5, dtype=torch.float64):
    "Embeddings, people's directions, and what D makes of them."
    x, w = 3*torch.randn(n, d, dtype=dtype), F.normalize(torch.randn(c, d, dtype=dtype), dim=1)
    return x @ w.T, x.norm(dim=1), torch.arange(n) % c


def slow_angular_softmax(logits, norms, ids, margin, weight):
    "Face by face, with arccos, as the paper writes it."
    total = 0.
    for row, norm, y in zip(logits.tolist(), norms.tolist(), ids.tolist()):
        theta = math.acos(max(-1., min(1., row[y]/norm)))
        k = 0
        while theta > (k + 1)*math.pi/margin: k += 1
        psi = (-1)**k*math.cos(margin*theta) - 2*k
        z = math.cos(theta) - math.cos(theta)/(1 + weight) + psi/(1 + weight)
        others = sum(math.exp(score) for j, score in enumerate(row) if j != y)
        total += -math.log(math.exp(norm*z)/(math.exp(norm*z) + others))
    return total/len(ids)


@pytest.mark.parametrize('margin', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('weight', [0, 5, 1500])
def test_angular_softmax_is_the_papers(margin, weight):
    logits, norms, ids = scored()
    fast = angular_softmax_loss(logits, norms, ids, margin, weight).item()
    assert fast == pytest.approx(slow_angular_softmax(logits, norms, ids, margin, weight), rel=1e-9)


@pytest.mark.parametrize('fault', ['sign of k', 'margin', 'sign of the loss', 'weight'])
def test_the_oracle_sees_a_wrong_sign(fault, monkeypatch):
    logits, norms, ids = scored()
    right = slow_angular_softmax(logits, norms, ids, 4, 5)
    if fault == 'sign of k': monkeypatch.setattr(losses, 'angular_margin', lambda c, m: 2*c - angular_margin(c, m))
    if fault == 'margin': monkeypatch.setattr(losses, 'angular_margin', lambda cos, m: angular_margin(cos, m - 1))
    found = losses.angular_softmax_loss(logits, norms, ids, 4, 5000 if fault == 'weight' else 5).item()
    if fault == 'sign of the loss': found = losses.negative_loss(logits, norms, ids, 4, 5).item()
    assert found != pytest.approx(right, rel=1e-3)


def test_angular_softmax_has_the_right_gradient():
    embeddings, directions = torch.randn(6, 5).double(), F.normalize(torch.randn(4, 5).double(), dim=1)
    ids = torch.tensor([0, 1, 2, 3, 0, 1])
    loss = lambda x: angular_softmax_loss(x @ directions.T, x.norm(dim=1), ids, 4, 5)
    assert torch.autograd.gradcheck(loss, embeddings.requires_grad_())


@pytest.mark.parametrize('cos', [1., -1., 0., math.cos(math.pi/4), 1 + 1e-7])
def test_the_margin_has_a_finite_slope_everywhere(cos):
    c = torch.tensor(cos, requires_grad=True)
    angular_margin(c, 4).backward()
    assert c.grad.isfinite() and c.grad.abs() <= 16.01


def test_a_face_on_its_persons_direction_and_a_face_of_length_zero_stay_finite():
    logits = torch.tensor([[9., 0.], [0., 0.]], requires_grad=True)
    loss = angular_softmax_loss(logits, torch.tensor([9., 0.]), torch.tensor([0, 1]), 4, 5)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def learned_angle(weight, margin=4):
    "Mean angle, in radians, by which faces stand nearer to their own person than to any other after training."
    torch.manual_seed(0)
    ids = torch.arange(100) % 10
    faces = F.one_hot(ids, 10).float() + 0.4*torch.randn(100, 10)
    embed, people = torch.nn.Linear(10, 8), torch.nn.Parameter(torch.randn(10, 8))
    opt = torch.optim.Adam([*embed.parameters(), people], 0.02)
    for step in range(300):
        x = embed(faces)
        logits = x @ F.normalize(people, dim=1).T
        loss = angular_softmax_loss(logits, x.norm(dim=1), ids, margin, weight(step))
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        x = embed(faces)
        theta = (F.normalize(x, dim=1) @ F.normalize(people, dim=1).T).clamp(-1, 1).acos()
    own = theta.gather(1, ids[:, None])[:, 0]
    others = theta.scatter(1, ids[:, None], math.inf).amin(1)
    return (others - own).mean().item()


def test_the_margin_acts():
    logits, norms, ids = scored()
    assert angular_softmax_loss(logits, norms, ids, 4, 5) > angular_softmax_loss(logits, norms, ids, 4, 1e9) + 0.1
    schedule = lambda step: anneal_weight(40*step)  # 300 steps here reach the floor as 3,000 do there
    without = learned_angle(lambda step: 1e9)
    assert learned_angle(schedule) > 1.15*without
    assert learned_angle(schedule, margin=1) == pytest.approx(without, rel=0.01)
    assert learned_angle(lambda step: anneal_weight(1)) < 1.05*without  # a loss object made anew on each call


def anneal_moves(schedule):
    "What training relies on: full strength in the end, a start without margin, and a fall in between."
    weights = [schedule(t) for t in range(0, 4000, 10)]
    return weights[0] == 1500 and weights[-1] == 5 and all(a > b or b == 5 for a, b in zip(weights, weights[1:]))


def test_the_anneal_moves_with_the_step_and_with_nothing_else():
    assert anneal_moves(anneal_weight)
    assert [anneal_weight(7) for _ in range(5)] == pytest.approx([1500/1.7]*5)
    logits, norms, ids = scored()
    by_step = [angular_softmax_loss(logits, norms, ids, 4, anneal_weight(t)).item() for t in (0, 100, 1000, 3000)]
    assert by_step == sorted(by_step) and by_step[0] < by_step[-1] - 0.1


@pytest.mark.parametrize('fault', [lambda step: 1500/1.1, lambda step: 5, lambda step: 1500/(1 + 0.1*step)])
def test_an_anneal_that_never_moves_or_never_stops_is_seen(fault): assert not anneal_moves(fault)


@pytest.mark.parametrize('adversarial', [
    lambda logits, norms, ids: negative_loss(logits, norms, ids, 4, 5),
    lambda logits, norms, ids: confusion_loss(logits),
])
def test_going_down_an_adversarial_loss_hides_the_name(adversarial):
    "A wrong sign would make D surer: ask D, not the loss."
    torch.manual_seed(0)
    ids = torch.arange(20) % 5
    people = F.normalize(torch.randn(5, 8), dim=1)
    x = (2*people[ids] + 0.3*torch.randn(20, 8)).requires_grad_()
    truth = lambda: F.cross_entropy(x @ people.T, ids).item()
    start, opt = truth(), torch.optim.SGD([x], 0.5)
    for _ in range(100):
        opt.zero_grad()
        adversarial(x @ people.T, x.norm(dim=1), ids).backward()
        opt.step()
    assert truth() > start + 0.3


def test_negative_loss_is_minus_ds_loss_and_has_no_floor():
    logits, norms, ids = scored()
    assert negative_loss(logits, norms, ids, 4, 5) == -angular_softmax_loss(logits, norms, ids, 4, 5)
    falls = [negative_loss(s*logits, s*norms, ids, 4, 5).item() for s in (1, 10, 100)]
    assert falls[0] > falls[1] > falls[2] and falls[2] < 50*falls[0]


def test_confusion_is_the_divergence_from_uniform():
    logits, *_ = scored()
    p, total = logits.softmax(1), 0.
    for row in p.tolist(): total += sum(1/len(row)*math.log(1/len(row)/q) for q in row)/len(p)
    assert confusion_loss(logits).item() == pytest.approx(total)
    assert confusion_loss(torch.full((3, 11), 2.5)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('noise', [0.12, 0.25, 1.])
def test_rate_is_the_divergence_it_says(noise):
    codes = torch.randn(8, 2, 3, 3).double()
    total = 0.
    for code in codes:
        q, p = torch.distributions.Normal(code, noise), torch.distributions.Normal(torch.zeros_like(code), noise)
        total += torch.distributions.kl_divergence(q, p).sum().item()/8
    assert rate_loss(codes, noise).item() == pytest.approx(total)


@pytest.mark.parametrize('ids, norms, error, says', [
    ([0, 7], [9, 9], ValueError, "[0, 7), got 0 to 7"),
    ([-1, 0], [9, 9], ValueError, "got -1 to 0"),
    ([0], [9, 9], ValueError, "ids must be (2,)"),
    ([0, 1], [9], ValueError, "norms must be (2,)"),
    ([0., 1.], [9, 9], TypeError, "int64"),
    ([0, 1], [.1, 9], ValueError, "larger than their face's norm"),
])
def test_wrong_scores_are_refused(ids, norms, error, says):
    with pytest.raises(error) as e:
        angular_softmax_loss(torch.ones(2, 7), torch.tensor(norms).float(), torch.tensor(ids), 4, 5)
    assert says in str(e.value)


@pytest.mark.parametrize('call, says', [
    (lambda: angular_margin(torch.zeros(1), 1.5), "whole number"),
    (lambda: angular_softmax_loss(torch.ones(1, 2), torch.ones(1), torch.tensor([0]), 4, math.nan), ">= 0, got nan"),
    (lambda: confusion_loss(torch.zeros(0, 4)), "(0, 4)"),
    (lambda: photorealistic_loss(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4), 1), "differ in shape"),
    (lambda: rate_loss(torch.zeros(2, 3), -1), "got -1"),
    (lambda: losses.detection_loss(dict(a=torch.zeros(2))), "{'a': (2,)}"),
])
def test_wrong_arguments_are_refused(call, says):
    with pytest.raises(ValueError) as e: call()
    assert says in str(e.value)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_and_shows_all_terms(bad):
    fine = dict(step=6, loss_adv=-3., loss_l1=torch.tensor(0.25), loss_det=torch.tensor(2.))
    assert read_loss_rows([fine]*2) == [dict(step=6, loss_adv=-3., loss_l1=.25, loss_det=2.)]*2
    with pytest.raises(FloatingPointError) as e: read_loss_rows([fine, fine | dict(step=7, loss_adv=torch.tensor(bad))])
    assert all(said in str(e.value) for said in ("at step 7", f"loss_adv={bad}", "loss_l1=0.25", "loss_det=2"))
