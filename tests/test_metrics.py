"Every metric beside a slow, obvious recomputation."
import contextlib
import inspect
import io
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from faceanon.evaluation import metrics, score_arrays
from faceanon.evaluation.metrics import (
    auc,
    average_precision,
    best_threshold,
    bootstrap_interval,
    cross_pair_scores,
    eer,
    eer_by_identity_weights,
    frame_map,
    match_boxes,
    mean_over_classes,
    pair_scores,
    rank_k,
    roc,
    student_interval,
    tar_at_far,
    threshold_at_far,
    verification_error,
)
from faceanon.evaluation.score_arrays import chance_rank_k


def score_cases():
    "Random scores: smooth, with many ties, all equal, of one pair each, separated, swapped."
    gen = torch.Generator().manual_seed(0)
    for n, m in ((1, 1), (1, 9), (7, 3), (40, 90)):
        yield torch.randn(n, generator=gen) + 1, torch.randn(m, generator=gen)
        yield torch.randint(0, 4, (n,), generator=gen) / 4, torch.randint(-1, 3, (m,), generator=gen) / 4
        yield torch.full((n,), .3), torch.full((m,), .3)
        yield torch.rand(n, generator=gen) + 2, torch.rand(m, generator=gen)
        yield torch.rand(n, generator=gen), torch.rand(m, generator=gen) + 2


CASES = list(score_cases())


def rates(genuine, impostor, threshold):
    "By counting: (false accepts, true accepts), as shares."
    return (sum(s >= threshold for s in impostor.tolist()) / len(impostor),
            sum(s >= threshold for s in genuine.tolist()) / len(genuine))


@pytest.mark.parametrize('genuine,impostor', CASES)
def test_roc_counts_what_is_accepted_at_each_score(genuine, impostor):
    curve = roc(genuine, impostor)
    distinct = sorted({*genuine.tolist(), *impostor.tolist()}, reverse=True)
    assert curve.thresholds.tolist() == [math.inf, *distinct]
    for threshold, far, tar in zip(*(v.tolist() for v in curve)):
        assert (far, tar) == pytest.approx(rates(genuine, impostor, threshold), abs=1e-12)


@pytest.mark.parametrize('genuine,impostor', CASES)
def test_auc_is_the_chance_that_a_genuine_pair_wins(genuine, impostor):
    wins = [(g > i) + (g == i)/2 for g, i in itertools.product(genuine.tolist(), impostor.tolist())]
    assert auc(genuine, impostor) == pytest.approx(np.mean(wins), abs=1e-12)


@pytest.mark.parametrize('genuine,impostor', CASES)
def test_eer_is_where_the_errors_of_a_mixed_guard_meet(genuine, impostor):
    "A guard may use one of two neighbouring thresholds by lot: walk along that mixture in small steps."
    points = [(0., 0.)] + [rates(genuine, impostor, t) for t in sorted({*genuine.tolist(), *impostor.tolist()})[::-1]]
    share = np.linspace(0, 1, 401)[:, None]
    walk = np.concatenate([(1 - share)*np.array(a) + share*np.array(b) for a, b in zip(points, points[1:])])
    far, _ = min(walk.tolist(), key=lambda p: abs(p[0] - (1 - p[1])))
    assert eer(genuine, impostor) == pytest.approx(far, abs=5e-3)


@pytest.mark.parametrize('genuine,impostor', CASES)
@pytest.mark.parametrize('far', [0, .001, .1, .25, .3, .5, .75, 1])
def test_threshold_is_the_lowest_that_keeps_to_the_far(genuine, impostor, far):
    threshold = threshold_at_far(impostor, far)
    assert rates(genuine, impostor, threshold)[0] <= far + 1e-12
    below = [s for s in impostor.tolist() if s < threshold]
    assert not below or rates(genuine, impostor, max(below))[0] > far
    assert tar_at_far(genuine, impostor, far) == rates(genuine, impostor, threshold)[1]


