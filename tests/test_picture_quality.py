"What a picture keeps, beside slow and obvious recomputations, and under methods whose effect is known."
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import spearmanr

from faceanon.evaluation.picture_quality import (
    face_expression,
    face_pose,
    faces_still_found,
    frechet_distance,
    head_features,
    head_light,
    how_much_is_kept,
    identity_distance,
    landmarks_in_place,
    temporal_flicker,
)

FACE = torch.tensor([[30., 40], [70, 40], [50, 60], [35, 80], [65, 80]])


def clouds(seed, rows=400, width=5):
    gen = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=gen)
    return torch.randn(rows, width, generator=gen) @ mix + torch.randn(width, generator=gen)


@pytest.mark.parametrize('seed', range(3))
def test_frechet_is_the_formula_with_a_matrix_root(seed):
    one, other = clouds(seed), clouds(seed + 10, rows=300)
    (m, s), (n, t) = ((x.double().mean(0).numpy(), np.cov(x.double().numpy().T)) for x in (one, other))
    slow = ((m - n)**2).sum() + np.trace(s + t - 2*sqrtm(s @ t).real)
    assert frechet_distance(one, other) == pytest.approx(slow, rel=1e-6)
    assert frechet_distance(other, one) == pytest.approx(slow, rel=1e-6)


def test_frechet_of_two_known_gaussians():
    gen = torch.Generator().manual_seed(0)
    one = torch.randn(200_000, 2, generator=gen)*torch.tensor([1., 2.])
    other = torch.randn(200_000, 2, generator=gen)*torch.tensor([3., .5]) + torch.tensor([1., -2.])
    assert frechet_distance(one, other) == pytest.approx(1 + 4 + 2**2 + 1.5**2, rel=.02)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_frechet_stands_fewer_rows_than_features_and_grows_with_noise():
    heads = clouds(0, rows=40, width=100)
    noises = [frechet_distance(heads, heads + strength*torch.randn(40, 100)) for strength in (.5, 2., 8.)]
    assert math.isfinite(noises[0]) and noises == sorted(noises)


@pytest.mark.parametrize('bad', [torch.zeros(1, 3), torch.zeros(3), torch.full((4, 3), math.inf)])
def test_frechet_refuses_what_has_no_covariance(bad):
    with pytest.raises(ValueError, match='features'): frechet_distance(bad, torch.randn(5, 3))


def test_features_do_not_depend_on_the_batch_and_see_a_change():
    net = torch.nn.Conv2d(3, 4, 3).eval()
    faces = torch.randint(0, 256, (10, 3, 40, 40), dtype=torch.uint8)
    whole = head_features(faces, net, side=32, batch=10)
    assert torch.allclose(whole, head_features(faces, net, side=32, batch=3), atol=1e-5)
    dark, light = (head_features(torch.full_like(faces, level), net, side=32) for level in (0, 255))
    assert (dark - light).abs().max() > .1 > (light[0] - light[9]).abs().max()


def seen(boxes, points):
    return SimpleNamespace(detect=lambda frames: SimpleNamespace(boxes=torch.tensor(boxes), landmarks=points))


def test_the_face_at_the_place_counts_and_no_other():
    frames, own = torch.zeros(3, 3, 100, 100, dtype=torch.uint8), torch.tensor([[20, 20, 60, 60]]*3)
    boxes = [[0, 60, 60, 99, 99], [0, 22, 20, 62, 60], [0, 28, 20, 68, 60], [2, 60, 60, 99, 99]]
    found = landmarks_in_place(seen(boxes, torch.arange(4.)[:, None, None].expand(4, 5, 2)), frames, own)
    assert found[0].unique().tolist() == [1] and found[1:].isnan().all()


