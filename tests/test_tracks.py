"Faces followed through drawn scenes: what a detector misses must be hidden all the same, and a list must be sound."
import dataclasses
import json
import tracemalloc
import weakref
from itertools import count, islice

import numpy as np
import pytest
import torch

from faceanon.video import tracking
from faceanon.video.detecting import split_by_frame
from faceanon.video.face_list import SIDECAR_FORMAT, mark_kept_tracks, read_sidecar, write_sidecar
from faceanon.video.tracking import (
    FrameDetections,
    FrameFaces,
    SceneSettings,
    TrackedFace,
    associate,
    smooth_box,
    track_faces,
    tracked_face,
)

WIDTH, HEIGHT = 320, 240
HEADER = dict(video='v.mp4', width=WIDTH, height=HEIGHT, detector='drawn', enlarge=1.3)


def path_of(t, start=(100, 100), v=(1., .5), side=40):
    x, y = start[0] + v[0]*t, start[1] + v[1]*t
    return np.array([x, y, x + side, y + side])


def seen(frames, hit, score=lambda t: .9, cuts=(), path=path_of, every=1):
    for t in range(frames):
        boxes = None if t % every else np.array([path(t)] if hit(t) else np.zeros((0, 4)))
        yield FrameDetections(t, 40*t, boxes, np.array([score(t)]*(0 if boxes is None else len(boxes))), t in cuts)


def followed(*args, options=None, **more): return list(track_faces(seen(*args, **more), WIDTH, HEIGHT, **options or {}))


def holds(face, box, slack=1e-9):
    x1, y1, x2, y2 = face.box
    return x1 <= box[0] + slack and y1 <= box[1] + slack and x2 >= box[2] - slack and y2 >= box[3] - slack


def sources(rows): return ''.join('/'.join(f.source[0] for f in r.faces) or '.' for r in rows)


def test_a_gap_is_filled_between_its_ends():
    rows = followed(60, lambda t: not 20 <= t < 40, options=dict(gap=25))
    assert sources(rows) == 'f'*60 and [r.faces[0].source for r in rows[19:41]] == ['found'] + ['filled']*20 + ['found']
    assert {f.track for r in rows for f in r.faces} == {0}
    assert all(holds(r.faces[0], path_of(r.frame)) for r in rows)
    area = [np.prod(np.subtract(rows[t].faces[0].box[2:], rows[t].faces[0].box[:2])) for t in (22, 29, 37)]
    assert area[1] > 1.3*max(area[0], area[2]), "less is known in the middle"
    assert {r.faces[0].score for r in rows[20:40]} == {None} and rows[19].faces[0].score == .9


def test_a_gap_is_measured_from_link_to_link():
    for missed, tracks in [(24, 1), (25, 2)]:
        rows = followed(120, lambda t, missed=missed: not 20 <= t < 20 + missed, options=dict(gap=25))
        assert len({f.track for r in rows for f in r.faces}) == tracks


def test_both_ends_go_on_for_a_while_and_no_longer():
    rows = followed(80, lambda t: 30 <= t < 50, options=dict(extend=8))
    assert sources(rows) == '.'*22 + 'e'*8 + 'f'*20 + 'e'*8 + '.'*22
    assert all(holds(r.faces[0], path_of(r.frame)) for r in rows[22:58]), "a box goes on as the face did"
    assert all(holds(r.faces[0], path_of(49)) for r in rows[50:58]), "and stays where the face was"


@pytest.mark.parametrize('cut', range(25, 40))
def test_nothing_crosses_a_cut(cut):
    rows = followed(60, lambda t: not 25 <= t < 40, cuts={cut})
    names = [{f.track for r in part for f in r.faces} for part in (rows[:cut], rows[cut:])]
    assert names == [{0}, {1}]
    assert [r.cut for r in rows] == [t == cut for t in range(60)]
    assert 'i' not in sources(rows) and {f.source for r in rows for f in r.faces} <= {'found', 'extended'}
    lonely = followed(60, lambda t: t < cut, cuts={cut})
    assert {r.faces for r in lonely[cut:]} == {()}
    assert {r.doubt for r in lonely[cut:]} == {''}


def test_a_scene_of_one_frame_and_a_cut_at_the_first():
    rows = followed(9, lambda t: True, cuts={0, 4, 5})
    assert [r.faces[0].track for r in rows] == [0]*4 + [1] + [2]*4


