"The judge of photographs reads what a method left, however it is hidden, and nothing else."
import csv
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from faceanon.data.files import FACE_COLUMNS
from faceanon.data.lfw import LFW
from faceanon.data.synthetic import make_face
from faceanon.evaluation.discriminants import fit_discriminant, plda_scores
from faceanon.evaluation.dlib_recognizer import has_dlib, read_by_dlib
from faceanon.evaluation.metrics import eer
from faceanon.evaluation.photo_finetuning import (
    ClearStartRecognizer,
    Releases,
    embed_both_ways,
    finetune_cycle,
    finetune_from_clear,
    read_releases,
)
from faceanon.evaluation.photo_judge import (
    ShippedPhotos,
    black_ellipse,
    most_pictured,
    read_photo_attributes,
    ship_photos,
    through_h264,
    through_jpeg,
    worst_reading,
)
from faceanon.evaluation.photo_people import judge_photo_people
from faceanon.evaluation.templates import cosine_scores, make_templates, read_templates, split_pictures


class Tiny(nn.Module):
    "An embedding of 16 pixels."
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.PReLU(16), nn.Flatten(), nn.Linear(16*16, 24))

    def embed(self, faces): return self.net(8*(faces - .5))


def eight_bits(faces): return (faces.clamp(0, 1)*255).round().byte()


METHODS = dict(
    colours=(lambda f: 1 - f[:, [2, 0, 1]], 1), pattern=(lambda f: .5 + .03*(f - .5).flip(2), 1),
    noise=(lambda f: .5 + .15*(f - .5) + .35*torch.randn(f.shape), 16), constant=(lambda f: torch.full_like(f, .4), 1))


def releases_of(method, first, count, pictures, draws):
    generator = torch.Generator().manual_seed(first)
    own = nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=generator), (16, 16))
    ids = torch.arange(count).repeat_interleave(pictures)
    faces = (own[ids] + .06*torch.randn(len(ids), 3, 16, 16, generator=generator)).clamp(0, 1)
    return Releases(eight_bits(faces), torch.stack([eight_bits(method(faces)) for _ in range(draws)]), ids)


@pytest.fixture(scope='module')
def recogniser():
    "Knows clear faces of other people."
    torch.manual_seed(0)
    start = releases_of(METHODS['constant'][0], 3, 30, 6, 1)
    reader = ClearStartRecognizer(Tiny(), start.clear, start.ids)
    for _ in finetune_cycle(reader, start, 120, 48, clear_share=1.): pass
    return reader.net


@pytest.mark.parametrize('name', METHODS)
def test_planted_identities_are_read_and_a_constant_is_not(recogniser, name):
    method, draws = METHODS[name]
    torch.manual_seed(1)
    learned, others = releases_of(method, 0, 40, 6, min(draws, 3)), releases_of(method, 1, 16, 4, 1)
    reader, _ = finetune_from_clear(recogniser, learned, others, 100, 48, most_cycles=1, lr=1e-2)
    rows = [*read_releases(reader, releases_of(method, 2, 20, 8, draws), learned, (1, None), (1, draws), 5, 20)]
    errors = [row['eer'] for row in rows if row['size'] == 1 and row['releases'] == draws]
    if name == 'constant': assert errors == pytest.approx([.5]*len(errors), abs=1e-6)
    else: assert min(errors) < .15
    if name == 'noise':  # a single release tells far less than sixteen
        assert min(row['eer'] for row in rows if row['size'] == 1 and row['releases'] == 1) > min(errors) + .1


def test_the_head_starts_at_the_clear_means_and_the_given_network_stays(recogniser):
    pictures = releases_of(METHODS['constant'][0], 5, 10, 4, 1)
    before = {k: v.clone() for k, v in recogniser.state_dict().items()}
    reader, found = finetune_from_clear(recogniser, pictures, pictures, 3, 8, most_cycles=1)
    assert all(torch.equal(v, before[k]) for k, v in recogniser.state_dict().items())
    fresh = ClearStartRecognizer(recogniser, pictures.clear, pictures.ids)
    rows = embed_both_ways(recogniser, pictures.clear)
    means = torch.stack([rows[pictures.ids == i].mean(0) for i in range(10)])
    assert torch.allclose(nn.functional.cosine_similarity(fresh.directions, means), torch.ones(10), atol=1e-5)
    assert [row['steps'] for row in found] == [0, 3]


