"Tubes and their measures beside slow, obvious recomputations: all paths, every frame, every true tube."
import itertools
import math

import numpy as np
import pytest
import torch

from faceanon.evaluation import video_metrics
from faceanon.evaluation.metrics import frame_map
from faceanon.evaluation.video_metrics import (
    face_detector_ap,
    flicker,
    link_tubes,
    normalized_mean_error,
    tube_iou,
    video_map,
)

NAMES = ['walk', 'run', 'jump']


def make_tube(first, boxes, **more):
    return dict(label=1, frames=(first, first + len(boxes)), boxes=boxes) | more


def slow_iou(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0: return 0.
    area = lambda box: (box[2] - box[0])*(box[3] - box[1])
    return wide*high / (area(a) + area(b) - wide*high)


def some_boxes(rng, count, spread=20):
    corners = rng.integers(0, spread, (count, 2))
    return np.concatenate([corners, corners + rng.integers(8, 24, (count, 2))], 1).astype(float)


# Overlap

def slow_overlap(a, b):
    "Frame by frame: the mean where both are, and the share of frames that both have."
    boxes = [dict(zip(range(*t['frames']), np.asarray(t['boxes']).tolist())) for t in (a, b)]
    both = [f for f in boxes[0] if f in boxes[1]]
    if not both: return 0.
    spatial = sum(slow_iou(boxes[0][f], boxes[1][f]) for f in both)/len(both)
    return spatial*len(both)/len({*boxes[0], *boxes[1]})


@pytest.mark.parametrize('seed', range(10))
def test_overlap_equals_a_count_of_frames(seed):
    rng = np.random.default_rng(seed)
    pairs = [[make_tube(rng.integers(0, 9), some_boxes(rng, rng.integers(1, 9))) for _ in range(2)] for _ in range(20)]
    want = [slow_overlap(a, b) for a, b in pairs]
    assert [tube_iou(a, b) for a, b in pairs] == pytest.approx(want, abs=1e-12)
    assert [tube_iou(b, a) for a, b in pairs] == pytest.approx(want, abs=1e-12)
    assert 0 < sum(want) and all(tube_iou(a, a) == 1 for a, _ in pairs)


# Linking

def slow_links(found, label, iou_weight=1., min_iou=.2, gap=5):
    "Try every path there is, take the best away, and begin again: (path's boxes, worth), best first."
    free = [(t, b, float(s)) for t, d in enumerate(found)
            for b, l, s in zip(np.asarray(d['boxes']).tolist(), d['labels'], d['scores']) if l == label]
    while free:
        best, path = -1, ()
        for size in range(1, len(found) + 1):
            for rows in itertools.combinations(free, size):
                steps = list(zip(rows, rows[1:]))
                if any(not 1 <= b[0] - a[0] <= gap + 1 or slow_iou(a[1], b[1]) <= min_iou for a, b in steps): continue
                worth = sum(r[2] for r in rows) + iou_weight*sum(slow_iou(a[1], b[1]) for a, b in steps)
                if worth > best: best, path = worth, rows
        yield path
        free = [r for r in free if r not in path]


def slow_tubes(found, label, min_length=8, **settings):
    "The paths, with boxes put between known ones."
    for path in slow_links(found, label, **settings):
        boxes = {t: b for t, b, _ in path}
        for (t, a, _), (u, b, _) in zip(path, path[1:]):
            for f in range(t + 1, u): boxes[f] = [x + (y - x)*(f - t)/(u - t) for x, y in zip(a, b)]
        first, end = min(boxes), max(boxes) + 1
        yield make_tube(first, [boxes[f] for f in range(first, end)], label=label,
                        score=sum(s for *_, s in path)/max(end - first, min_length))


def some_clip(seed, frames=6, most=5):
    "Boxes of two classes at a few places, some frames empty."
    rng, found = np.random.default_rng(seed), []
    for count in rng.integers(0, most + 1, frames):
        found.append(dict(boxes=some_boxes(rng, count, 8), labels=1 + (rng.random(count) < .3),
                          scores=rng.uniform(.1, 1, count)))
    return found


def as_rows(found): return sorted((t['label'], t['frames'], round(t['score'], 5)) for t in found)


SETTINGS = [dict(), dict(gap=0), dict(iou_weight=0., min_length=1), dict(iou_weight=3., min_iou=0.),
            dict(min_iou=.45, gap=1, min_length=3)]


@pytest.mark.parametrize('settings', SETTINGS)
@pytest.mark.parametrize('seed', range(4))
def test_linking_equals_trying_every_path(seed, settings):
    found = some_clip(seed)
    got, want = link_tubes(found, **settings), [t for label in (1, 2) for t in slow_tubes(found, label, **settings)]
    assert as_rows(got) == as_rows(want)
    in_order = lambda many: sorted(many, key=lambda t: (t['label'], t['frames'], round(t['score'], 5)))
    for a, b in zip(in_order(got), in_order(want)): assert np.allclose(a['boxes'], b['boxes'], atol=1e-4)
    assert [t['score'] for t in got] == sorted((t['score'] for t in got), reverse=True)


@pytest.mark.parametrize('seed', range(4))
def test_every_detection_is_in_one_tube(seed):
    found = some_clip(seed, frames=12, most=6)
    got = link_tubes(found, min_length=1)
    assert sum(t['score']*(t['frames'][1] - t['frames'][0]) for t in got) == pytest.approx(
        sum(d['scores'].sum() for d in found))


def test_a_splinter_comes_after_a_long_tube():
    frame = lambda *scores: dict(boxes=[[0, 40*i, 8, 40*i + 8] for i in range(len(scores))], labels=[1]*len(scores),
                                 scores=scores)
    clip = [frame(.6)]*5 + [frame(.6, .95)] + [frame(.6)]*5
    assert [t['frames'] for t in link_tubes(clip)] == [(0, 11), (5, 6)]
    assert [t['score'] for t in link_tubes(clip)] == pytest.approx([.6, .95/8])
    assert [t['score'] for t in link_tubes(clip, min_length=1)] == pytest.approx([.95, .6])


def test_a_gap_is_bridged_up_to_its_length():
    box, none = dict(boxes=[[0, 0, 8, 8]], labels=[1], scores=[.8]), dict(boxes=[], labels=[], scores=[])
    clip = [box, none, none, box]
    (bridged,), apart = link_tubes(clip, gap=2, min_length=1), link_tubes(clip, gap=1)
    assert bridged['frames'] == (0, 4) and bridged['score'] == pytest.approx(.4) and len(apart) == 2


def test_boxes_that_overlap_by_just_the_limit_are_not_linked():
    clip = [dict(boxes=[[0, 0, 8, 8]], labels=[1], scores=[.8]), dict(boxes=[[0, 0, 4, 8]], labels=[1], scores=[.8])]
    assert [len(link_tubes(clip, min_iou=m)) for m in (.49, .5)] == [1, 2]


def test_classes_are_linked_apart():
    clip = [dict(boxes=[[0, 0, 8, 8]], labels=[label], scores=[.5]) for label in (1, 2, 1)]
    assert as_rows(link_tubes(clip, min_length=1)) == [(1, (0, 3), round(1/3, 5)), (2, (1, 2), .5)]


def test_tensors_with_gradient_and_frames_without_boxes_are_read():
    none = dict(boxes=torch.empty(0, 4), labels=torch.empty(0, dtype=torch.int64), scores=torch.empty(0))
    some = dict(boxes=torch.tensor([[0., 0, 4, 4]], requires_grad=True), labels=torch.tensor([1]),
                scores=torch.tensor([.5], requires_grad=True))
    (got,) = link_tubes([none, some, none])
    assert got['frames'] == (1, 2) and not got['boxes'].requires_grad and link_tubes([none]*3) == []


@pytest.mark.parametrize('frame, words', [
    (dict(boxes=[[0, 0, 4, 4]], labels=[1]), r"frame 1 lacks \['scores'\]"),
    (dict(boxes=[[0, 0, 4, 4]], labels=[1, 1], scores=[.5]), 'frame 1: .*got'),
    (dict(boxes=[[0, 0, 4]], labels=[1], scores=[.5]), 'frame 1: .*got'),
    (dict(boxes=[], labels=[1], scores=[.5]), 'frame 1: .*got'),
    (dict(boxes=[[4, 0, 4, 4]], labels=[1], scores=[.5]), 'frame 1: box 0 .*x1 < x2'),
    (dict(boxes=[[0, 0, math.nan, 4]], labels=[1], scores=[.5]), 'frame 1 holds NaN'),
    (dict(boxes=[[0, 0, 4, 4]], labels=[1], scores=[math.nan]), r'frame 1: scores must lie in \[0, 1\]'),
    (dict(boxes=[[0, 0, 4, 4]], labels=[1], scores=[-.1]), r'frame 1: scores must lie in \[0, 1\]'),
    (dict(boxes=[[0, 0, 4, 4]], labels=[0], scores=[.5]), 'frame 1: labels must be 1 or more'),
])
def test_a_frame_that_cannot_be_linked_is_named(frame, words):
    with pytest.raises(ValueError, match=words): link_tubes([some_clip(0)[0], frame])


@pytest.mark.parametrize('settings, words', [
    (dict(iou_weight=-1.), 'iou_weight'), (dict(iou_weight=math.nan), 'iou_weight'), (dict(min_iou=1.), 'min_iou'),
    (dict(gap=-1), 'gap >= 0'), (dict(min_length=0), 'min_length >= 1'),
])
def test_settings_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(ValueError, match=words): link_tubes([], **settings)


# Video-mAP

def slow_video_ap(found, there, label, threshold):
    "Area under the filled curve, by looking at every recall level."
    ranked = sorted(((t['score'], c, t) for c, clip in enumerate(found) for t in clip if t['label'] == label),
                    key=lambda r: -r[0])
    wanted = [(c, t) for c, clip in enumerate(there) for t in clip if t['label'] == label]
    if not wanted: return None
    points, taken, right = [], set(), 0
    for n, (_, clip, tube) in enumerate(ranked, 1):
        overlap, best = max(((slow_overlap(tube, t), w) for w, (c, t) in enumerate(wanted) if c == clip),
                            default=(0, -1), key=lambda o: o[0])
        if overlap > threshold and best not in taken:
            taken.add(best)
            right += 1
        points.append((right/len(wanted), right/n))
    return sum(max((p for r, p in points if r >= (k + 1)/len(wanted) - 1e-12), default=0)
               for k in range(len(wanted))) / len(wanted)


def some_tubes(seed, clips=8):
    "Truths of two classes, and found tubes which are moved, cut, doubled, invented or named wrongly."
    rng, found, there = np.random.default_rng(seed), [], []
    for _ in range(clips):
        true = [make_tube(rng.integers(0, 3), some_boxes(rng, 1, 40).repeat(rng.integers(4, 9), 0),
                          label=int(rng.integers(1, 3))) for _ in range(rng.integers(0, 4))]
        mine = []
        for t in true*2 + [make_tube(0, some_boxes(rng, 3), label=3)]:
            kept = rng.integers(2, len(t['boxes']) + 1)
            label = t['label'] if rng.random() < .8 else 3 - min(t['label'], 2)
            mine.append(make_tube(t['frames'][0], t['boxes'][:kept] + rng.integers(-2, 3, (kept, 4)), label=label,
                                  score=float(rng.random())))
        found.append(mine)
        there.append(true)
    return found, there


@pytest.mark.parametrize('seed', range(6))
def test_video_map_equals_the_slow_oracle(seed):
    found, there = some_tubes(seed)
    got = video_map(found, there, NAMES)
    slow = lambda threshold: {n: slow_video_ap(found, there, label, threshold) for label, n in enumerate(NAMES, 1)}
    for key in ('0.2', '0.5'): assert got[key]['per_class'] == pytest.approx(slow(float(key)), abs=1e-9)
    steps = [slow(round(.5 + .05*k, 2)) for k in range(10)]
    averaged = {n: None if steps[0][n] is None else np.mean([s[n] for s in steps]) for n in NAMES}
    assert got['0.5:0.95']['per_class'] == pytest.approx(averaged, abs=1e-9)
    for row in got.values():
        assert row['per_class']['jump'] is None
        assert row['mean'] == pytest.approx(np.mean([v for v in row['per_class'].values() if v is not None]))
    assert 0 < got['0.5']['mean'] <= got['0.2']['mean'] < 1


@pytest.mark.parametrize('seed', range(4))
def test_video_map_of_clips_of_one_frame_is_frame_map(seed):
    rng, found, there = np.random.default_rng(seed), [], []
    for _ in range(20):
        true = some_boxes(rng, rng.integers(0, 4), 60)
        moved = np.repeat(true, 2, 0) + rng.integers(-2, 3, (2*len(true), 4))
        found.append(dict(boxes=moved, labels=rng.integers(1, 3, len(moved)), scores=rng.random(len(moved))))
        there.append(dict(boxes=true, labels=rng.integers(1, 3, len(true))))
    one_frame = lambda d: [make_tube(0, [b], label=int(l)) for b, l in zip(d['boxes'], d['labels'])]
    scored = [[t | dict(score=float(s)) for t, s in zip(one_frame(d), d['scores'])] for d in found]
    got = video_map(scored, [one_frame(d) for d in there], NAMES, (.3, .5))
    for key in ('0.3', '0.5'): assert got[key] == frame_map(found, there, NAMES, float(key))


BOX, HALF = [0., 0, 8, 8], [0., 0, 4, 8]
TRUTH = [make_tube(0, [BOX]*4)]


def means(*found): return [v['mean'] for v in video_map([list(found)], [TRUTH], NAMES).values()]


def test_video_map_by_hand():
    perfect = make_tube(0, [BOX]*4, score=.5)
    assert means(perfect) == [1, 1, 1]
    assert means(perfect | dict(label=2)) == [0, 0, 0] == means()
    assert means(make_tube(1, [BOX]*3, score=.5)) == [1, 1, .5]  # 3/4, not more than .75: five of ten steps
    assert means(make_tube(3, [BOX], score=.5)) == [1, 0, 0]     # 1/4


def test_an_overlap_of_exactly_the_threshold_is_a_miss():
    for half in (make_tube(0, [HALF]*4, score=.5), make_tube(2, [BOX]*2, score=.5)): assert means(half) == [1, 0, 0]
    more = make_tube(0, [[0, 0, 4 + 1e-6, 8]]*4, score=.5)
    assert means(more) == pytest.approx([1, 1, .1])


def test_a_truth_is_claimed_once():
    first, second = make_tube(0, [BOX]*4, score=.9), make_tube(0, [BOX]*4, score=.8)
    false = make_tube(9, [BOX]*4, score=.85)
    there = [TRUTH, TRUTH]
    alone = video_map([[first], [second]], there, NAMES)['0.5']['mean']
    doubled = video_map([[first, second], []], there, NAMES)['0.5']['mean']
    between = video_map([[first, false], [second]], there, NAMES)['0.5']['mean']
    assert [alone, doubled, between] == pytest.approx([1, .5, (1 + 2/3)/2])


def test_the_best_of_two_tubes_comes_first_however_they_are_given():
    poor, good = make_tube(0, [HALF]*4, score=.6), make_tube(0, [BOX]*4, score=.7)
    assert means(poor, good) == means(good, poor) == [1, 1, 1]
    assert means(poor, good | dict(score=.5)) == means(good | dict(score=.5), poor) == [1, .5, .5]


def test_a_truth_of_another_clip_is_not_claimed():
    found = [[make_tube(0, [BOX]*4, score=.5)], []]
    assert video_map(found, [[], TRUTH], NAMES)['0.2']['mean'] == 0
    nothing = video_map([], [], NAMES)['0.2']
    assert nothing == dict(per_class=dict.fromkeys(NAMES), mean=None)


@pytest.mark.parametrize('wrong, words', [
    (dict(frames=(0, 3)), r'found tube 1 of clip 0: frames \(0, 3\) need boxes \(3, 4\), got \(4, 4\)'),
    (dict(frames=(-1, 3)), 'first < end'), (dict(frames=(4, 4)), 'first < end'), (dict(frames=range(4)), 'first < end'),
    (dict(boxes=[[0, 0, 1]]*4), r'got \(4, 3\)'), (dict(boxes=[[3, 0, 1, 1]]*4), 'x1 < x2'),
    (dict(boxes=[[0, 0, math.inf, 1]]*4), 'NaN or infinite'), (dict(score=math.nan), 'NaN'),
    (dict(label=0), r'label must lie in \[1, 3\], got 0'), (dict(label=4), r'\[1, 3\]'),
])
def test_a_wrong_tube_is_named(wrong, words):
    right = make_tube(0, [BOX]*4, score=.5)
    with pytest.raises(ValueError, match=words): video_map([[right, right | wrong]], [TRUTH], NAMES)
    if 'frames' in wrong:
        with pytest.raises(ValueError, match='second tube'): tube_iou(right, right | wrong)


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match='found in 2 clips, 1 are annotated'): video_map([[], []], [TRUTH], NAMES)
    with pytest.raises(ValueError, match='thresholds must lie in .*got 1'): video_map([[]], [TRUTH], NAMES, [1])
    with pytest.raises(ValueError, match=r"found tube 0 of clip 0 lacks \['score'\]"): video_map([TRUTH], [[]], NAMES)