@pytest.mark.parametrize('n', [3, 7, 10, 29, 100])
def test_far_of_k_in_n_admits_exactly_k(n):
    impostor = torch.arange(n).double()
    for k in range(n + 1):
        assert (impostor >= threshold_at_far(impostor, k/n)).sum() == k


@pytest.mark.parametrize('genuine,impostor', CASES)
def test_best_threshold_has_the_least_error(genuine, impostor):
    least = verification_error(genuine, impostor, best_threshold(genuine, impostor))
    for threshold in [-math.inf, math.inf, *genuine.tolist(), *impostor.tolist()]:
        far, tar = rates(genuine, impostor, threshold)
        error = verification_error(genuine, impostor, threshold)
        assert error == pytest.approx((far + 1 - tar)/2, abs=1e-12)
        assert least <= error + 1e-12


def test_a_score_equal_to_the_threshold_is_accepted():
    assert verification_error(torch.tensor([.5]), torch.tensor([.4]), .5) == 0
    assert verification_error(torch.tensor([.6]), torch.tensor([.5]), .5) == .5


@pytest.mark.parametrize('bad,error,says', [
    (torch.tensor([]), ValueError, 'at least one pair'),
    (torch.tensor([[.1]]), ValueError, 'one dimension'),
    (torch.tensor([1, 2]), TypeError, 'floating point'),
    (torch.tensor([math.nan]), ValueError, 'NaN'),
    (torch.tensor([math.inf]), ValueError, 'infinite'),
])
@pytest.mark.parametrize('measure', [roc, eer, auc, best_threshold, lambda g, i: verification_error(g, i, .5),
                                     lambda g, i: tar_at_far(g, i, .1)])
def test_scores_that_cannot_be_ranked_are_refused(measure, bad, error, says):
    good = torch.tensor([.1, .2])
    for pair in ((bad, good), (good, bad)):
        with pytest.raises(error, match=says): measure(*pair)


@pytest.mark.parametrize('far', [-.1, 1.1, math.nan])
def test_a_far_outside_0_to_1_is_refused(far):
    with pytest.raises(ValueError, match='far must lie'): threshold_at_far(torch.tensor([.1]), far)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('k', [1, 2, 5, 6])
def test_rank_k_by_sorting_and_by_lot(seed, k):
    gen = torch.Generator().manual_seed(seed)
    logits, ids = torch.randn(50, 6, generator=gen), torch.randint(6, (50,), generator=gen)
    named = [i in row.sort(descending=True).indices[:k].tolist() for i, row in zip(ids.tolist(), logits)]
    assert rank_k(logits, ids, k) == pytest.approx(np.mean(named), abs=1e-12)
    tied = (logits > 0).float()
    lots = tied + torch.rand(1000, 50, 6, generator=gen)/2  # settles ties only
    place = (lots > lots.gather(2, ids.expand(1000, 50)[..., None])).sum(2)
    assert rank_k(tied, ids, k) == pytest.approx((place < k).float().mean().item(), abs=.01)


def test_rank_k_refuses_what_makes_no_sense():
    logits, ids = torch.rand(3, 4), torch.tensor([0, 1, 2])
    assert chance_rank_k(4, 4) == rank_k(logits, ids, 4) == 1
    for k in (0, 5):
        with pytest.raises(ValueError, match='k must lie'): rank_k(logits, ids, k)
    for bad_logits, bad_ids, says in ((logits[:0], ids[:0], 'n > 0'), (logits[0], ids, 'n > 0'),
                                      (logits, ids[:2], 'ids of'), (logits, ids - 1, 'ids must lie'),
                                      (logits*math.nan, ids, 'NaN')):
        with pytest.raises(ValueError, match=says): rank_k(bad_logits, bad_ids, 1)


