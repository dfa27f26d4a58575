"The world: frozen pixels, disjoint people, and evidence that lies where the notebook says it does."
import hashlib
import math
import os
import platform
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from itertools import combinations

import numpy as np
import pytest
import skia
import torch
from scipy.stats import chisquare, ks_2samp

from faceanon.data import synthetic as world
from faceanon.data import synthetic_people
from faceanon.data.synthetic import (
    animate_appearance,
    draw_scene,
    face_box,
    face_landmarks,
    make_clip,
    make_face,
    make_frame,
    place_people,
    simulate_camera,
)
from faceanon.data.synthetic_bodies import draw_person, far_hand_positions
from faceanon.data.synthetic_people import (
    ACTIONS,
    FACE_PAD,
    FAR_ACTIONS,
    IDENTITY_RANGES,
    NEAR_ACTIONS,
    PEOPLE,
    Appearance,
    make_identity,
    sample_appearance,
)
from faceanon.faces import batch_boxes, enlarge_boxes

TARGET = ('boxes', 'labels', 'faces', 'landmarks', 'ids')

# SHA-256 of pictures (and targets) as `digest` takes it, drawn by the skia-python named here on an x86-64 machine.
# Another skia may place the half-covered pixels of an edge differently: then `DRAWN_BY` and these lines are to be
# renewed by someone who has looked, after `test_mean_colours_are_those_kept`, which asks less, has passed.
DRAWN_BY = '144.1'
KEPT = {
    'face 0 0': '5ee9bea3091348924af73ca267ed9c34d690cd1965af3c18200b98ecc8020dd0',
    'face 7 3': '3ea05be80b18b9127cee8f390e4e8e94ce33f21ad4e06e16b23968c7048cbcd7',
    'face 255 1': 'e3d28942cc2b03f6b64e968e7c4d802d0a9ac69bebc370825867066022a5efd9',
    'face 1000 0': 'a16a1dbcce10e25becd168011134e935b7d2502678069ed5efafe340615436ec',
    'face 2063 5': '55b84b01d10bfdb77bf0ae37d7868b0fd4e5e8ed729997ea2be0b6827e3e3107',
    'face 2100 2': 'de3223b19e17c743db131c78f890c0a23a233ab5b010581190c44cdd8a19705b',
    'frame train 0': '508ba516e913ff03265243c02660abb4f9045992ec70a1e4738636a46479300a',
    'frame train 17': '1d8f19b2baaaabcb06d1b95ce4238b660b38b5dac8152510e7060efede3d9cd3',
    'frame val_unseen 1': '618edd188d0e006ae4a5d55ea28906695be0603490b7b3768b3f1d1c990d413d',
    'frame test_unseen 2': '1b68f6b2fe345d889e65e024b44fa66024921f03670f1c58c4878a8aeb0ff836',
    'clip val_unseen 0': '06e62f82ddf7d1cdf76705c3e6442aa5f9429443a80993fe1e2c92f4e619f4ed',
    'clip train 3': 'd9fcde66ee45201706af7d80cf6b88bf5ff45b1ea6a2ef74f32c40a430992414',
}

# Mean R, G, B of the four quarters of a picture, in levels of 256.
MEANS = {
    'face 0 0': [190, 147, 180, 194, 150, 193, 214, 181, 197, 217, 164, 183],
    'face 7 3': [80, 81, 80, 76, 78, 79, 78, 81, 81, 69, 68, 72],
    'face 2063 5': [79, 104, 81, 75, 99, 77, 82, 91, 75, 73, 94, 75],
    'frame train 0': [209, 253, 231, 186, 209, 183, 104, 143, 133, 93, 109, 97],
    'frame test_unseen 2': [170, 150, 146, 174, 152, 135, 113, 110, 104, 90, 98, 63],
    'clip val_unseen 0': [119, 120, 138, 113, 113, 131, 95, 84, 112, 130, 75, 128],
}


def digest(*tensors):
    "Types, shapes and bytes."
    total = hashlib.sha256()
    for t in tensors:
        total.update(f'{t.dtype} {tuple(t.shape)} '.encode())
        total.update(t.numpy().tobytes())
    return total.hexdigest()