# Over time

@pytest.mark.parametrize('seed', range(3))
def test_flicker_equals_a_sum_over_pixels(seed):
    gen = torch.Generator().manual_seed(seed)
    films = torch.rand(2, 3, 3, 6, 7, generator=gen)
    boxes = torch.tensor([[0, 0, 0, 2, 3], [1, 1, 1, 4, 4], [1, 2, 2, 6, 5], [2, 5, 0, 7, 2]])
    within = lambda t, y, x: any(f == t and x1 <= x < x2 and y1 <= y < y2 for f, x1, y1, x2, y2 in boxes.tolist())
    faces = [(t, y, x) for t, y, x in itertools.product(range(2), range(6), range(7))
             if within(t, y, x) or within(t + 1, y, x)]
    changes = [[abs(film[t + 1, c, y, x] - film[t, c, y, x]).item() for t, y, x in faces for c in range(3)]
               for film in films]
    assert flicker(*films, boxes) == pytest.approx(np.mean(changes[1]) - np.mean(changes[0]), abs=1e-6)


def test_flicker_refuses_films_that_differ():
    film, boxes = torch.rand(3, 3, 8, 8), torch.tensor([[0, 1, 1, 3, 3]])
    for other in (film[:2], film[..., :7]):
        with pytest.raises(ValueError, match='as many and as large'): flicker(film, other, boxes)
    with pytest.raises(ValueError, match='anonymized must be finite'): flicker(film, film*3, boxes)
    with pytest.raises(ValueError, match='box 0 .*inside a frame'): flicker(film, film, boxes*4)