@pytest.mark.parametrize('smooth', [0, 1, 2, 5])
def test_a_smoothed_box_holds_the_box_that_was_found(smooth):
    draw = np.random.default_rng(1)
    boxes = [path_of(t, v=(3, -1))[[0, 1, 2, 3]] + draw.normal(0, 4, 4) for t in range(50)]
    rows = followed(50, lambda t: True, path=lambda t: boxes[t], options=dict(smooth=smooth))
    for r in rows:
        clipped = np.clip(boxes[r.frame], 0, [WIDTH, HEIGHT]*2)
        assert holds(r.faces[0], clipped)
    if smooth: return
    assert all(np.abs(np.subtract(r.faces[0].box, boxes[r.frame])).max() < .011 for r in rows)


def test_smoothing_by_hand():
    boxes = {t: np.array([100. - 10*(t == 5), 50, 140, 90 + 10*(t == 5)]) for t in range(-3, 12)}
    left, bottom = zip(*[smooth_box(boxes, t, 2)[[0, 3]] for t in range(12)])
    np.testing.assert_allclose(left, [100, 98, 96, 94, 92, 90, 92, 94, 96, 98, 100, 100])
    np.testing.assert_allclose(np.array(left) + bottom, [190]*12)


def test_smoothing_makes_boxes_tremble_less():
    draw = np.random.default_rng(1)
    boxes = [path_of(t) + draw.normal(0, 2, 4) for t in range(80)]
    shake = []
    for smooth in (0, 2):
        rows = followed(80, lambda t: True, path=lambda t: boxes[t], options=dict(smooth=smooth))
        shake.append(np.abs(np.diff([r.faces[0].box for r in rows], 2, axis=0)).mean())
    assert shake[1] < .35*shake[0]


@pytest.mark.parametrize('every', [2, 3, 5, 10])
def test_frames_nobody_looked_at_are_filled(every):
    rows = followed(61, lambda t: True, every=every, path=lambda t: path_of(t, v=(1.5, .5)))
    assert {len(r.faces) for r in rows} == {1} and {f.track for r in rows for f in r.faces} == {0}
    assert [r.frame for r in rows if r.faces[0].source == 'found'] == list(range(0, 61, every))
    assert all(holds(r.faces[0], path_of(r.frame, v=(1.5, .5))) for r in rows)


def test_a_doubtful_face_counts_in_the_course_of_a_sure_track():
    assert sources(followed(40, lambda t: True, lambda t: .9 if t == 20 else .3)) == 'f'*40
    assert sources(followed(40, lambda t: True, lambda t: .3)) == 'd'*40
    lonely = followed(40, lambda t: 10 <= t < 20, lambda t: .3)
    assert sources(lonely) == '.'*10 + 'd'*10 + '.'*20, "what is doubtful goes on nowhere"
    assert {r.doubt for r in lonely} == {''}


def test_a_sure_face_is_linked_before_a_doubtful_one_that_is_nearer():
    rows = list(seen(20, lambda t: True))
    rows[10] = FrameDetections(10, 400, np.array([path_of(10), path_of(10) + 8]), np.array([.3, .9]))
    assert [(f.track, f.score) for f in list(track_faces(rows, WIDTH, HEIGHT))[10].faces] == [(0, .9), (1, .3)]


@pytest.mark.parametrize('every', [1, 2, 4])
def test_people_who_pass_each_other_keep_their_numbers(every):
    draw, rows = np.random.default_rng(0), []
    people = [lambda t: path_of(t, (10, 100), (5, 0)), lambda t: path_of(t, (265, 112), (-5, 0)),
              lambda t: path_of(t, (20, 20), (2, 1))]
    for t in range(49):
        order = draw.permutation(3)
        boxes = np.array([people[i](t) for i in order]) if t % every == 0 else None
        rows.append(FrameDetections(t, t, boxes, np.full(3, .9)))
    places = {}
    for r in track_faces(rows, WIDTH, HEIGHT, smooth=0):
        assert len(r.faces) == 3
        for f in r.faces:
            if f.source != 'found': continue
            nearest = int(np.argmin([np.abs(np.subtract(f.box, p(r.frame))).max() for p in people]))
            places.setdefault(f.track, set()).add(nearest)
    assert sorted(map(tuple, places.values())) == [(0,), (1,), (2,)]