def pieces(name):
    "What a line of the tables is about: `face PERSON NUMBER`, `frame SPLIT NUMBER` or `clip SPLIT NUMBER`."
    kind, whose, number = name.split()
    if kind == 'face': return [make_face(int(whose), int(number))]
    rows = [make_frame(PEOPLE[whose], int(number))] if kind == 'frame' else make_clip(PEOPLE[whose], int(number))
    return [t for frame, target in rows for t in (frame, *(target[k] for k in TARGET))]


def same_target(one, other): return all(one[k].equal(other[k]) for k in TARGET)


def quarters(picture):
    halves = [half for rows in picture.float().chunk(2, 1) for half in rows.chunk(2, 2)]
    return [round(value) for half in halves for value in half.mean((1, 2)).tolist()]


@pytest.mark.parametrize('name', KEPT)
def test_pixels_and_targets_are_frozen(name):
    here = version('skia-python')
    if here != DRAWN_BY: pytest.skip(f"kept hashes are of skia-python {DRAWN_BY}, this is {here}")
    if platform.machine().lower() not in ('x86_64', 'amd64'): pytest.skip("kept hashes are of x86-64")
    if name.startswith('face') and not torch.backends.cpu.get_cpu_capability().startswith('AVX'):
        pytest.skip("torch resizes face pictures with AVX2 or AVX-512; without, single values differ by one level")
    assert digest(*pieces(name)) == KEPT[name], f"{name} has changed: another world needs another VERSION"


@pytest.mark.parametrize('name', MEANS)
def test_mean_colours_are_those_kept(name):
    "Whatever draws the edges, it is the same world: room, light and person."
    assert np.abs(np.subtract(quarters(pieces(name)[0]), MEANS[name])).max() <= 3


def test_a_fresh_process_draws_the_same():
    code = ("import sys; sys.path.insert(0, 'tests'); import test_world as t; "
            "print([t.digest(*t.pieces(n)) for n in ('clip val_unseen 3', 'frame train 9', 'face 4 4')])")
    env = os.environ | dict(PYTHONHASHSEED='12345')
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    run = subprocess.run([sys.executable, '-c', code], cwd=root, env=env, capture_output=True, text=True, check=True)
    draw = ('face 4 4', 'frame train 9', 'clip val_unseen 3')  # and in another order
    assert run.stdout.strip() == str([digest(*pieces(n)) for n in draw][::-1])


def test_another_version_is_another_world(monkeypatch):
    names = ('face 0 0', 'frame train 0', 'clip train 0')
    who = make_identity(0)
    monkeypatch.setattr(world, 'make_identity', lambda person: who)  # the rest must change too
    before = [digest(*pieces(n)) for n in names]
    for module in (world, synthetic_people): monkeypatch.setattr(module, 'VERSION', module.VERSION + 1)
    after = [digest(*pieces(n)) for n in names]
    assert [a == b for a, b in zip(before, after)] == [False]*3 and make_identity(0) != who


def test_every_number_and_every_person_is_another_picture():
    faces = [make_face(person, number) for person in range(6) for number in range(6)]
    frames = [make_frame(PEOPLE[split], number)[0] for split in PEOPLE for number in range(4)]
    assert len({digest(face) for face in faces}) == 36 and len({digest(frame) for frame in frames}) == 20


def test_drawing_leaves_the_global_streams_alone():
    torch.manual_seed(5)
    np.random.seed(5)
    kept = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    face = make_face(1, 1)
    make_clip(PEOPLE['train'], 1, 1)
    make_frame(PEOPLE['train'], 1)
    assert torch.random.get_rng_state().equal(kept[0])
    assert (np.random.get_state()[1] == kept[1]).all()
    assert np.random.get_state()[2] == 624  # nothing taken since seeding
    torch.manual_seed(6)
    np.random.seed(6)
    assert make_face(1, 1).equal(face)


@pytest.mark.parametrize('one, other', list(combinations(PEOPLE, 2)))
def test_nobody_is_in_two_splits(one, other): assert not set(PEOPLE[one]) & set(PEOPLE[other])


@pytest.mark.parametrize('split', PEOPLE)
def test_frames_show_people_of_their_split(split):
    seen = torch.cat([make_frame(PEOPLE[split], number, 32)[1]['ids'] for number in range(40)])
    assert set(seen.tolist()) <= set(PEOPLE[split])