# Faces

def test_landmark_error_equals_a_sum_over_points():
    true = 40*torch.rand(6, 5, 2, generator=torch.Generator().manual_seed(0))
    found = true + torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(1))
    want = [sum(math.dist(p, q) for p, q in zip(f, t))/5/math.dist(t[0], t[1])
            for f, t in zip(found.tolist(), true.tolist())]
    assert normalized_mean_error(found, true).tolist() == pytest.approx(want, rel=1e-5)
    assert normalized_mean_error(true[:0], true[:0]).shape == (0,)
    with pytest.raises(ValueError, match='NaN'): normalized_mean_error(found*math.nan, true)
    with pytest.raises(ValueError, match=r'\(6, 2\)'): normalized_mean_error(found[:, 0], true[:, 0])


def test_faces_are_claimed_frame_by_frame_and_once():
    true = torch.tensor([[0, 0, 0, 8, 8], [0, 20, 0, 28, 8], [2, 0, 0, 8, 8]])
    found = torch.tensor([[2, 0, 0, 8, 8], [0, 0, 0, 8, 8], [0, 0, 0, 8, 7], [0, 20, 0, 24, 8], [1, 0, 0, 8, 8]])
    got = face_detector_ap(found, torch.tensor([.9, .8, .7, .6, .5]), true)
    assert got == pytest.approx(2/3)  # hit, hit, second on one truth, half a face, a frame without faces
    assert face_detector_ap(found, torch.tensor([.9, .8, .7, .6, .5]), true, .49) == pytest.approx((1 + 1 + 3/4)/3)
    order = torch.tensor([4, 1, 3, 0, 2])
    assert face_detector_ap(found[order], torch.tensor([.9, .8, .7, .6, .5])[order], true) == got