def test_another_cycle_follows_only_while_validation_people_are_read_better(recogniser):
    pictures = releases_of(METHODS['constant'][0], 6, 10, 4, 1)  # nothing to learn: every error is one half
    _, found = finetune_from_clear(recogniser, pictures, pictures, 2, 8, most_cycles=4)
    assert [row['eer'] for row in found] == pytest.approx([.5, .5], abs=1e-6)
    learned = releases_of(METHODS['colours'][0], 7, 30, 6, 1)
    _, found = finetune_from_clear(recogniser, learned, learned, 20, 32, most_cycles=3, lr=1e-2, patience=-1.)
    assert len(found) == 4 and found[-1]['eer_clear'] < found[0]['eer_clear']


def test_the_state_is_kept_that_reads_both_galleries_best(recogniser):
    "A method that sends everybody to a place of their own far from their clear face is read among its own pictures."
    def turned(faces): return faces.roll(1, 1).flip(2, 3)  # nothing is lost, everything is elsewhere
    learned, others = releases_of(turned, 8, 30, 6, 1), releases_of(turned, 9, 16, 4, 1)
    reader, found = finetune_from_clear(recogniser, learned, others, 15, 32, most_cycles=2, lr=1e-2, patience=-1.)
    assert all(row['eer'] == min(row['eer_clear'], row['eer_anonymized']) for row in found)
    assert found[0]['eer_anonymized'] < found[0]['eer_clear'] - .1, "the planted case"
    kept = [embed_both_ways(reader, faces) for faces in (others.clear, others.shipped[0])]
    read = sum(read_templates(rows, kept[1], others.ids, 1, rounds=1)['eer'] for rows in kept)
    assert read == pytest.approx(min(row['eer_clear'] + row['eer_anonymized'] for row in found))


def test_plda_is_the_ratio_of_densities():
    gen = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 4, generator=gen), torch.randn(2, 4, generator=gen)
    n, k, b = torch.tensor([1, 2, 9]), torch.tensor([4, 1]), torch.tensor([3., 1., .2, 0.])
    normal = torch.distributions.MultivariateNormal
    for i in range(3):
        for j in range(2):
            wanted = 0.
            for d in range(4):
                cov = torch.tensor([[b[d] + 1/n[i], b[d]], [b[d], b[d] + 1/k[j]]]).double()
                both = torch.stack([x[i, d], y[j, d]]).double()
                wanted += float(normal(torch.zeros(2).double(), cov).log_prob(both))
                wanted -= sum(float(torch.distributions.Normal(0., cov[s, s].sqrt()).log_prob(both[s])) for s in (0, 1))
            assert float(plda_scores(x, n, y, k, b)[i, j]) == pytest.approx(wanted, abs=1e-4)


def test_discriminant_finds_the_direction_of_people_among_louder_ones():
    gen = torch.Generator().manual_seed(0)
    ids = torch.arange(60).repeat_interleave(5)
    rows = torch.randn(300, 20, generator=gen)*5
    rows[:, 7] = 2*torch.randn(60, generator=gen)[ids] + .3*torch.randn(300, generator=gen)
    axis = fit_discriminant(rows, ids, 1, ridge=1e-6).axes[:, 0]
    assert abs(axis[7]) > 10*axis.abs()[torch.arange(20) != 7].max()


def test_templates_compare_no_picture_with_itself():
    gen = torch.Generator().manual_seed(0)
    ids = torch.arange(15).repeat_interleave(6)
    rows = torch.randn(90, 8, generator=gen)  # nothing in common within a person
    assert .4 < read_templates(rows, rows, ids, 1, rounds=2)['eer'] < .6
    known, shown = split_pictures(ids)
    assert not set(known.tolist()) & set(shown.tolist())
    people = torch.randn(15, 8, generator=gen)[ids] + rows
    left, right = make_templates(people[known], ids[known], 3), make_templates(people[shown], ids[shown], 3)
    scores = cosine_scores(left[0], left[2], right[0], right[2])
    same = left[1][:, None] == right[1][None]
    row = read_templates(people, people, ids, 3, rounds=2)
    assert row['eer'] == pytest.approx(eer(scores[same], scores[~same]))
    assert row['rank1'] == pytest.approx((left[1][scores.argmax(0)] == right[1]).float().mean().item())


@pytest.fixture(scope='module')
def lfw(tmp_path_factory):
    "Two people of the world in LFW's layout, the second with more pictures."
    root, rows = tmp_path_factory.mktemp('data'), []
    folder = root/'lfw'
    for i, count in enumerate((2, 4)):
        name = f'Person_{i}'
        (folder/'lfw-deepfunneled'/name).mkdir(parents=True)
        for n in range(1, count + 1):
            key = f'{name}/{name}_{n:04d}.jpg'
            Image.fromarray(make_face(i, n, 250).permute(1, 2, 0).numpy()).save(folder/'lfw-deepfunneled'/key)
            rows.append([key, 70, 70, 80, 80, 92, 100, 158, 100, 125, 130, 100, 165, 150, 165, 1.])
    (folder/'peopleDevTrain.txt').write_text('2\nPerson_0\t2\nPerson_1\t4\n')
    (folder/'peopleDevTest.txt').write_text('1\nNobody\t1\n')
    with open(folder/'faces_yunet.csv', 'w', newline='') as f:
        csv.writer(f).writerows([['image', *FACE_COLUMNS, 'score'], *rows])
    return LFW('train', 80, 2.2, root=root)