def test_people_differ_and_stay_in_their_ranges():
    crowd = [make_identity(person) for people in PEOPLE.values() for person in people]
    values = np.array([[who[name] for name in IDENTITY_RANGES] for who in crowd])
    low, high = np.array(list(IDENTITY_RANGES.values())).T
    assert (values >= low).all() and (values <= high).all()
    assert len(np.unique(values.round(9), axis=0)) == len(crowd)
    apart = np.corrcoef(values.T) - np.eye(len(IDENTITY_RANGES))
    assert np.abs(apart).max() < .2  # parameters are independent


# What a picture's moment may not know: who it is of, and what is being done in it.

def numbers(now):
    "A moment as numbers; x of the hand as seen from the acting side."
    return dict(hand_x=now.hand[0]*now.side, hand_y=now.hand[1], second=now.second, side=now.side, yaw=now.yaw,
                pitch=now.pitch, roll=now.roll, mouth=now.mouth, smile=now.smile, tilt=now.tilt, reach=now.reach,
                red=now.item[0], green=now.trim[1], blue=now.shirt[2])


@pytest.fixture
def undrawn(monkeypatch):
    "`make_frame` answers what it would draw; `make_face` notes whom, how and what, and draws nothing."
    noted = []
    monkeypatch.setattr(world, 'draw_scene', lambda people, moments, actions, *_: list(zip(moments, actions)))
    monkeypatch.setattr(world, 'draw_person', lambda canvas, who, now, action, _: noted.append((now, action)))
    monkeypatch.setattr(world, 'draw_room', lambda *_: None)
    monkeypatch.setattr(world, 'render_canvas', lambda *_: torch.zeros(3, 16, 16, dtype=torch.uint8))
    return noted


def test_moments_stay_when_actions_change_their_names(undrawn, monkeypatch):
    def drawn():
        undrawn.clear()
        for number in range(60): make_face(number % 16, number, 16)
        return undrawn + [row for number in range(60) for row in make_frame(PEOPLE['train'], number)]
    one = drawn()
    for names in ('NEAR_ACTIONS', 'FAR_ACTIONS', 'ACTIONS'):
        monkeypatch.setattr(world, names, getattr(world, names)[::-1])
    other = drawn()
    assert [now for now, _ in one] == [now for now, _ in other]
    assert sum(a != b for (_, a), (_, b) in zip(one, other)) > .8*len(one)


@pytest.mark.parametrize('kind', ['face', 'frame'])
def test_moments_are_alike_whatever_the_action(undrawn, kind):
    if kind == 'frame':
        drawn = [row for number in range(600) for row in make_frame(PEOPLE['train'], number)]
    else:
        for number in range(600): make_face(number % 16, number, 16)
        drawn = undrawn
    assert {action for _, action in drawn} == set(ACTIONS) and len(drawn) >= 600
    by_action = {a: [numbers(now) for now, action in drawn if action == a] for a in ACTIONS}
    chances = {(a, key): ks_2samp([m[key] for m in by_action[a]],
                                  [m[key] for b in ACTIONS if b != a for m in by_action[b]]).pvalue
               for a in ACTIONS for key in by_action[a][0]}
    assert min(chances.values()) > 1e-3/len(chances), min(chances, key=chances.get)  # 140 questions at once


def test_face_pictures_show_each_action_equally_often(undrawn):
    for number in range(600): make_face(number % 16, number, 16)
    assert chisquare([sum(action == a for _, action in undrawn) for a in ACTIONS]).pvalue > .01


def test_six_of_ten_actions_in_frames_are_near(undrawn):
    actions = [action for number in range(600) for _, action in make_frame(PEOPLE['train'], number)]
    assert abs(np.mean([a in NEAR_ACTIONS for a in actions]) - .6) < .05


# Where the evidence lies.

def scene(number, actions, change=lambda now: now, most=3):
    "Scene `number`; its room, light, people and moments are the number's, whatever is done in it."
    moments = [change(now) for now in place_people(np.random.default_rng([99, number]), 160)][:most]
    people = np.random.default_rng([96, number]).choice(256, len(moments), replace=False).tolist()
    streams = np.random.default_rng([98, number]), np.random.default_rng([97, number])
    frame, target = draw_scene(people, moments, (actions*3)[:len(moments)], *streams, 160)
    return frame, target, moments


def covered(boxes, size=160):
    "The pixels that boxes touch."
    mask = torch.zeros(size, size, dtype=torch.bool)
    for x1, y1, x2, y2 in boxes.tolist(): mask[math.floor(y1):math.ceil(y2), math.floor(x1):math.ceil(x2)] = True
    return mask