# Planted faults: each changes one thing in the source, and the checks above must notice

FAULTS = {
    'common frames only': ("/(max(a['end'], b['end']) - min(a['first'], b['first']))", '/(end - first)',
                           lambda: test_overlap_equals_a_count_of_frames(0)),
    'boxes not moved to the common start': ("first - t['first']:end - t['first']", ':end - first',
                                            lambda: test_overlap_equals_a_count_of_frames(0)),
    'a gap too far': ('times - gap - 1', 'times - gap - 2', test_a_gap_is_bridged_up_to_its_length),
    'greedy links': ('earlier[reach.argmax()]', 'earlier[worth.argmax()]',
                     lambda: [test_linking_equals_trying_every_path(s, d) for s in range(4) for d in SETTINGS]),
    'links for nothing': ('iou_weight*overlaps[near]', 'overlaps[near]',
                          lambda: [test_linking_equals_trying_every_path(s, d) for s in range(4) for d in SETTINGS]),
    'linked at the limit': ('overlaps > min_iou', 'overlaps >= min_iou',
                            test_boxes_that_overlap_by_just_the_limit_are_not_linked),
    'score of a gap': ('scores.sum()/max(len(every), min_length)', 'scores.sum()/max(len(scores), min_length)',
                       test_a_gap_is_bridged_up_to_its_length),
    'a splinter not marked down': ('max(len(every), min_length)', 'len(every)',
                                   test_a_splinter_comes_after_a_long_tube),
    'hit at the threshold': ('row[best] > threshold', 'row[best] >= threshold',
                             test_an_overlap_of_exactly_the_threshold_is_a_miss),
    'a truth claimed twice': ('and best not in taken', '', test_a_truth_is_claimed_once),
    'tubes in the order given': ("(t for t in found if t['label'] == label), key=lambda t: -t['score'])",
                                 "(t for t in found if t['label'] == label), key=lambda t: 0)",
                                 test_the_best_of_two_tubes_comes_first_however_they_are_given),
    'labels not looked at': ("there = [t for t in there if t['label'] == label]", '', test_video_map_by_hand),
    'nine steps': ('range(10)', 'range(9)', test_video_map_by_hand),
    'later frame only': ('inside[1:] | inside[:-1]', 'inside[1:]', lambda: test_flicker_equals_a_sum_over_pixels(0)),
    'wrong way round': ('return after - before', 'return before - after',
                        lambda: test_flicker_equals_a_sum_over_pixels(0)),
    'nose for an eye': ('true[:, 0] - true[:, 1]', 'true[:, 0] - true[:, 2]',
                        test_landmark_error_equals_a_sum_over_points),
    'frames mixed': ("here in (found[:, 0] == f for f in frames)", "here in (found[:, 0] >= f for f in frames)",
                     test_faces_are_claimed_frame_by_frame_and_once),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_planted_fault_is_caught(fault, monkeypatch):
    right, wrong, check = FAULTS[fault]
    with open(video_metrics.__file__, encoding='utf-8') as file: source = file.read()
    assert source.count(right) == 1, f"{right!r} is to be planted in one place"
    faulty = dict(__name__='faceanon.evaluation.video_metrics', __package__='faceanon.evaluation')
    exec(compile(source.replace(right, wrong), video_metrics.__file__, 'exec'), faulty)
    for name in video_metrics.__all__: monkeypatch.setitem(globals(), name, faulty[name])
    with pytest.raises((AssertionError, ValueError)): check()