def test_photographs_are_shipped_with_their_own_region_painted_black(lfw):
    chosen = most_pictured([person for person, _ in lfw.pictures], 2, 3)
    assert [person for _, person in chosen] == [0, 0, 0, 1, 1] and lfw.pictures[chosen[0][0]][0] == 1
    shipped = ship_photos(black_ellipse, lfw, chosen, 3, batch=2)
    assert shipped.fixed and shipped.faces.shipped.shape == (1, 5, 3, 112, 112)
    assert torch.equal(shipped.black_colours, shipped.colours[0]), "a black method is its own control"
    assert torch.equal(shipped.black_faces, shipped.faces.shipped[0])
    middle = shipped.faces.shipped[0][:, :, 40:80, 40:80]
    assert (middle == 0).all() and (shipped.faces.clear[:, :, 40:80, 40:80] > 0).any()
    corner = shipped.colours[0][:, :, 0, 0]
    assert torch.equal(corner, shipped.clear_colours[:, :, 0, 0])
    through = ship_photos(black_ellipse, lfw, chosen, 1, through_jpeg(50), batch=2)
    assert torch.equal(through.black_faces, through.faces.shipped[0]), "a file's own changes are no changed region"


def test_a_method_that_draws_is_released_several_times_and_the_file_format_is_seen(lfw):
    chosen = most_pictured([person for person, _ in lfw.pictures], 2, 2)
    def tremble(frames, boxes): return (frames + .1*torch.rand_like(frames)).clamp(0, 1)
    shipped = ship_photos(tremble, lfw, chosen, 3, file=lambda pictures: pictures//2*2)
    assert not shipped.fixed and shipped.faces.shipped.shape[0] == shipped.colours.shape[0] == 3
    assert not torch.equal(shipped.faces.shipped[0], shipped.faces.shipped[1])
    dim = ship_photos(lambda frames, boxes: frames, lfw, chosen, 1, file=lambda pictures: pictures//2)
    assert math.isclose(dim.colours[0].double().mean(), dim.clear_colours.double().mean()/2, rel_tol=.02)


@pytest.mark.parametrize('fine, coarse', ((through_jpeg(95), through_jpeg(20)), (through_h264(10), through_h264(45))))
def test_what_is_read_went_through_the_file_and_worse_files_leave_less(lfw, fine, coarse):
    chosen = most_pictured([person for person, _ in lfw.pictures], 2, 2)
    shipped = [ship_photos(lambda frames, boxes: frames, lfw, chosen, 1, file).faces for file in (fine, coarse)]
    lost = [(faces.shipped[0].float() - faces.clear.float()).abs().mean().item() for faces in shipped]
    assert 0 < lost[0] < lost[1] < 30
    mean = [faces.shipped.double().mean().item() for faces in shipped]
    assert mean == pytest.approx([shipped[0].clear.double().mean().item()]*2, rel=.03), "colours stay"


def test_a_frozen_recogniser_with_plda_counts_among_the_worst(recogniser):
    "Shipped pictures are told by a direction that the cosine drowns in a louder one, which all people share."
    def loud(faces): return (.15*faces + .85*torch.rand(len(faces), 1, 1, 1)).clamp(0, 1)
    torch.manual_seed(0)
    learned, tested = releases_of(loud, 20, 60, 6, 1), releases_of(loud, 21, 20, 8, 1)
    read = {(r['gallery'], r['scores']): r for r in read_releases(recogniser, tested, learned, (None,), (1,), 5, 20)}
    cosine, plda = (read['anonymized', scores]['eer'] for scores in ('cosine', 'plda'))
    assert plda < cosine - .05, "the planted case"
    judgement = dict(rows=[read['anonymized', 'cosine']], fixed=[*read.values()])
    assert worst_reading(judgement, None)['eer'] == min(r['eer'] for r in read.values()) <= plda


def test_a_method_that_hides_one_group_only_is_found_out():
    def people(first, count, each):
        gen = torch.Generator().manual_seed(first)
        who = torch.arange(count).repeat_interleave(each)
        own = torch.rand(count, 3, 24, 24, generator=gen)[who]
        clear = (own + .02*torch.randn(own.shape, generator=gen)).clamp(0, 1)
        hidden = (who % 2 == 1)[:, None, None, None]
        made = torch.where(hidden, torch.full_like(clear, .9), clear)
        few = Releases(eight_bits(clear), eight_bits(made)[None], who)
        return ShippedPhotos(few, few.shipped, few.clear, few.clear, few.clear, torch.tensor(True))
    def rows(photos): return [p.flatten(1).float()/255 for p in (photos.clear_colours, photos.colours[0])]
    learned, tested, crowd = people(0, 60, 3), people(1, 20, 4), people(2, 30, 1)
    traits = [dict(odd=photos.faces.ids % 2 == 1) for photos in (learned, tested)]
    read = judge_photo_people(dict(colours=rows), learned, tested, crowd, traits, (10, 50), 4, (1,), 5)
    errors = {r['answer']: r['eer'] for r in read['groups'] if r['state'] == 'anonymized'}
    assert errors[False] < .05 and errors[True] == pytest.approx(.5)
    assert {r['answer']: r['people'] for r in read['groups']} == {True: 10, False: 10}
    assert read['attributes'][0]['auc'] > .95, "being hidden tells the group"
    named = {r['gallery']: r['rank1'] for r in read['ranks'] if r['state'] == 'clear'}
    assert .45 < named[50] <= named[10] < .75, "half of the probes are named, the others by chance"


def test_the_judge_is_calibrated_on_the_m_that_outsiders_have_read():
    "An attacker that cannot do what others did is not used on another M."
    path = Path(__file__).resolve().parents[1]/'figures'/'data'/'photo_judge.json'
    judged = next(row for row in json.loads(path.read_text())['rows']
                  if row['method'] == 'learned' and row['settings']['file'] == 'png')
    clear = [row for row in judged['rows'] if row['gallery'] == 'clear' and row['releases'] == 1]
    def error(size): return min(row['eer'] for row in clear if row['size'] == size)
    assert error(1) <= .26 and error(None) <= .16 and judged['originals']['eer'] < .04


def test_an_attribute_is_read_from_what_was_shipped_and_from_nothing_else():
    "A planted sign: brightness of the collar, in the method's own region or around it."
    def people(first, count, each=4):
        gen = torch.Generator().manual_seed(first)
        who, light = torch.arange(count).repeat_interleave(each), torch.rand(count, generator=gen)
        clear = .3 + .05*torch.randn(len(who), 3, 24, 24, generator=gen)
        clear[:, :, 21:, 8:16] += .4*light[who][:, None, None, None]
        return clear, who
    def shipped(sign, clear, who):
        collar = clear[:, :, 21:, 8:16].mean((1, 2, 3))
        made = torch.full_like(clear, .5) if sign != 'left' else clear.clone()
        if sign == 'written': made[:, 0, 0, 0] += .2*(collar - .5)  # into one pixel of one colour
        black = torch.zeros_like(clear) if sign != 'left' else clear.clone()
        few = Releases(eight_bits(clear), eight_bits(made)[None], who)
        return ShippedPhotos(few, eight_bits(made)[None], eight_bits(clear), eight_bits(black), few.clear,
                             torch.tensor(True))
    for sign, told, outside in (('written', True, False), ('left', True, True), ('hidden', False, False)):
        sets = [shipped(sign, *people(first, count)) for first, count in ((0, 60), (1, 40))]
        read = {(r['seen'], r['attribute']): r['auc'] for r in read_photo_attributes(*sets, 10)}
        for seen, wanted in (('shipped', told), ('black', outside)):
            assert read[seen, 'collar'] > .9 if wanted else read[seen, 'collar'] == pytest.approx(.5), (sign, seen)


@pytest.mark.skipif(not has_dlib(), reason="needs `pip install faceanon[attack]`")
def test_a_frozen_recogniser_reads_what_is_left_and_nothing_of_a_constant():
    people = torch.stack([make_face(i, n, 112) for i in range(10) for n in range(3)])
    who = torch.arange(10).repeat_interleave(3)
    def half(change): return [Releases(people[who < 5], change(people[who < 5])[None], who[who < 5]),
                              Releases(people[who >= 5], change(people[who >= 5])[None], who[who >= 5] - 5)]
    plain, flat = (read_by_dlib(*half(change), rounds=2) for change in (lambda f: f, torch.zeros_like))
    clear = [r['eer'] for r in plain['rows'] if r['size'] == 1 and r['scores'] == 'cosine']
    assert clear == pytest.approx([plain['originals']['eer']]*2) and max(clear) < .35
    assert min(r['eer'] for r in flat['rows'] if r['gallery'] == 'anonymized') > .4
