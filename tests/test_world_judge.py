"The closed-form judge of the world reads what others have read."
import json
from pathlib import Path

import pytest
import torch

from faceanon.evaluation.attackers import halve_images
from faceanon.evaluation.world_judge import judge_world, tune_on_world
from faceanon.evaluation.world_people import judge_world_people, rank_in_galleries
from faceanon.faces import to_float


def test_the_judge_is_calibrated_on_the_m_that_outsiders_have_read():
    "Ten pictures against ten: an attacker that cannot do what others did is not used on another M."
    path = Path(__file__).resolve().parents[1]/'figures'/'data'/'world_judge.json'
    rows = [row for row in json.loads(path.read_text())['rows'] if row['method'] == 'learned']
    def error(size): return min(row['eer'] for row in rows if row['size'] == size and row['releases'] == 1)
    assert error(10) <= .27 and error(20) < error(10) < error(5) < error(1)


def faces(people, each):
    own = torch.nn.functional.interpolate(torch.rand(people, 3, 4, 4), (16, 16))
    who = torch.arange(people).repeat_interleave(each)
    return (255*(own[who] + .05*torch.randn(len(who), 3, 16, 16)).clamp(0, 1)).round().byte(), who


def test_releases_of_one_picture_are_averaged_and_a_constant_is_at_chance():
    sets, views = dict(learned=faces(60, 8), tested=faces(20, 8)), dict(colours=lambda f: halve_images(to_float(f)))
    def noise(frames, boxes): return (.5 + .15*(frames - .5) + .4*torch.randn_like(frames)).clamp(0, 1)
    rows = judge_world(noise, sets, views, (1,), (1, 16), 5)
    def error(releases): return min(row['eer'] for row in rows if row['releases'] == releases)
    assert error(16) < error(1) - .08
    still = judge_world(lambda frames, boxes: torch.full_like(frames, .5), sets, views, (1, 4), (1, 16), 5)
    assert {row['releases'] for row in still} == {1}, "a method that draws nothing has one release"
    assert all(abs(row['eer'] - .5) < 1e-6 for row in still)


class Tiny(torch.nn.Module):
    "An embedding of 16 pixels."
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 4, 4), torch.nn.PReLU(16), torch.nn.Flatten(),
                                       torch.nn.Linear(16*16, 24))

    def embed(self, faces): return self.net(8*(faces - .5))


def test_a_recogniser_learns_what_a_method_leaves_and_nothing_of_a_constant():
    sets = dict(learned=faces(50, 6), tested=faces(16, 6))
    def pattern(frames, boxes): return .5 + .03*(frames - .5).flip(2)
    def read(method): return tune_on_world(method, sets, Tiny(), steps=60, batch=32, most_cycles=2, sizes=(1,),
                                           releases=(1,), lr=1e-2, rounds=2)
    told, flat = read(pattern), read(lambda frames, boxes: torch.full_like(frames, .5))
    assert min(row['eer'] for row in told['rows']) < .15 < told['validation'][0]['eer_clear']
    assert [row['steps'] for row in told['validation']] == [0, 60, 120]
    assert [row['eer'] for row in flat['rows'] + flat['validation']] == pytest.approx([.5]*7, abs=1e-6)


def test_a_gallery_that_grows_names_fewer_and_a_constant_names_nobody():
    scores, places = torch.randn(50, 400), torch.randint(50, (400,))
    scores[places, torch.arange(400)] += 2
    shares = [rank_in_galleries(scores, places, size) for size in (1, 5, 20, 50)]
    assert shares[0] == 1 and shares == sorted(shares, reverse=True)
    whole = (scores.argmax(0) == places).double().mean().item()
    assert shares[-1] == pytest.approx(whole)  # nobody is left out: nothing is expected, all is counted
    flat = [rank_in_galleries(torch.zeros(50, 400), places, size, k) for size, k in ((50, 1), (10, 1), (20, 5))]
    assert flat == pytest.approx([1/50, 1/10, 1/4])
    with pytest.raises(ValueError, match='size <= 50'): rank_in_galleries(scores, places, 51)


def test_an_attribute_that_survives_is_read_although_nobody_is_named():
    def people(count):
        shown, who = faces(count, 6)
        sign = torch.rand(count) < .5
        shown[:, :, :4, :4] = (60 + 120*sign[who]).byte()[:, None, None, None]
        return shown, who, dict(sign=sign[who])
    sets = dict(learned=people(50), tested=people(20))
    given = [{role: part[cut] for role, part in sets.items()} for cut in (slice(2), 2)]
    crowd, views = faces(20, 4), dict(colours=lambda f: halve_images(to_float(f)))
    def read(method): return judge_world_people(method, given[0], crowd, views, given[1], (10, 40), (1,), 10)
    found = read(lambda frames, boxes: frames*(torch.arange(16) < 4)*(torch.arange(16) < 4)[:, None])
    assert found['attributes'][0]['auc'] > .99 and max(row['rank1'] for row in found['ranks']) < .5
    flat = read(lambda frames, boxes: torch.zeros_like(frames))
    assert flat['attributes'][0]['auc'] == pytest.approx(.5)
    assert [row['rank1'] for row in flat['ranks']] == pytest.approx([1/10, 1/40])