@pytest.mark.parametrize('seed', range(3))
def test_pairs_one_by_one(seed):
    gen = torch.Generator().manual_seed(seed)
    rows, others = torch.randn(2, 12, 5, generator=gen)
    ids = torch.randint(3, (12,), generator=gen)
    cosine = lambda a, b: float(a @ b / a.norm() / b.norm())
    for scores, pairs in ((pair_scores(rows, ids), [(i, j, rows) for i in range(12) for j in range(i + 1, 12)]),
                          (cross_pair_scores(rows, others, ids),
                           [(i, j, others) for i in range(12) for j in range(12) if i != j])):
        for answer, same in zip(scores, (True, False)):
            want = [cosine(rows[i], table[j]) for i, j, table in pairs if (ids[i] == ids[j]) == same]
            assert sorted(answer.tolist()) == pytest.approx(sorted(want), abs=1e-5)


def test_a_constant_embedding_is_at_chance():
    same, other = pair_scores(torch.ones(6, 4), torch.tensor([0, 0, 1, 1, 2, 2]))
    assert eer(same, other) == auc(same, other) == .5
    same, other = pair_scores(torch.zeros(6, 4), torch.tensor([0, 0, 1, 1, 2, 2]))
    assert eer(same, other) == .5


def test_pairs_need_two_people_and_two_pictures():
    rows = torch.rand(3, 4)
    for ids in (torch.zeros(3).long(), torch.arange(3)):
        with pytest.raises(ValueError, match='at least two people'): pair_scores(rows, ids)
    with pytest.raises(ValueError, match='ids of'): pair_scores(rows, torch.tensor([0, 0]))
    with pytest.raises(ValueError, match='must be'): pair_scores(rows[0], torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ValueError, match='differ in shape'): cross_pair_scores(rows, rows[:2], torch.tensor([0, 0, 1]))


@pytest.mark.parametrize('cross', [False, True])
def test_eer_by_people_weights_each_pair_as_often_as_it_was_drawn(cross):
    gen = torch.Generator().manual_seed(0)
    ids = torch.arange(6).repeat_interleave(5)
    rows, others = (torch.randn(6, 8, generator=gen)[ids] + torch.randn(30, 8, generator=gen) for _ in range(2))
    people, statistic = eer_by_identity_weights(rows, ids, 4096, others if cross else None)
    unit, columns = (torch.nn.functional.normalize(r, dim=1) for r in (rows, others if cross else rows))
    pairs = list(itertools.permutations(range(30), 2) if cross else itertools.combinations(range(30), 2))
    for counts in ([1]*6, [2, 0, 1, 1, 0, 2], [0, 0, 3, 3, 0, 0]):
        same, other = [], []
        for i, j in pairs:
            a, b = counts[ids[i]], counts[ids[j]]
            if ids[i] == ids[j]: same += [float(unit[i] @ columns[j])] * a
            else: other += [float(unit[i] @ columns[j])] * (a*b)
        want = eer(torch.tensor(same), torch.tensor(other))
        assert statistic(torch.tensor(counts).double()) == pytest.approx(want, abs=.005)
    assert people == 6
    assert math.isnan(statistic(torch.tensor([6., 0, 0, 0, 0, 0]).double()))


def test_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    values = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()
    mean = lambda counts: float(counts @ values / counts.sum())
    low, high = bootstrap_interval(200, mean, rounds=2000)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2*1.96*values.std().item()/200**.5, rel=.1)
    assert bootstrap_interval(200, mean, rounds=50, seed=1) != bootstrap_interval(200, mean, rounds=50, seed=2)
    with pytest.raises(ValueError, match='at least 2'): bootstrap_interval(1, mean)
    with pytest.raises(ValueError, match='level'): bootstrap_interval(2, mean, level=95)
    with pytest.raises(ValueError, match='every round'): bootstrap_interval(2, lambda counts: math.nan)


@pytest.mark.parametrize('n', [2, 3, 5, 30])
@pytest.mark.parametrize('level', [.8, .95, .99])
def test_mean_interval_is_students(n, level):
    values = np.random.default_rng(n).normal(size=n)
    mean, half = student_interval(values, level)
    assert mean == pytest.approx(values.mean())
    assert half == pytest.approx(student.ppf((1 + level)/2, n - 1)*values.std(ddof=1)/n**.5, rel=1e-4)


