"The audit against films of which everything is known: who walks where, and in which frame the face was left."
import io
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from test_recognizer_graph import shaken_network

from faceanon.faces import crop_faces, enlarge_boxes, resize, to_float, to_uint8
from faceanon.models.baselines import BASELINES
from faceanon.models.face_detectors import Detections
from faceanon.models.recognizer_graph import load_recognizer
from faceanon.video.audit import (
    CLEAR_THRESHOLD,
    SMALL_FACE_SIDE,
    FaceComparison,
    _cut_face,
    audit_frames,
    leak_runs,
    pair_frames,
    track_frame_pairs,
)
from faceanon.video.audit_report import audit_html, exceeds_max_leak, read_audit, summarize_audit, write_audit
from faceanon.video.face_detail import remaining_detail
from faceanon.video.track_attackers import (
    TRACK_ATTACKS,
    TrackSamples,
    _vectors,
    attack_tracks,
    crop_aligned,
    crop_unaligned,
    identify_tracks,
)
from faceanon.video.tracking import FrameFaces, TrackedFace

HEIGHT, WIDTH, LENGTH = 72, 160, 30


def texture(seed, side=32):
    "Something with the detail of a face, uint8."
    gen = torch.Generator().manual_seed(seed)
    return to_uint8(resize(torch.rand(1, 3, 12, 12, generator=gen), side).clamp(0, 1))[0]


def walk(person, y):
    "Boxes `(frame, x1, y1, x2, y2)` of one who walks through the whole film."
    return [(i, 4 + 4*i, y, 36 + 4*i, y + 32) for i in range(LENGTH)]


WALKS = {0: walk(0, 2), 1: walk(1, 38)}


def film_of(walks, length=LENGTH):
    "uint8 `(t, 3, h, w)`: people before a coarse ground, which differs a little from frame to frame."
    gen = torch.Generator().manual_seed(99)
    ground = to_uint8(resize(torch.rand(1, 3, 9, 20, generator=gen), (HEIGHT, WIDTH)).clamp(0, 1))
    film = ground.repeat(length, 1, 1, 1)
    for person, boxes in walks.items():
        for i, x1, y1, x2, y2 in boxes: film[i, :, y1:y2, x1:x2] = texture(person)
    return film


class Known:
    "A finder that knows frames by a number written into their first pixel, and misses what it is told to miss."
    def __init__(self, walks, misses=()): self.walks, self.misses, self.batches = walks, misses, []

    def detect(self, frames):
        self.batches.append(len(frames))
        numbers = to_uint8(frames)[:, 0, 0, 0].tolist()
        rows = [(place, *box) for place, number in enumerate(numbers) for person, boxes in self.walks.items()
                for i, *box in boxes if i == number and (person, i) not in self.misses]
        boxes = torch.tensor(rows, dtype=torch.int64).view(-1, 5)
        corners = boxes[:, 1:].float().view(-1, 2, 2)
        spots = torch.tensor([[.3, .35], [.7, .35], [.5, .6], [.35, .8], [.65, .8]])
        return Detections(boxes, torch.full((len(boxes),), .9),
                          corners[:, :1] + spots*(corners[:, 1:] - corners[:, :1]))

    def __call__(self, frames): return self.detect(frames).boxes


def numbered(film):
    film = film.clone()
    film[:, :, 0, 0] = torch.arange(len(film), dtype=torch.uint8)[:, None]
    return film


ORIGINAL = numbered(film_of(WALKS))


def rows(walks): return torch.tensor([box for boxes in walks.values() for box in boxes])


def hide(film, method='mask', walks=WALKS, but=(), enlarge=1.1):
    "The film with all faces but those `(person, frame)` hidden by a method."
    boxes = rows({p: [b for b in boxes if (p, b[0]) not in but] for p, boxes in walks.items()})
    boxes = enlarge_boxes(boxes, enlarge, *film.shape[2:])
    kept = film.clone()
    out = to_uint8(BASELINES[method](to_float(film), boxes))
    for p, i in but:  # a neighbour's enlarged box may reach in
        _, x1, y1, x2, y2 = next(b for b in walks[p] if b[0] == i)
        out[i, :, y1:y2, x1:x2] = kept[i, :, y1:y2, x1:x2]
    return out