def enlarged(target): return enlarge_boxes(batch_boxes([target['faces']]), FACE_PAD, 160, 160)[:, 1:]


def test_near_actions_differ_only_inside_the_enlarged_face_boxes():
    pairs = list(combinations(NEAR_ACTIONS, 2))
    leaks, missed, differing = [], 0, 0
    for number in range(120):
        one, other = pairs[number % len(pairs)]
        first, target, _ = scene(number, [one])
        differ = (first != scene(number, [other])[0]).any(0)
        leaks.append(int((differ & ~covered(enlarged(target))).sum()))
        missed += int((differ & ~covered(target['boxes'])).sum())
        differing += int(differ.sum())
        assert (differ & covered(enlarged(target))).any()
    assert sum(leak > 0 for leak in leaks) <= 3 and max(leaks) <= 15  # the notebook says when
    assert missed < .005*differing  # and the action's box holds the object


def test_targets_of_near_actions_tell_nothing_but_the_label():
    for number in range(10):
        targets = [scene(number, [action])[1] for action in NEAR_ACTIONS]
        assert all(t[k].equal(targets[0][k]) for t in targets for k in TARGET if k != 'labels')
        assert [t['labels'].unique().item() for t in targets] == [ACTIONS.index(a) + 1 for a in NEAR_ACTIONS]


@pytest.mark.parametrize('action', FAR_ACTIONS)
def test_far_hands_and_tools_lie_outside_the_face_box_and_inside_the_actions(action):
    fist, seen = .21, 0
    other_colour = lambda now: replace(now, item=tuple(1 - c for c in now.item))  # only tools have it
    for number in range(25):
        first, target, moments = scene(number, [action], most=1)  # a neighbour's tool may pass before a face
        reach = np.abs([far_hand_positions(action, now) for now in moments]).max(-1)
        assert (reach - fist > FACE_PAD).all()
        other = scene(number, [action], other_colour, most=1)[0]
        tool = (first != other).any(0)
        seen += bool(tool.any())
        assert (tool & ~covered(target['boxes'])).sum() <= 4
        x1, y1, x2, y2 = enlarged(target)[0].tolist()
        lowest = 3 if action == 'CleaningFloor' else 0  # the round end of the mop shows at the lower edge
        assert not tool[y1:y2 - lowest, x1:x2].any()
    assert seen >= 20  # a window at the frame's edge is cleaned out of sight


def test_boxes_hold_the_centres_of_all_hands():
    for number in range(40):
        _, target, moments = scene(number, [NEAR_ACTIONS[number % 6], FAR_ACTIONS[number % 4]])
        for box, label, now in zip(target['boxes'], target['labels'], moments):
            action = ACTIONS[label - 1]
            hands = [now.hand] if action in NEAR_ACTIONS else far_hand_positions(action, now)
            points = (np.array(hands)*now.size + [now.x, now.y]).clip(0, 160)
            assert (points >= box[:2].numpy() - 1e-3).all() and (points <= box[2:].numpy() + 1e-3).all()


def test_mask_leaves_the_six_near_actions_the_same_picture():
    for number in range(10):
        frames = []
        for action in NEAR_ACTIONS:
            frame, target, _ = scene(number, [action], lambda now: replace(now, roll=now.roll/2))
            frames.append(frame*~covered(enlarged(target)))
        assert all(frame.equal(frames[0]) for frame in frames)


# Boxes and landmarks.

STILL = Appearance(x=64, y=60, size=50, yaw=.5, pitch=.3, roll=0, mouth=0, smile=0, brows=0, blink=0, gaze=0, side=1,
                   hand=(.8, .9), second=False, reach=.5, shirt=(.2, .3, .4), item=(1, 0, 0), trim=(0, 1, 0), tilt=0)


def changed(person, roll, **change):
    "Where the picture changes with the moment: (n, 2) x and y, pixel centres."
    def draw(now):
        surface = skia.Surface(128, 128)
        draw_person(surface.getCanvas(), make_identity(person), now, 'Ironing')
        return torch.from_numpy(surface.toarray().copy())
    now = replace(STILL, roll=roll)
    return (draw(now) != draw(replace(now, **change))).any(-1).nonzero().flip(1).double() + .5