def test_a_face_lost_in_the_middle_is_said_and_one_that_left_is_not():
    rows = followed(100, lambda t: 40 <= t < 60, options=dict(gap=20, extend=5))
    assert [bool(r.doubt) for r in rows] == [20 <= t < 35 or 65 <= t < 80 for t in range(100)]
    assert rows[30].doubt == "track 0 was not yet found before frame 40"
    assert rows[70].doubt == "track 0 was lost after frame 59"
    leaves = followed(100, lambda t: t < 50, path=lambda t: path_of(t, (40, 100), (5, 0)))
    assert {r.doubt for r in leaves} == {''}
    short = followed(100, lambda t: 40 <= t < 42)
    assert {r.doubt for r in short} == {''}, "two frames are as likely a wall"


def crowd(frames, people, seed, lost=.3, cuts=.02):
    "Faces on random straight paths, each missed now and then, scenes of random length; all scores sure."
    draw = np.random.default_rng(seed)
    for t in range(frames):
        cut = bool(draw.random() < cuts)
        if t == 0 or cut: walks = [(draw.uniform(0, 250, 2), draw.uniform(-2, 2, 2)) for _ in range(people)]
        boxes = [path_of(t % 50, s, v, 30) + draw.normal(0, 1, 4) for s, v in walks if draw.random() > lost]
        looked = draw.random() < .9
        yield FrameDetections(t, t, np.array(boxes).reshape(-1, 4) if looked else None, np.full(len(boxes), .9), cut)


def all_at_once(rows, gap, extend, smooth):
    "The same answer without a stream: link everything first, forget nothing."
    rows = list(rows)
    starts = [r.frame for r in rows if r.cut or r.frame == 0] + [len(rows)]
    numbers, out = count(), []
    for first, end in zip(starts, starts[1:]):
        scene, tracks = SceneSettings(first, end - 1, gap, extend, smooth), []
        for r in rows[first:end]:
            if r.boxes is None: continue
            tracks += associate([t for t in tracks if r.frame - t.times[-1] <= gap], r.frame, r.boxes, r.scores, .5,
                                numbers)
        for t in range(first, end):
            faces = [tracked_face(track, t, scene, WIDTH, HEIGHT) for track in tracks]
            out.append(tuple(f for f in faces if f is not None))
    return out


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('gap,extend,smooth', [(25, 8, 2), (6, 6, 1), (3, 0, 0), (1, 1, 4)])
def test_a_stream_gives_what_one_gets_from_the_whole(seed, gap, extend, smooth):
    options = dict(gap=gap, extend=extend, smooth=smooth)
    rows = list(track_faces(crowd(150, 3, seed), WIDTH, HEIGHT, **options))
    assert [r.faces for r in rows] == all_at_once(crowd(150, 3, seed), **options)


@pytest.mark.parametrize('cuts', [.02, 0], ids=['scenes', 'one scene'])  # a cut forgets everything by itself
def test_a_long_video_is_held_a_little_at_a_time(cuts):
    alive, most, memory = weakref.WeakSet(), 0, []
    def watched():
        for one in crowd(1200, 2, 0, cuts=cuts):
            alive.add(one)
            yield one
    def held():
        "Bytes that lines of `tracking` allocated: other threads of the process allocate too."
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, tracking.__file__)])
        return sum(part.size for part in ours.statistics('filename'))
    tracemalloc.start()
    for number, _ in enumerate(track_faces(watched(), WIDTH, HEIGHT)):
        most = max(most, len(alive))
        if number % 50 == 0: memory.append(held())
    tracemalloc.stop()
    assert most <= 25 + 2*2 + 2
    assert max(memory[16:]) < 1.2*max(memory[4:12]) + 20_000


FORGETS = {
    'nothing': (lambda tracks, time, scene: list(tracks), lambda: test_a_long_video_is_held_a_little_at_a_time(0)),
    'only who is gone': (lambda tracks, time, scene: [t for t in tracks if t.times[-1] + scene.gap >= time - 4],
                         lambda: test_neither_long_tracks_nor_ended_ones_are_remembered_for_ever()),
}


@pytest.mark.parametrize('what', FORGETS)
def test_who_forgets_too_little_is_caught(what, monkeypatch):
    fault, check = FORGETS[what]
    monkeypatch.setattr(tracking, '_remembered', fault)
    with pytest.raises(AssertionError): check()