def audit(anonymized, original=ORIGINAL, finder=None, rate=25, **more):
    return audit_frames(original, anonymized, finder or Known(WALKS), rate, **more)


@pytest.mark.parametrize('method', ['mask', 'blur8', 'pixelate'])
def test_hidden_faces_are_no_leak(method):
    leaks = audit(hide(ORIGINAL, method))['leaks']
    keys = 'rate', 'leaked', 'faces', 'tracks_leaked', 'longest_ms'
    assert [leaks[k] for k in keys] == [0, 0, 60, 0, 0]


def test_all_faces_of_an_untouched_film_leak():
    leaks = audit(ORIGINAL)['leaks']
    assert (leaks['rate'], leaks['leaked'], leaks['tracks'], leaks['tracks_leaked']) == (1, 60, 2, 2)
    assert leaks['longest_ms'] == LENGTH*40


@pytest.mark.parametrize('change', [lambda f: .5*f + .2, lambda f: 1 - f*.9, lambda f: f + .03*torch.randn_like(f)])
def test_a_changed_but_readable_face_leaks(change):
    torch.manual_seed(0)
    changed = to_uint8(change(to_float(ORIGINAL)).clamp(0, 1))
    negative = change(torch.ones(1)).item() < change(torch.zeros(1)).item()
    assert audit(changed)['leaks']['rate'] == (0 if negative else 1)


def test_one_frame_in_the_middle_is_found_with_its_length():
    leaks = audit(hide(ORIGINAL, but=[(1, 13)]), rate=30)['leaks']
    assert (leaks['leaked'], leaks['rate'], leaks['tracks_leaked']) == (1, 1/60, 1)
    assert leaks['runs'] == [dict(track=1, first=13, last=13, start_s=.433, ms=33.333)]


def test_runs_are_listed_the_longest_first_and_do_not_join_across_a_gap():
    left = [(0, 5), (1, 8), (1, 9), (1, 10), (1, 12)]
    leaks = audit(hide(ORIGINAL, but=left))['leaks']
    assert [(r['track'], r['first'], r['last'], r['ms']) for r in leaks['runs']] == [
        (1, 8, 10, 120), (0, 5, 5, 40), (1, 12, 12, 40)]
    assert (leaks['longest_ms'], leaks['runs_in_all']) == (120, 3)


def listed(keep=(), walks=WALKS, moved=0):
    "A list of faces as an anonymizer writes it; people of `keep` are marked."
    def face(person, box):
        return TrackedFace(person, tuple(float(v + moved) for v in box[1:]), .9, 'found', person in keep)
    return [FrameFaces(i, i, tuple(face(p, boxes[i]) for p, boxes in walks.items())) for i in range(LENGTH)]


def test_a_face_kept_on_purpose_is_counted_apart():
    film = hide(ORIGINAL, walks={0: WALKS[0]})
    blind, told = audit(film), audit(film, listed=listed(keep=[1]), hidden_by='Known')
    assert blind['leaks']['rate'] == .5 and blind['kept'] == dict(faces=0, tracks=0, clear=0)
    assert (told['leaks']['rate'], told['leaks']['faces'], told['leaks']['tracks']) == (0, 30, 1)
    assert told['leaks']['longest_ms'] == 0 and told['kept'] == dict(faces=30, tracks=1, clear=30)
    assert '30 more were kept on purpose' in summarize_audit(told) and 'Kept on purpose' in audit_html(told)
    assert 'kept' not in summarize_audit(blind) and 'Kept on purpose' not in audit_html(blind)
    assert not exceeds_max_leak(told, 0) and exceeds_max_leak(blind, 0)