@pytest.mark.parametrize('roll', [-25., -8., 0., 8., 25.])
@pytest.mark.parametrize('person', [1, 5, 8])
def test_landmarks_lie_where_eyes_and_mouth_are_drawn(person, roll):
    points = torch.tensor(face_landmarks(make_identity(person), replace(STILL, roll=roll)), dtype=torch.float64)
    eyes = changed(person, roll, blink=1.)
    nearest = torch.cdist(eyes, points[:2]).argmin(1)
    for eye in (0, 1): assert (eyes[nearest == eye].mean(0) - points[eye]).norm() < 3
    mouth = changed(person, roll, mouth=1.)
    assert (mouth.mean(0) - points[3:].mean(0)).norm() < .15*STILL.size  # it opens downwards
    assert points[0, 0] < points[1, 0] and points[3, 0] < points[4, 0]  # left and right as seen
    along = (points[:2].mean(0) - points[3:].mean(0))
    assert torch.dot(along, points[2] - points[3:].mean(0)) > 0  # the nose is above the mouth


def test_landmarks_turn_clockwise_with_the_roll():
    who = make_identity(1)
    eyes = [face_landmarks(who, replace(STILL, roll=roll))[:2] for roll in (-20., 0., 20.)]
    slopes = [math.degrees(math.atan2(right[1] - left[1], right[0] - left[0])) for left, right in eyes]
    assert slopes == pytest.approx([-20., 0., 20.])


@pytest.mark.parametrize('split', PEOPLE)
def test_face_boxes_stay_inside_and_apart(split):
    for number in range(60):
        moments = place_people(np.random.default_rng([world.VERSION, 3, PEOPLE[split].start, number]), 160)
        for scale in (1, FACE_PAD):
            boxes = np.array([face_box(replace(now, size=now.size*scale)) for now in moments])
            assert (boxes >= 0).all() and (boxes <= 160).all()
        assert (boxes[1:, 0] > boxes[:-1, 2]).all()  # side by side, even enlarged


def test_targets_are_consistent():
    for number in range(30):
        frame, target = make_frame(PEOPLE['test_unseen'], number)
        people = len(target['ids'])
        assert frame.shape == (3, 160, 160) and frame.dtype == torch.uint8 and 1 <= people <= 3
        assert {k: (v.dtype, tuple(v.shape)) for k, v in target.items()} == dict(
            boxes=(torch.float32, (people, 4)), labels=(torch.int64, (people,)), faces=(torch.int64, (people, 4)),
            landmarks=(torch.float32, (people, 5, 2)), ids=(torch.int64, (people,)))
        assert (target['boxes'] >= 0).all() and (target['boxes'] <= 160).all()
        assert (target['boxes'][:, :2] < target['boxes'][:, 2:]).all()
        assert len(set(target['ids'].tolist())) == people
        assert ((target['labels'] >= 1) & (target['labels'] <= len(ACTIONS))).all()
        corners = target['faces'].float().reshape(-1, 1, 2, 2)
        assert ((target['landmarks'] >= corners[:, :, 0]) & (target['landmarks'] <= corners[:, :, 1])).all()


def test_the_camera_keeps_shape_and_range_and_moves_colours():
    picture = np.random.default_rng(0).uniform(0, 1, (20, 30, 3))
    shots = [simulate_camera(picture, np.random.default_rng(seed)) for seed in range(30)]
    assert all(shot.shape == (20, 30, 3) and shot.dtype == np.uint8 for shot in shots)
    assert (np.std([shot.mean((0, 1)) for shot in shots], 0) > 10).all()
    assert (simulate_camera(picture, np.random.default_rng(3)) == shots[3]).all()


# Clips.

@pytest.mark.parametrize('number', range(4))
def test_clips_keep_people_in_their_rows_and_move_smoothly(number):
    clip = make_clip(PEOPLE['val_gallery'], number)
    assert len(clip) == 16
    for entry in ('ids', 'labels'): assert all(target[entry].equal(clip[0][1][entry]) for _, target in clip)
    points = torch.stack([target['landmarks'] for _, target in clip])
    steps = points.diff(dim=0).norm(dim=-1)
    assert 0 < steps.max() < 3  # pixels of a 160 pixel frame, at 12 frames a second
    assert (points[-1] - points[0]).abs().max() > .5 or steps.sum() > 5
    faces = torch.stack([target['faces'] for _, target in clip])
    assert (faces >= 0).all() and (faces <= 160).all() and faces.diff(dim=0).abs().max() <= 3
    for _, target in clip: enlarged(target)  # clipped at the edge, never refused