@pytest.mark.parametrize('cut', [(), (30,)])
def test_who_stays_has_a_number_and_is_never_guessed(cut):
    "A hidden person walks above, one who stays walks below and is known in two frames of three."
    def two():
        for one in seen(60, lambda t: True, path=lambda t: path_of(t, (40, 20)), cuts=cut):
            below = path_of(one.frame, (60, 150))[None]
            yield dataclasses.replace(one, kept=below if one.frame % 3 else ())
    for t, row in enumerate(track_faces(two(), WIDTH, HEIGHT)):
        hidden, stays = ([f for f in row.faces if f.keep == keep] for keep in (False, True))
        assert [f.track for f in row.faces] == sorted({f.track for f in row.faces})
        assert len(hidden) == 1 and len(stays) == bool(t % 3)
        for face in stays: assert face.source == 'found' and holds(face, path_of(t, (60, 150)))
        number = {f.track for f in stays}
        if t % 3: assert number == {1 if t < (cut or (99,))[0] else 3}


def test_neither_long_tracks_nor_ended_ones_are_remembered_for_ever():
    kept = []
    original = tracking._remembered
    def spy(*args):
        kept.append([len(t.times) for t in original(*args)])
        return original(*args)
    tracking._remembered = spy
    try:
        list(track_faces(seen(400, lambda t: True, path=lambda t: path_of(t % 7, v=(1, 1))), WIDTH, HEIGHT))
        assert max(max(k) for k in kept if k) <= 25 + 4*2 + 5
        list(track_faces(seen(900, lambda t: t % 60 < 9, lambda t: .3), WIDTH, HEIGHT))
        assert max(map(len, kept)) == 2
    finally: tracking._remembered = original


def test_frames_come_as_soon_as_they_can():
    taken = []
    def watched():
        for one in seen(200, lambda t: True):
            taken.append(one.frame)
            yield one
    rows = track_faces(watched(), WIDTH, HEIGHT, gap=10, extend=5, smooth=1)
    for r in islice(rows, 150): assert len(taken) <= r.frame + 10 + 2*1 + 1


def test_empty_and_short_videos():
    assert list(track_faces([], WIDTH, HEIGHT)) == []
    assert [len(r.faces) for r in followed(1, lambda t: True)] == [1]
    assert [len(r.faces) for r in followed(3, lambda t: False)] == [0, 0, 0]


def test_a_face_outside_the_frame_is_clipped_or_left_out():
    rows = followed(60, lambda t: t < 30, path=lambda t: path_of(t, (0, 100), (-2, 0)))
    for r in rows:
        for f in r.faces: assert 0 <= f.box[0] < f.box[2] <= WIDTH and 0 <= f.box[1] < f.box[3] <= HEIGHT


@pytest.mark.parametrize('wrong,message', [
    (lambda a: [a[0], a[2]], "frame 2 came after 0"), (lambda a: [a[1], a[0]], "frame 0 came after 1"),
    (lambda a: [a[0], a[0]], "frame 0 came after 0"),
    (lambda a: [dataclasses.replace(a[0], scores=[])], "1 boxes and 0 scores"),
    (lambda a: [dataclasses.replace(a[0], boxes=[[5, 5, 5, 9]])], "x1 < x2"),
    (lambda a: [dataclasses.replace(a[0], boxes=[[5, np.nan, 8, 9]])], "finite"),
])
def test_frames_out_of_order_and_bad_boxes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        list(track_faces(wrong(list(seen(3, lambda t: True))), WIDTH, HEIGHT))


@pytest.mark.parametrize('options', [dict(gap=0, extend=0), dict(gap=5, extend=6), dict(extend=-1), dict(smooth=-1)])
def test_settings_are_checked_before_the_first_frame(options):
    with pytest.raises(ValueError, match="got"): track_faces([], WIDTH, HEIGHT, **options)


def test_a_finders_batch_becomes_frames():
    rows = torch.tensor([[0, 1, 2, 3, 4], [2, 5, 6, 7, 8], [2, 0, 0, 9, 9]])
    batch = split_by_frame(rows, torch.tensor([.5, .75, .25]), 10, [0, 3, 9], cuts=[False, True, False])
    assert [(s.frame, s.pts, s.cut) for s in batch] == [(10, 0, False), (11, 3, True), (12, 9, False)]
    assert [s.boxes.tolist() for s in batch] == [[[1, 2, 3, 4]], [], [[5, 6, 7, 8], [0, 0, 9, 9]]]
    assert [list(s.scores) for s in batch] == [[.5], [], [.75, .25]]


def random_rows(frames=30, seed=0):
    rows = list(track_faces(crowd(frames, 3, seed), WIDTH, HEIGHT))
    return list(mark_kept_tracks(rows, [1]))