def test_share_and_error_are_over_heads_that_were_found_before():
    clear = FACE.expand(30, 5, 2).clone()
    clear[20:] = math.nan  # these do not count
    shipped = clear + torch.tensor([8., 0])
    shipped[:5], shipped[25:] = math.nan, FACE
    row = faces_still_found(clear, shipped, torch.arange(30)//2, rounds=50)
    assert (row['faces'], row['found']) == (20, .75) and row['nme'] == pytest.approx(.2)
    assert row['found_low'] < .75 < row['found_high']
    with pytest.raises(ValueError, match='no face'): faces_still_found(clear*math.nan, shipped, torch.arange(30))


def test_people_are_redrawn_and_not_pictures():
    same = torch.randn(20, generator=torch.Generator().manual_seed(1)).repeat_interleave(20)
    noisy = same + torch.randn(20, generator=torch.Generator().manual_seed(2)).repeat_interleave(20)
    rows = [how_much_is_kept(same, noisy, ids) for ids in (torch.arange(400)//20, torch.arange(400))]
    wide, narrow = (row['high'] - row['low'] for row in rows)
    assert rows[0]['correlation'] == pytest.approx(rows[1]['correlation']) and wide > 2*narrow


def test_what_is_shuffled_mirrored_or_constant_is_not_kept():
    values, ids = torch.randn(300, generator=torch.Generator().manual_seed(0)), torch.arange(300)//3
    def kept(shipped): return how_much_is_kept(values, shipped, ids)
    assert kept(values)['correlation'] == pytest.approx(1) and kept(-values)['correlation'] == pytest.approx(-1)
    assert abs(kept(values[torch.randperm(300)])['correlation']) < .2
    assert kept(torch.zeros(300))['correlation'] == 0
    half = torch.where(torch.arange(300) < 150, values + 2, math.nan)
    assert (kept(half)['faces'], kept(half)['off']) == (150, pytest.approx(2))
    assert kept(torch.where(torch.arange(300) < 9, values, math.nan))['correlation'] is None


def test_ties_and_one_wild_answer_do_not_decide():
    gen = torch.Generator().manual_seed(0)
    one = torch.randint(0, 5, (200,), generator=gen).float()
    other = one + torch.randint(0, 4, (200,), generator=gen)
    other[7] = 1e6
    found = how_much_is_kept(one, other, torch.arange(200)//2)['correlation']
    assert found == pytest.approx(spearmanr(one, other).statistic) and found > .5


def test_pose_does_not_depend_on_place_and_size():
    gen = torch.Generator().manual_seed(0)
    faces = FACE + 3*torch.randn(20, 5, 2, generator=gen)
    moved = face_pose(3*faces + torch.tensor([100., -40]))
    for name, values in face_pose(faces).items(): assert torch.allclose(values, moved[name], atol=1e-3), name
    mirrored = face_pose((faces*torch.tensor([-1., 1]))[:, [1, 0, 2, 4, 3]])
    assert torch.allclose(mirrored['turn'], -face_pose(faces)['turn'], atol=1e-4)
    assert torch.allclose(mirrored['roll'], -face_pose(faces)['roll'], atol=1e-3)
    assert face_pose(torch.full((1, 5, 2), math.nan))['turn'].isnan().all()


def test_an_opened_mouth_changes_the_mouth_and_not_the_eyes():
    shut = 50*torch.rand(6, 68, 2, generator=torch.Generator().manual_seed(0))
    wide = shut.clone()
    for upper, lower in ((61, 67), (62, 66), (63, 65)): wide[:, lower] = wide[:, upper] + torch.tensor([0., 90])
    before, after = face_expression(shut), face_expression(wide)
    assert (after['mouth_opening'] > before['mouth_opening']).all()
    assert torch.equal(before['eye_opening'], after['eye_opening'])
    assert face_expression(shut*math.nan)['smile'].isnan().all()


def test_light_is_told_by_its_side_and_not_by_the_background():
    faces = torch.full((3, 3, 40, 40), 90, dtype=torch.uint8)
    faces[1, :, :, 20:], faces[2, :, :10] = 180, 255  # the second is lit from the right, the third has a bright wall
    light = head_light(faces)
    assert light['light_across'].tolist() == pytest.approx([0, 1/3, 0], abs=1e-3)
    assert light['light_down'].tolist() == pytest.approx([0, 0, 0], abs=1e-3)
    assert light['brightness'][2] == light['brightness'][0] < light['brightness'][1]


def test_flicker_is_that_of_the_region_by_a_slow_sum():
    film = torch.randint(0, 256, (5, 3, 30, 40), dtype=torch.uint8)
    boxes = torch.tensor([[t, 2, t + 10, 12] for t in range(5)])
    x, slow = film.double().numpy()/255, []
    for t in range(1, 4): slow.append(np.abs(x[t-1] - 2*x[t] + x[t+1])[:, 2:12, t:t + 10].mean())
    assert temporal_flicker(film, boxes) == pytest.approx(np.mean(slow), rel=1e-5)
    with pytest.raises(ValueError, match='5 frames and 4 boxes'): temporal_flicker(film, boxes[:4])


def test_a_film_of_one_nobody_is_one_person():
    gen = torch.Generator().manual_seed(0)
    person, other = torch.randn(2, 64, generator=gen)
    track = person + .1*torch.randn(10, 64, generator=gen)
    assert identity_distance(track[:-1], track[1:]) < .05 < .7 < identity_distance(track, other.expand(10, 64))
    with pytest.raises(ValueError, match='10 and 1 faces'): identity_distance(track, other[None])