def test_a_clip_begins_at_its_moment_and_a_faster_camera_sees_the_same_motion():
    now = sample_appearance(np.random.default_rng(0), 80, 60, 18)
    phase = np.random.default_rng(1).uniform(0, 2*math.pi, 6)
    start = animate_appearance(now, 0., phase)
    assert (start.x, start.y, start.roll) == pytest.approx((now.x, now.y, now.roll))
    slow, fast = (make_clip(PEOPLE['train'], 5, length, fps) for length, fps in ((4, 12.), (7, 24.)))
    for (_, one), (_, other) in zip(slow, fast[::2]):
        torch.testing.assert_close(one['landmarks'], other['landmarks'])


def test_a_longer_clip_begins_with_the_shorter():
    short, long = make_clip(PEOPLE['train'], 1, 3), make_clip(PEOPLE['train'], 1, 6)
    assert all(a.equal(b) and same_target(s, t) for (a, s), (b, t) in zip(short, long))


# Bad input.

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('call, words', [
    (lambda: make_identity(-1), "person must be at least 0, got -1"),
    (lambda: make_face(-1, 0), "person must be at least 0, got -1"),
    (lambda: make_face(0, -2), "number must be at least 0, got -2"),
    (lambda: make_face(0, 0, 15), "size must be at least 16, got 15"),
    (lambda: make_frame(PEOPLE['train'], -1), "number must be at least 0, got -1"),
    (lambda: make_frame(PEOPLE['train'], 0, 0), "size must be at least 16, got 0"),
    (lambda: make_frame(range(2), 0), "people must be a range of at least 3 numbers from 0 on, got range(0, 2)"),
    (lambda: make_frame(range(-5, 5), 0), "people must be a range of at least 3 numbers from 0 on"),
    (lambda: make_frame([1, 2, 3], 0), "people must be a range"),
    (lambda: make_clip(range(0), 0), "people must be a range"),
    (lambda: make_clip(PEOPLE['train'], -1), "number must be at least 0"),
    (lambda: make_clip(PEOPLE['train'], 0, 0), "length must be at least 1, got 0"),
    (lambda: make_clip(PEOPLE['train'], 0, 2, 0.), "fps must be positive and finite, got 0.0"),
    (lambda: make_clip(PEOPLE['train'], 0, 2, math.nan), "fps must be positive and finite, got nan"),
    (lambda: make_clip(PEOPLE['train'], 0, size=8), "size must be at least 16, got 8"),
    (lambda: draw_person(None, make_identity(0), STILL, 'Sleeping'), "unknown action 'Sleeping': it must be one of"),
    (lambda: draw_scene([0], [STILL], ['drinking'], RNG, RNG, 160), "unknown action 'drinking'"),
    (lambda: draw_scene([0, 1], [STILL], ['Drinking'], RNG, RNG, 160), "one person, moment, action each: got 2, 1, 1"),
    (lambda: far_hand_positions('Drinking', STILL), "unknown action 'Drinking': it must be one of CleaningFloor"),
])
def test_bad_input_is_refused_clearly(call, words):
    with pytest.raises(ValueError) as refusal: call()
    assert words in str(refusal.value)


@pytest.mark.parametrize('call', [lambda: make_face(1.5, 0), lambda: make_face(0, '1'), lambda: make_face(0, 0, 40.)])
def test_numbers_must_be_whole(call):
    with pytest.raises(TypeError): call()


def test_an_empty_room_is_a_frame():
    frame, target = draw_scene([], [], [], np.random.default_rng(0), np.random.default_rng(1), 64)
    assert frame.shape == (3, 64, 64)
    assert {k: (v.dtype, tuple(v.shape)) for k, v in target.items()} == dict(
        boxes=(torch.float32, (0, 4)), labels=(torch.int64, (0,)), faces=(torch.int64, (0, 4)),
        landmarks=(torch.float32, (0, 5, 2)), ids=(torch.int64, (0,)))


@pytest.mark.parametrize('size', [16, 41, 256])
def test_any_size_from_16_on(size):
    assert make_face(0, 0, size).shape == (3, size, size)
    frame, target = make_frame(PEOPLE['train'], 0, size)
    assert frame.shape == (3, size, size) and (target['faces'][:, 2:] > target['faces'][:, :2]).all()