@pytest.mark.parametrize('rows', [
    listed(), listed(keep=[0]), listed(keep=[1], moved=25),
    [FrameFaces(r.frame, r.pts, (*r.faces, TrackedFace(9, r.faces[1].box, None, 'filled'))) for r in listed(keep=[1])],
    [FrameFaces(r.frame, r.pts, ()) for r in listed()],
], ids=['nobody is kept', 'another is kept', 'the box is elsewhere', 'somebody is to be hidden there', 'no face'])
def test_a_face_that_is_not_surely_kept_is_a_leak(rows):
    film = hide(ORIGINAL, walks={0: WALKS[0]})
    assert audit(film, listed=rows)['leaks']['leaked'] == 30


def test_a_list_of_another_length_is_refused():
    for rows in (listed()[:-1], listed() + [FrameFaces(LENGTH, LENGTH, ())]):
        with pytest.raises(ValueError, match='list of faces .*of another'): audit(ORIGINAL, listed=rows)


def test_times_of_frames_are_used_where_they_are_known():
    left, times = [(0, 4), (1, 8), (1, 9), (1, 10)], [i/25 + (i > 4) for i in range(LENGTH)]
    leaks = audit(hide(ORIGINAL, but=left), times=times)['leaks']
    assert [(r['track'], r['start_s'], r['ms']) for r in leaks['runs']] == [(0, .16, 1040), (1, 1.32, 120)]
    assert leaks['longest_ms'] == 1040 and audit(hide(ORIGINAL, but=left))['leaks']['longest_ms'] == 120
    assert audit(ORIGINAL, times=times)['seconds'] == pytest.approx(LENGTH/25 + 1)
    even = [i/25 for i in range(LENGTH)]
    assert audit(hide(ORIGINAL, but=left), times=even)['leaks'] == audit(hide(ORIGINAL, but=left))['leaks']


def test_an_older_audit_can_still_be_shown(tmp_path):
    new = {'kept', 'detector'}
    old = {key: value for key, value in audit(hide(ORIGINAL, but=[(1, 13)])).items() if key not in new}
    page = audit_html(read_audit(write_audit(tmp_path/'a.json', old)))
    assert '1 of 60' in page and 'Kept on purpose' not in page


@pytest.mark.parametrize('half', ['upper', 'lower', 'left', 'right'])
def test_half_a_face_is_a_leak(half):
    film = hide(ORIGINAL)
    _, x1, y1, x2, y2 = WALKS[0][7]
    if half == 'upper': y2 -= 16
    if half == 'lower': y1 += 16
    if half == 'left': x2 -= 16
    if half == 'right': x1 += 16
    film[7, :, y1:y2, x1:x2] = ORIGINAL[7, :, y1:y2, x1:x2]
    assert [(r['track'], r['first']) for r in audit(film)['leaks']['runs']] == [(0, 7)]


def test_a_frame_the_detector_missed_is_looked_at_and_counted_apart():
    missed = Known(WALKS, misses=[(0, 10), (0, 11)])
    leaks = audit(hide(ORIGINAL, but=[(0, 10), (0, 11)]), finder=missed)['leaks']
    assert (leaks['rate'], leaks['faces'], leaks['filled_leaked'], leaks['filled']) == (0, 58, 2, 2)
    assert [(r['track'], r['first'], r['last']) for r in leaks['runs']] == [(0, 10, 11)]
    assert exceeds_max_leak(dict(leaks=leaks), .5), "the film shows what both detectors missed"


def test_no_face_at_all_has_no_rate_and_says_so():
    result = audit(ORIGINAL, finder=Known({}))
    assert result['leaks']['rate'] is None and result['leaks']['faces'] == 0
    assert 'no leak rate' in summarize_audit(result) and 'no leak rate' in ' '.join(result['notes'])
    assert not exceeds_max_leak(result, 0)
    assert '0.00 %' not in audit_html(result)