@pytest.mark.parametrize('seed', range(3))
def test_what_is_written_is_read(tmp_path, seed):
    rows, path = random_rows(60, seed), tmp_path/'v.faces.jsonl'
    header = write_sidecar(path, HEADER | dict(note='größer'), iter(rows))
    again, back = read_sidecar(path)
    assert again == header
    assert header.pop('digest') and header == dict(format=SIDECAR_FORMAT) | HEADER | dict(note='größer', frames=60)
    assert list(back) == rows
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_file_is_one_object_a_line_with_the_agreed_names(tmp_path):
    path = tmp_path/'v.faces.jsonl'
    write_sidecar(path, HEADER, [FrameFaces(0, 7, (TrackedFace(3, (1., 2., 3.5, 4.), None, 'filled'),))])
    first, second = map(json.loads, path.read_text().splitlines())
    assert list(first) == ['format', 'video', 'width', 'height', 'detector', 'enlarge', 'frames', 'digest']
    face = {'track': 3, 'box': [1., 2., 3.5, 4.], 'score': None, 'source': 'filled', 'keep': False}
    assert second == {'frame': 0, 'pts': 7, 'faces': [face]}


def test_a_list_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    path = tmp_path/'v.faces.jsonl'
    write_sidecar(path, HEADER, random_rows())
    before = path.read_bytes()
    def broken():
        yield from random_rows()[:5]
        raise OSError("the disk is gone")
    with pytest.raises(OSError, match="disk"): write_sidecar(path, HEADER, broken())
    bad = [dataclasses.replace(r, pts=-r.pts) for r in random_rows()]
    with pytest.raises(ValueError, match="pts must not fall"): write_sidecar(path, HEADER, bad)
    outside = [FrameFaces(0, 0, (TrackedFace(0, (300., 0., 330., 20.), .9, 'found'),))]
    with pytest.raises(ValueError, match="inside 320 by 240"): write_sidecar(path, HEADER, outside)
    with pytest.raises(ValueError, match="width"): write_sidecar(path, HEADER | dict(width=0), [])
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_frames_are_read_one_at_a_time(tmp_path):
    path = tmp_path/'v.faces.jsonl'
    write_sidecar(path, HEADER, (FrameFaces(t, t, ()) for t in range(5_000)))
    tracemalloc.start()
    _, rows = read_sidecar(path)
    assert sum(1 for _ in rows) == 5_000
    assert tracemalloc.get_traced_memory()[1] < 150_000
    tracemalloc.stop()


def edited(lines, number, old, new):
    lines = list(lines)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    return lines


GOOD = [
    '{"format": "faceanon faces 1", "video": "v.mp4", "width": 320, "height": 240, "frames": 3, "detector": "d",'
    ' "enlarge": 1.3}',
    '{"frame": 0, "pts": 0, "faces": []}',
    '{"frame": 1, "pts": 40, "faces": [{"track": 0, "box": [10, 20, 30.5, 40], "score": 0.9, "source": "found",'
    ' "keep": false}, {"track": 1, "box": [1, 2, 3, 4], "score": null, "source": "filled", "keep": true}]}',
    '{"frame": 2, "pts": 40, "faces": [], "cut": true, "doubt": "x"}',
]
BAD = {
    'another format': (1, '"faceanon faces 1"', '"faceanon faces 2"', "format must be 'faceanon faces 1'"),
    'no format': (1, '"format": "faceanon faces 1", ', '', "format must be"),
    'no width': (1, '"width": 320, ', '', "must have 'width'"),
    'a width in words': (1, '320', '"320"', "width must be a whole number"),
    'no height at all': (1, '240', '0', "height must be at least 1"),
    'a negative count': (1, '"frames": 3', '"frames": -3', "frames must be at least 0"),
    'nothing to enlarge': (1, '1.3', '0', "enlarge must be above 0"),
    'true is no number': (1, '"width": 320', '"width": true', "width must be a whole number"),
    'a list for a header': (1, GOOD[0], '[]', "header must be an object"),
    'broken off': (3, ', "keep": true}]}', '', "Expecting"),
    'no JSON': (3, GOOD[2], 'frame 1: no faces', "Expecting value"),
    'an empty line': (3, GOOD[2], '', "Expecting value"),
    'a list for a frame': (3, GOOD[2], '[1, 2]', "a frame must be an object"),
    'a frame twice': (3, '"frame": 1', '"frame": 0', "frame must be 1"),
    'a frame left out': (4, '"frame": 2', '"frame": 3', "frame must be 2"),
    'time runs backwards': (4, '"pts": 40', '"pts": 39', "pts must not fall below 40"),
    'time in seconds': (3, '"pts": 40', '"pts": 1.6', "pts must be a whole number"),
    'no faces': (2, ', "faces": []', '', "must have 'faces'"),
    'faces by name': (2, '[]', '{}', "faces must be a list"),
    'a misspelt key': (3, '"keep"', '"kep"', "may only have"),
    'a key of a frame': (2, '"pts"', '"time": 1, "pts"', "may only have"),
    'a track twice': (3, '"track": 1', '"track": 0', "a track may be in a frame once"),
    'a track below 0': (3, '"track": 1', '"track": -1', "track must be 0 or more"),
    'a track with a name': (3, '"track": 1', '"track": "Ann"', "track must be a whole number"),
    'three numbers': (3, '[1, 2, 3, 4]', '[1, 2, 3]', "four numbers"),
    'a box of words': (3, '[1, 2, 3, 4]', '[1, 2, 3, "4"]', "four numbers"),
    'true in a box': (3, '[1, 2, 3, 4]', '[true, 2, 3, 4]', "four numbers"),
    'width instead of x2': (3, '[10, 20, 30.5, 40]', '[10, 20, 10, 20]', "x1 < x2"),
    'out of the frame': (3, '30.5', '330.5', "inside 320 by 240"),
    'left of the frame': (3, '[10,', '[-10,', "inside 320 by 240"),
    'not a number': (3, '30.5', 'NaN', "finite, got NaN"),
    'infinite': (3, '30.5', 'Infinity', "finite, got Infinity"),
    'too large for a float': (3, '30.5', '1e999', "inside 320 by 240"),
    'a score in per cent': (3, '0.9', '90', "score must be from 0 to 1"),
    'a score in words': (3, '0.9', '"high"', "score must be a number or null"),
    'another source': (3, '"filled"', '"guessed"', "source must be one of found, filled, extended, doubt"),
    'keep as a number': (3, '"keep": true', '"keep": 1', "keep must be true or false"),
    'keep in words': (3, '"keep": true', '"keep": "yes"', "keep must be true or false"),
    'kept and not kept': (3, '"keep": true', '"keep": false, "keep": true', "a key may be there once"),
    'a cut as a number': (4, '"cut": true', '"cut": 1', "cut must be true or false"),
}


