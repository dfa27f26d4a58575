"The closed-form judge of the world reads what others have read."
import json
from pathlib import Path

import torch

from faceanon.evaluation.attackers import halve_images
from faceanon.evaluation.world_judge import judge_world
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