def test_without_an_original_faces_are_face_like_and_there_is_no_verdict():
    result = audit(ORIGINAL, original=None, attackers={'pixels': pixels})
    assert result['leaks'] is None and result['facelike'] == dict(faces=60, tracks=2, frames=30)
    assert 'face-like' in summarize_audit(result) and 'Face-like' in audit_html(result)
    assert [name.split()[0] for name in result['attackers']['pixels']] == ['anonymized']
    assert (result['ssim']['inside'], result['ssim']['outside'], result['flicker']) == (None, None, None)
    assert not result['compared'] and 'What changed' not in audit_html(result)
    with pytest.raises(ValueError, match="without the original"): exceeds_max_leak(result, .1)


@pytest.mark.parametrize('cut', ['original', 'anonymized'])
def test_films_of_two_lengths_are_refused(cut):
    films = dict(original=ORIGINAL, anonymized=ORIGINAL) | {cut: ORIGINAL[:-1]}
    with pytest.raises(ValueError, match=f"the {cut} video ends after 29 frames"): audit(**films)


def test_films_that_cannot_be_audited_are_refused():
    with pytest.raises(ValueError, match="frame 0 .* one size"): audit(ORIGINAL[..., :-2])
    with pytest.raises(ValueError, match="frame 3 .* one size"):
        list(pair_frames([*ORIGINAL[:3], ORIGINAL[3, :, :9]], [*ORIGINAL[:3], ORIGINAL[3, :, :9]]))
    with pytest.raises(ValueError, match="anonymized frame 0 must be uint8"): audit(to_float(ORIGINAL))
    with pytest.raises(ValueError, match="original frame 0 must be uint8"): audit([None], original=[torch.zeros(3)])
    with pytest.raises(ValueError, match="no frame"): audit([], original=[])
    for rate in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="rate must be positive"): audit(ORIGINAL, rate=rate)


def test_films_are_read_once_and_not_far_ahead():
    ahead = []

    def reader(film):
        for i, frame in enumerate(film):
            ahead.append(i)
            yield frame

    for view in track_frame_pairs(pair_frames(reader(ORIGINAL), iter(ORIGINAL)), Known(WALKS), gap=3, batch=4):
        assert ahead[-1] - view.row.frame <= 3 + 4
    assert ahead == list(range(LENGTH))


def test_batches_change_nothing():
    one, many = (list(track_frame_pairs(pair_frames(ORIGINAL, ORIGINAL), Known(WALKS), batch=n)) for n in (1, 64))
    assert [v.row for v in one] == [v.row for v in many]


def test_runs_are_those_of_counting_frame_by_frame():
    rng = np.random.default_rng(0)
    for _ in range(50):
        table = rng.random((3, 12)) < .5
        looks = [FaceComparison(t, f, True, 30, 1. if table[t, f] else 0.) for t in range(3) for f in range(12)]
        rng.shuffle(looks)
        found = leak_runs(looks)
        assert sorted((t, f) for t, a, b in found for f in range(a, b + 1)) == sorted(zip(*np.nonzero(table)))
        for t, a, b in found: assert (a == 0 or not table[t, a-1]) and (b == 11 or not table[t, b+1])
        assert [b - a for _, a, b in found] == sorted((b - a for _, a, b in found), reverse=True)


def test_what_is_away_from_faces_is_measured_there():
    clean = hide(ORIGINAL)
    assert audit(clean, enlarge=1.5)['ssim']['outside'] == pytest.approx(1)
    assert audit(clean)['ssim']['inside'] < .3
    dirty = to_uint8(BASELINES['noise01'](to_float(clean), torch.tensor([[i, 0, 0, 4, 72] for i in range(LENGTH)])))
    assert audit(dirty, enlarge=1.5)['ssim']['outside'] < .99


def test_flicker_is_that_of_the_faces():
    assert audit(ORIGINAL)['flicker'] == 0
    shaky = hide(ORIGINAL)
    for i, x1, y1, x2, y2 in WALKS[0]: shaky[i, :, y1:y2, x1:x2] = 255*(i % 2)
    assert audit(shaky)['flicker'] > audit(hide(ORIGINAL))['flicker'] + .2