@pytest.mark.parametrize('name', BAD)
def test_a_malformed_list_is_refused_by_line_and_rule(tmp_path, name):
    number, old, new, rule = BAD[name]
    path = tmp_path/'v.faces.jsonl'
    path.write_text('\n'.join(edited(GOOD, number, old, new)) + '\n')
    with pytest.raises(ValueError) as caught: read_sidecar(path)
    assert f'v.faces.jsonl, line {number}: ' in str(caught.value) and rule in str(caught.value)


@pytest.mark.parametrize('text,rule', [
    ('', "line 1: the file is empty"), ('\n'.join(GOOD[:3]) + '\n', "line 4: the header says 3 frames, got 2"),
    ('\n'.join(GOOD) + '\n\n', "line 5: "), ('\n'.join([*GOOD, GOOD[1]]), "line 5: the header says 3 frames"),
    ('\n'.join(GOOD[1:]), "line 1: format"), ('\n'.join(GOOD) + '\n\xff', "line 5: "),
    ('\n'.join([GOOD[0], '['*100_000]), "line 2: "),
])
def test_too_short_too_long_empty_or_not_text(tmp_path, text, rule):
    path = tmp_path/'v.faces.jsonl'
    path.write_bytes(text.encode('latin-1'))
    with pytest.raises(ValueError, match=rule): read_sidecar(path)


def test_a_good_list_is_read_however_it_was_saved(tmp_path):
    path = tmp_path/'v.faces.jsonl'
    for text in ('\n'.join(GOOD), '\n'.join(GOOD) + '\n', '\r\n'.join(GOOD) + '\r\n'):
        path.write_bytes(text.encode())
        _, rows = read_sidecar(path)
        rows = list(rows)
        assert [len(r.faces) for r in rows] == [0, 2, 0] and rows[2].cut and rows[2].doubt == 'x'
        assert rows[1].faces[1].keep and not rows[1].faces[0].keep
    with pytest.raises(FileNotFoundError, match="nowhere"): read_sidecar(tmp_path/'nowhere')


def test_keeping_is_by_track_and_by_nothing_else():
    rows = random_rows()
    kept = list(mark_kept_tracks(rows, [0]))
    assert all(f.keep == (f.track == 0) for r in kept for f in r.faces)
    assert not any(f.keep for r in mark_kept_tracks(kept, []) for f in r.faces)