def test_mean_interval_of_one_or_none():
    assert student_interval([.3])[0] == .3 and math.isnan(student_interval([.3])[1])
    for bad in ([], [[.1, .2]], [math.inf]):
        with pytest.raises(ValueError): student_interval(bad)


# Detection: a slow oracle, by the words of the rule, and pycocotools

def slow_iou(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0: return 0.
    area = lambda box: (box[2] - box[0])*(box[3] - box[1])
    return wide*high / (area(a) + area(b) - wide*high)


def slow_ap(detections, truths, label, iou=.5):
    "Area under the filled curve, by looking at every recall level."
    ranked = sorted(((float(s), f, b.tolist()) for f, d in enumerate(detections)
                     for b, l, s in zip(d['boxes'], d['labels'], d['scores']) if l == label), key=lambda r: -r[0])
    wanted = [(f, b.tolist()) for f, t in enumerate(truths) for b, l in zip(t['boxes'], t['labels']) if l == label]
    if not wanted: return None
    points, taken, right = [], set(), 0
    for n, (_, frame, box) in enumerate(ranked, 1):
        overlap, best = max(((slow_iou(box, b), w) for w, (f, b) in enumerate(wanted) if f == frame), default=(0, -1),
                            key=lambda c: c[0])
        if overlap > iou and best not in taken:
            taken.add(best)
            right += 1
        points.append((right/len(wanted), right/n))
    return sum(max((p for r, p in points if r >= (k + 1)/len(wanted) - 1e-12), default=0)
               for k in range(len(wanted))) / len(wanted)


def random_frames(seed, count=12, classes=3, apart=False):
    "Truths, and detections that are moved, missing, doubled or invented; `apart` keeps truths from overlapping."
    rng, truths, detections = np.random.default_rng(seed), [], []
    for _ in range(count):
        corners = rng.permutation([(x, y) for x in (0, 60, 120) for y in (0, 60, 120)])[:rng.integers(0, 5)]
        if not apart: corners = corners / 4
        boxes = np.array([[x, y, x + 40, y + 40] for x, y in corners], dtype=float).reshape(-1, 4)
        labels = rng.integers(1, classes + 1, len(boxes))
        moved = np.repeat(boxes, 2, 0) + rng.normal(0, 6, (2*len(boxes), 4))
        kept = rng.random(len(moved)) < .7
        junk = rng.uniform(0, 60, (rng.integers(0, 3), 2))
        found = np.concatenate([moved[kept], np.concatenate([junk, junk + 40], 1)])
        names = np.concatenate([np.repeat(labels, 2)[kept], rng.integers(1, classes + 1, len(junk))])
        order = rng.permutation(len(found))
        truths.append(dict(boxes=torch.from_numpy(boxes), labels=torch.from_numpy(labels)))
        detections.append(dict(boxes=torch.from_numpy(found[order]), labels=torch.from_numpy(names[order]),
                               scores=torch.from_numpy(rng.random(len(found)))))
    return detections, truths


NAMES = ['a', 'b', 'c']


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('iou', [.3, .5, .75])
def test_frame_map_equals_the_slow_oracle(seed, iou):
    detections, truths = random_frames(seed)
    got = frame_map(detections, truths, NAMES, iou)
    want = {n: slow_ap(detections, truths, label, iou) for label, n in enumerate(NAMES, 1)}
    assert got['per_class'] == pytest.approx(want, abs=1e-9)
    assert got['mean'] == pytest.approx(np.mean([v for v in want.values() if v is not None]), abs=1e-9)


def test_equal_scores_keep_their_order():
    for seed in range(6):
        detections, truths = random_frames(seed)
        for d in detections: d['scores'] = (d['scores']*3).round()/3
        want = {n: slow_ap(detections, truths, label) for label, n in enumerate(NAMES, 1)}
        assert frame_map(detections, truths, NAMES)['per_class'] == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize('seed', range(6))
def test_frame_map_equals_coco_read_at_every_recall(seed):
    """COCO lets a detection take the *next best* free truth and accepts an overlap of exactly 1/2, so the truths lie
    apart and no overlap is 1/2. Its 101 recall levels are replaced by the levels 1/n .. n/n: then its mean of filled
    precisions is the all-point area."""
    coco, cocoeval = pytest.importorskip('pycocotools.coco'), pytest.importorskip('pycocotools.cocoeval')
    detections, truths = random_frames(seed, apart=True)
    xywh = lambda b: [b[0], b[1], b[2] - b[0], b[3] - b[1]]
    marks = [dict(id=n, image_id=f, category_id=int(l), bbox=xywh(b), area=(b[2]-b[0])*(b[3]-b[1]), iscrowd=0)
             for n, (f, b, l) in enumerate(((f, b.tolist(), l) for f, t in enumerate(truths)
                                            for b, l in zip(t['boxes'], t['labels'])), 1)]
    found = [dict(image_id=f, category_id=int(l), bbox=xywh(b.tolist()), score=float(s))
             for f, d in enumerate(detections) for b, l, s in zip(d['boxes'], d['labels'], d['scores'])]
    got = frame_map(detections, truths, NAMES)['per_class']
    with contextlib.redirect_stdout(io.StringIO()):
        there = coco.COCO()
        there.dataset = dict(info={}, images=[dict(id=f) for f in range(len(truths))], annotations=marks,
                             categories=[dict(id=l) for l in (1, 2, 3)])
        there.createIndex()
        for label, name in enumerate(NAMES, 1):
            count = sum(m['category_id'] == label for m in marks)
            judge = cocoeval.COCOeval(there, there.loadRes(found), 'bbox')
            judge.params.catIds, judge.params.iouThrs = [label], np.array([.5])
            judge.params.recThrs = np.arange(1, count + 1)/count - 1e-9
            judge.evaluate()
            judge.accumulate()
            assert got[name] == pytest.approx(judge.eval['precision'][0, :, 0, 0, -1].mean(), abs=1e-9)


def test_frames_without_boxes_count():
    none = dict(boxes=torch.zeros(0, 4), labels=torch.zeros(0).long(), scores=torch.zeros(0))
    one = dict(boxes=torch.tensor([[0., 0, 10, 10]]), labels=torch.tensor([1]), scores=torch.tensor([.5]))
    assert frame_map([none, one], [one, one], ['a'])['mean'] == .5
    assert frame_map([one, one], [none, one], ['a'])['mean'] == .5  # the false one comes first
    assert frame_map([none], [one], ['a'])['mean'] == 0
    assert frame_map([one], [none], ['a']) == dict(per_class=dict(a=None), mean=None)
    assert frame_map([one], [one], ['a', 'b'])['mean'] == 1


def test_an_overlap_of_exactly_half_is_a_miss():
    truth = np.array([[0., 0, 8, 8]])
    assert match_boxes(np.array([[0., 0, 8, 4]]), truth) == [False]
    assert match_boxes(np.array([[0., 0, 8, 4.001]]), truth) == [True]
    assert match_boxes(np.array([[0., 0, 8, 4]]), truth, iou=.49) == [True]


def test_a_truth_is_found_once():
    truth = np.array([[0., 0, 8, 8]])
    assert match_boxes(np.repeat(truth, 3, 0), truth) == [True, False, False]
    assert match_boxes(np.zeros((1, 4)), np.zeros((1, 4))) == [False]  # empty boxes overlap nothing


@pytest.mark.parametrize('change,says', [
    (dict(boxes=torch.zeros(1, 5)), 'must be'), (dict(scores=torch.zeros(2)), 'must be'),
    (dict(scores=torch.tensor([math.nan])), 'NaN'), (dict(boxes=torch.full((1, 4), math.nan)), 'NaN'),
    (dict(labels=torch.tensor([0])), 'background'), (dict(labels=torch.tensor([3])), 'labels must lie')])
def test_bad_detections_are_refused(change, says):
    good = dict(boxes=torch.tensor([[0., 0, 10, 10]]), labels=torch.tensor([1]), scores=torch.tensor([.5]))
    with pytest.raises(ValueError, match=says): frame_map([good | change], [good], ['a', 'b'])
    with pytest.raises(ValueError, match='iou'): frame_map([good], [good], ['a'], iou=1)


def test_mean_over_some_classes():
    per_class = dict(a=.2, b=.4, c=None)
    assert mean_over_classes(per_class, ['a', 'b', 'c']) == pytest.approx(.3)
    assert mean_over_classes(per_class, ['c']) is None
    with pytest.raises(ValueError, match="'d'"): mean_over_classes(per_class, ['d'])


def test_average_precision_refuses_lists_of_two_lengths():
    with pytest.raises(ValueError, match='one length'): average_precision([.1, .2], [True], 3)


# Planted faults: each changes one thing in the source, and the oracles above must notice

FAULTS = {
    'a tie at the threshold refused': ('genuine < threshold', 'genuine <= threshold',
                                       test_a_score_equal_to_the_threshold_is_accepted),
    'an impostor at the threshold refused': ('impostor >= threshold', 'impostor > threshold',
                                             test_a_score_equal_to_the_threshold_is_accepted),
    'far off by one': ('topk(allowed + 1)', 'topk(max(allowed, 1))', lambda: test_far_of_k_in_n_admits_exactly_k(10)),
    'threshold accepts the refused': ('return math.nextafter(float(refused), math.inf)', 'return float(refused)',
                                      lambda: test_far_of_k_in_n_admits_exactly_k(10)),
    'rank k + 1': ('(k - above)', '(k + 1 - above)', lambda: test_rank_k_by_sorting_and_by_lot(0, 1)),
    'ties always won': ('((k - above) / level)', '(k - above)', lambda: test_rank_k_by_sorting_and_by_lot(0, 2)),
    'half an overlap accepted': ('row[best] > iou', 'row[best] >= iou', test_an_overlap_of_exactly_half_is_a_miss),
    'a truth found twice': ('and best not in taken', '', test_a_truth_is_found_once),
    'dents not filled': ('filled = np.maximum.accumulate(precision[::-1])[::-1]', 'filled = precision',
                         lambda: [test_frame_map_equals_the_slow_oracle(s, .5) for s in range(6)]),
    'a class without truths counts 0': ('return None\n    found', 'return 0.\n    found',
                                        test_frames_without_boxes_count),
    'each pair with itself': ('ones_like(same).triu(1)', 'ones_like(same).triu(0)', lambda: test_pairs_one_by_one(0)),
    'equal scores split': ('np.unique(np.concatenate(', 'np.sort(np.concatenate(',
                           lambda: test_roc_counts_what_is_accepted_at_each_score(*CASES[2])),
    'a score equal to the threshold refused': ('np.sort(scores), thresholds)', "np.sort(scores), thresholds, 'right')",
                                               lambda: test_roc_counts_what_is_accepted_at_each_score(*CASES[1])),
    'errors that miss each other': ('gap = far - (1 - tar)', 'gap = far - (1 - tar)/2',
                                    lambda: test_eer_is_where_the_errors_of_a_mixed_guard_meet(*CASES[-5])),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_is_caught(fault, monkeypatch):
    right, wrong, check = FAULTS[fault]
    sources = {module.__file__: inspect.getsource(module) for module in (metrics, score_arrays)}
    assert sum(source.count(right) for source in sources.values()) == 1, f"{right!r} is to be planted in one place"
    faulty = dict(__name__='faceanon.evaluation.metrics', __package__='faceanon.evaluation')
    for file, source in sources.items(): exec(compile(source.replace(right, wrong), file, 'exec'), faulty)
    for name in metrics.__all__:
        if name in globals(): monkeypatch.setitem(globals(), name, faulty[name])
    with pytest.raises((AssertionError, ValueError)): check()