def test_a_scene_cut_is_no_flicker():
    film = numbered(torch.cat([film_of(WALKS)[:15], film_of(WALKS)[15:]//4]))
    dark = hide(film)
    dark[15:] = film[15:]  # hidden before, clear after: a change that belongs to no scene
    assert [v.row.frame for v in track_frame_pairs(pair_frames(film, dark), Known(WALKS)) if v.row.cut] == [15]
    whole = audit(dark, film)['flicker']
    parts = [audit(dark[part], film[part])['flicker'] for part in (slice(15), slice(15, 30))]
    assert whole == pytest.approx(sum(parts)/2, abs=1e-6)


def pixels(faces): return resize(torch.from_numpy(faces), 8).flatten(1).numpy() - .5


def test_attackers_name_clear_faces_and_not_masked_ones():
    open_film, masked = (audit(film, attackers={'pixels': pixels})['attackers']['pixels']
                         for film in (ORIGINAL, hide(ORIGINAL, enlarge=1.4)))
    assert [(a['rank1'], a['eer']) for a in open_film.values()] == [(1, 0)]*3
    clear, across, within = masked.values()
    assert (clear['rank1'], clear['eer']) == (1, 0)
    assert across['rank1'] == within['rank1'] == .5, "a lot among two tracks"
    assert .3 < within['eer'] <= .7


def test_what_is_around_a_face_names_it_too():
    tight = audit(hide(ORIGINAL, enlarge=1), attackers={'pixels': pixels})['attackers']['pixels']
    assert tight['anonymized gallery, anonymized probe']['rank1'] > .8
    assert 'surroundings of the face' in ' '.join(audit(ORIGINAL, attackers={'pixels': pixels})['notes'])


def test_gallery_and_probes_are_of_different_frames():
    tracks, at_even, at_odd = np.arange(2).repeat(4), np.eye(2), np.eye(2)[::-1]
    vectors = np.stack([(at_odd if i % 2 else at_even)[t] for i, t in zip([*range(4)]*2, tracks)])
    assert identify_tracks(vectors, vectors, tracks) == (0, 2, '')


def test_the_gallery_is_clear_where_it_says_so():
    "Every other face is hidden: those the gallery is made of are clear, those to be named are not."
    faces = {t: [texture(t).permute(1, 2, 0).numpy()]*8 for t in (0, 1)}
    samples = {t: TrackSamples(faces=[(f, f*(i % 2 == 0)) for i, f in enumerate(fs)]) for t, fs in faces.items()}
    assert [a['rank1'] for a in attack_tracks(samples, pixels, 'pixels', TRACK_ATTACKS).values()] == [1, .5, .5]


def test_attackers_are_given_only_what_the_detector_found():
    given = []

    def embed(faces):
        given.append(len(faces))
        return pixels(faces)

    audit(ORIGINAL[:9], ORIGINAL[:9], Known(WALKS, misses=[(0, 3), (0, 4)]), attackers={'a': embed})
    assert given == [16, 16]


def test_too_few_faces_or_tracks_give_no_rate_but_the_reason():
    alone = audit(ORIGINAL, finder=Known({0: WALKS[0]}), attackers={'pixels': pixels})
    assert audit_html(alone).count('naming needs two') == 3
    one = alone['attackers']['pixels']
    assert {(a['rank1'], a['eer']) for a in one.values()} == {(None, None)}
    assert all('needs two' in a['why'] for a in one.values())
    short = {p: boxes[:3] for p, boxes in WALKS.items()}
    few = audit(ORIGINAL, finder=Known(short), attackers={'pixels': pixels})['attackers']['pixels']
    assert [(a['rank1'], a['eer']) for a in few.values()] == [(1, None)]*3
    assert all('fewer than 30' in a['why'] for a in few.values())
    none = audit(ORIGINAL, finder=Known({}), attackers={'pixels': pixels})['attackers']['pixels']
    assert {a['why'] for a in none.values()} == {'no face was found'}


def test_a_broken_attacker_is_named():
    broken = {'nan': lambda faces: faces.mean((2, 3))*math.nan, 'flat': lambda faces: faces.mean((1, 2, 3))}
    for name, embed in broken.items():
        with pytest.raises(ValueError, match=f"attacker '{name}'"): audit(ORIGINAL, attackers={name: embed})


def test_faces_can_be_aligned_for_attackers():
    sizes = set()

    def embed(faces):
        sizes.add(tuple(faces.shape[1:]))
        return pixels(faces)

    found = audit(ORIGINAL, attackers={'a': embed}, cut=crop_aligned)['attackers']['a']
    assert sizes == {(3, 112, 96)} and [a['rank1'] for a in found.values()] == [1]*3
    with pytest.raises(ValueError, match="landmarks"):
        audit(ORIGINAL, finder=lambda frames: Known(WALKS)(frames), attackers={'a': embed}, cut=crop_aligned)


def test_vectors_of_faces_are_those_of_the_torch_path(tmp_path):
    "Faces are cut, rounded to eight bits and recognized: as arrays in ONNX Runtime, and as tensors."
    net = shaken_network(0)
    torch.save(net.state_dict(), tmp_path/'weights.pth')
    frame, boxes = ORIGINAL[3], torch.tensor([[0, *walk[3][1:]] for walk in WALKS.values()] + [[0, 0, 0, 9, 70]])
    picture, nowhere = frame.permute(1, 2, 0).numpy(), np.full((5, 2), np.nan)
    ours = np.stack([_cut_face(picture, box, nowhere, crop_unaligned) for box in boxes[:, 1:].numpy()])
    theirs = to_uint8(crop_faces(to_float(frame)[None], enlarge_boxes(boxes, 1.2, HEIGHT, WIDTH), 112))
    steps = np.abs(ours.transpose(0, 3, 1, 2).astype(int) - theirs.numpy())
    assert steps.max() <= 1 and steps.mean() < .01, "one level, where a value lies between two"
    vectors = _vectors(load_recognizer(tmp_path/'weights.pth').embed, ours, 'MobileFaceNet')
    with torch.no_grad(): expected = net.embed(to_float(theirs)).numpy()
    assert np.abs(expected).max() > .1 and np.abs(vectors - expected).max() < 1e-4


def test_a_cut_that_gives_no_numbers_is_told():
    with pytest.raises(ValueError, match='cuts faces gave NaN'):
        audit(ORIGINAL, attackers={'pixels': pixels}, cut=lambda *_: np.full((8, 8, 3), np.nan))


@pytest.mark.parametrize('length', [1, 15, 16, 17, 100, 1000])
def test_samples_are_few_and_spread(length):
    samples = TrackSamples()
    for i in range(length):
        if samples.accepts(16): samples.faces.append(i)
    steps = set(np.diff(samples.faces))
    assert samples.faces[0] == 0 and len(steps) <= 1 and min(length, 8) <= len(samples.faces) <= 16
    assert length - samples.faces[-1] <= max(steps, default=1)


class Page(HTMLParser):
    "Tags and addresses of a page; every tag closed in order."
    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.addresses = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [v for k, v in attrs if k in ('src', 'href')]
        if tag != 'meta': self.open.append(tag)

    def handle_endtag(self, tag): assert self.open.pop() == tag


def test_the_page_holds_itself_and_no_picture():
    name = '<b>me & you</b> "x".mp4'
    result = audit(hide(ORIGINAL, but=[(1, 13)]), attackers={'<i>2 pixels</i>': pixels})
    text = audit_html(result, name)
    page = Page(text)
    assert page.open == [] and page.addresses == []
    assert not page.tags & {'script', 'img', 'link', 'iframe', 'svg', 'b', 'i'}
    assert 'http' not in text and 'url(' not in text and '@import' not in text and '@media print' in text
    assert '1 of 60' in text and '40 ms' in text and 'Attackers tested' in text
    assert 'irreversible' not in text.lower() and 'anonymous' not in text.lower()


def test_an_audit_survives_its_file(tmp_path, monkeypatch):
    result = audit(hide(ORIGINAL, but=[(1, 13)]), attackers={'pixels': pixels})
    path = tmp_path/'audit.json'
    path.write_text('an old one')
    assert write_audit(path, result) == path
    assert read_audit(path) == result and [p.name for p in tmp_path.iterdir()] == ['audit.json']
    assert audit_html(read_audit(path)) == audit_html(result)
    with pytest.raises(ValueError): write_audit(path, result | dict(flicker=math.nan))
    with monkeypatch.context() as patched:
        patched.setattr('os.replace', lambda *paths: 1/0)
        with pytest.raises(ZeroDivisionError): write_audit(path, result | dict(flicker=0))
    assert read_audit(path) == result, "the old file stays where writing fails"
    assert [p.name for p in tmp_path.iterdir()] == ['audit.json']
    for text in ('', '[]', '{"format": "another"}', '{'):
        path.write_text(text)
        with pytest.raises(ValueError, match="audit.json is no audit"): read_audit(path)


@pytest.mark.parametrize('limit, over', [(0, True), (1/60, False), (.5, False)])
def test_a_limit_is_kept_when_it_is_reached(limit, over):
    assert exceeds_max_leak(audit(hide(ORIGINAL, but=[(1, 13)])), limit) is over


@pytest.mark.parametrize('limit', [-.1, 1.1, math.nan])
def test_a_limit_is_a_share(limit):
    with pytest.raises(ValueError, match="max_leak"): exceeds_max_leak(audit(ORIGINAL[:1], ORIGINAL[:1]), limit)


def test_coding_leaves_a_face_clear_and_a_hidden_one_hidden():
    av = pytest.importorskip('av')

    def coded(film):
        file = io.BytesIO()
        with av.open(file, 'w', format='mp4') as out:
            stream = out.add_stream('libx264', rate=25)
            stream.height, stream.width = film.shape[2:]
            stream.pix_fmt, stream.options = 'yuv420p', dict(crf='28')
            for frame in film:
                picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format='rgb24')
                out.mux(stream.encode(picture))
            out.mux(stream.encode())
        file.seek(0)
        with av.open(file) as back:
            pictures = [torch.from_numpy(f.to_ndarray(format='rgb24')) for f in back.decode(video=0)]
        return torch.stack(pictures).permute(0, 3, 1, 2)

    assert audit(coded(ORIGINAL))['leaks']['rate'] == 1
    assert [audit(coded(hide(ORIGINAL, method)))['leaks']['rate'] for method in ('mask', 'blur8', 'pixelate')] == [0]*3


def test_detail_is_that_of_the_better_half_whatever_the_light():
    face = to_float(texture(5))[None]
    assert remaining_detail(face, face).item() == pytest.approx(1, abs=.01)
    assert remaining_detail(face, .3*face + .5).item() > CLEAR_THRESHOLD
    assert remaining_detail(face, torch.full_like(face, .5)).item() == 0
    assert abs(remaining_detail(face, to_float(texture(6))[None]).item()) < .5
    mixed = torch.cat([face, to_float(texture(6))[None]])
    assert torch.allclose(remaining_detail(mixed, mixed[[0, 0]]),
                          torch.cat([remaining_detail(m[None], face) for m in mixed]))


def test_less_is_enough_for_a_small_face():
    sides = (SMALL_FACE_SIDE - 1, SMALL_FACE_SIDE)
    assert [FaceComparison(0, 0, True, side, .6).is_clear() for side in sides] == [True, False]
    assert not FaceComparison(0, 0, True, 9, .4).is_clear()
    assert FaceComparison(0, 0, True, SMALL_FACE_SIDE, CLEAR_THRESHOLD).is_clear()


def test_json_holds_plain_numbers():
    json.dumps(audit(hide(ORIGINAL), attackers={'pixels': pixels}), allow_nan=False)
