"How little is left of what lies around a drawn head: in a picture, behind a graph and behind torch, in a film."
import json

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_cli import no_traceback, picture, place, typed, video  # noqa: F401 (a fixture)
from test_many_films import here  # noqa: F401 (a fixture)

from faceanon import cli
from faceanon.models.anonymizer import Anonymizer
from faceanon.models.head_drawing import HEAD_SIZE, _from_ellipse, _rounded_box, draw_in_picture
from faceanon.models.learned_graphs import learned_method, load_graph
from faceanon.models.photo_generator import draw_heads, head_drawing_method
from faceanon.models.released import find_graph
from faceanon.video.commands import UsageProblem, method_from_option
from faceanon.video.run_records import settings_digest

BOX = 30, 20, 130, 160
PLACE = slice(BOX[1], BOX[3]), slice(BOX[0], BOX[2])
ELLIPSE = _from_ellipse((BOX[3] - BOX[1], BOX[2] - BOX[0]))


@pytest.fixture(scope='module')
def M(): return Anonymizer.from_pretrained('real')


@pytest.fixture(scope='module')
def graph(): return load_graph(find_graph('real'))


class Drawing:
    "A grey head in the hidden ellipse; it notes what it is shown."
    def __init__(self, head=.5): self.seen, self.head = [], head

    def __call__(self, face):
        self.seen.append(face[0].transpose(1, 2, 0))
        mask = np.clip((1 - _from_ellipse((HEAD_SIZE, HEAD_SIZE)))/.1, 0, 1).astype(np.float32)
        return [np.full_like(face, self.head), mask[None, None]]


def checker(height=200, width=180):
    return (np.indices((height, width)).sum(0)[..., None] % 2*np.ones(3)).astype(np.float32)


def detail(pixels): return np.abs(np.diff(pixels, axis=0))[:, 1:].max(2) + np.abs(np.diff(pixels, axis=1))[1:].max(2)


@pytest.mark.parametrize('around', [1, 8])
@pytest.mark.parametrize('box', [BOX, (0, 20, 90, 160), (30, 70, 130, 200)], ids=['open', 'left', 'below'])
def test_no_detail_stays_around_a_head_and_the_head_stays(around, box):
    before = checker()
    plain, few = (draw_in_picture(before, np.array([box]), Drawing(), dial) for dial in (None, around))
    part = slice(box[1], box[3]), slice(box[0], box[2])
    whole = {0: (-11, 20, 90, 160), 30: (30, box[1], 130, max(160, box[1] + 138))}[box[0]]
    crop = slice(box[1] - whole[1], box[3] - whole[1]), slice(box[0] - whole[0], box[2] - whole[0])
    far = _from_ellipse((whole[3] - whole[1], whole[2] - whole[0]))[crop]
    inside, ring = far < .85, (far > 1.02) & (_rounded_box(whole, 200, 180)[crop][..., 0] == 1)
    assert ring.sum() > 1000
    np.testing.assert_allclose(few[part][inside], plain[part][inside], atol=1e-6)
    assert detail(plain[part])[ring[1:, 1:]].mean() > 1
    assert detail(few[part])[ring[1:, 1:]].max() < .1
    few[part] = before[part]
    assert (few == before).all(), "nothing outside the box"


def test_the_network_sees_the_face_clear_and_its_surroundings_as_they_ship():
    before, drawing, inner = checker(), Drawing(), _from_ellipse((HEAD_SIZE, HEAD_SIZE))
    for dial in (None, 8): draw_in_picture(before, np.array([BOX]), drawing, dial)
    clear, few = drawing.seen
    assert (few == clear)[inner < .97].all()
    assert detail(few)[inner[1:, 1:] > 1].max() < .1 < detail(clear)[inner[1:, 1:] > 1].mean()


@pytest.mark.parametrize('around', [1, 8, 64])
def test_nothing_of_the_face_gets_around_the_head(around):
    "Another face in the ellipse: around it, and in what lights it, every pixel stays."
    rng = np.random.default_rng(0)
    before = rng.random((200, 180, 3), np.float32)
    other, drawing = before.copy(), Drawing()
    other[PLACE][ELLIPSE < 1] = rng.random(3, np.float32)
    shown = [draw_in_picture(one, np.array([BOX]), drawing, around) for one in (before, other)]
    assert np.abs(before - other).max() > .5
    np.testing.assert_allclose(*(one[PLACE][ELLIPSE > 1.01] for one in shown), atol=1e-6)
    beside = _from_ellipse((HEAD_SIZE, HEAD_SIZE)) > 1
    np.testing.assert_allclose(*(one[beside] for one in drawing.seen), atol=1e-6)


@pytest.mark.parametrize('box', [(0, 0, 60, 90), (0, 20, 40, 160), (0, 0, 180, 200)], ids=['corner', 'half', 'all'])
def test_a_face_that_may_be_cut_keeps_the_fewest(box):
    before, table = np.random.default_rng(0).random((200, 180, 3), np.float32), np.array([box])
    one, four, many = (draw_in_picture(before, table, Drawing(), dial) for dial in (1, None, 8))
    assert (four == many).all()
    assert np.ptp(one[box[1], box[0]:box[2]], 0).max() < 1e-6 < np.ptp(four[box[1], box[0]:box[2]], 0).max()


@pytest.mark.parametrize('box', [(60, 40, 150, 164), (0, 40, 90, 164), (0, 0, 60, 90), (100, 100, 114, 118)],
                         ids=['inside', 'left', 'corner', 'small'])
def test_the_tool_and_evaluations_leave_the_same(M, graph, box):
    frames = torch.nn.functional.interpolate(torch.rand(1, 3, 50, 60), scale_factor=4, mode='nearest')
    shown = frames[0].permute(1, 2, 0).numpy()
    ours = learned_method(graph, 8).change(shown, np.array([box]), key=3)
    theirs = draw_heads(frames, torch.tensor([[0, *box]]), M, 3, 8)[0].permute(1, 2, 0).numpy()
    assert np.abs(255*ours - 255*theirs).max() < 1
    clear = learned_method(graph).change(shown, np.array([box]), key=3)
    assert (np.abs(clear - ours).max() > .05) == (box != (0, 0, 60, 90))


@pytest.mark.parametrize('around', [0, -1, 65, 8., '8', True])
def test_other_numbers_are_refused(M, graph, around):
    for asked in (lambda: head_drawing_method(M, around), lambda: learned_method(graph, around),
                  lambda: draw_in_picture(checker(), np.array([BOX]), Drawing(), around)):
        with pytest.raises(ValueError, match='from 1 to 64'): asked()


@pytest.mark.parametrize('words, rule', [
    (('--around', '0', '--method', 'real'), '--around'), (('--around', '65', '--method', 'real'), '--around'),
    (('--around', 'x', '--method', 'real'), '--around'), (('--around', '8'), 'mask draws none'),
    (('--around', '8', '--method', 'blur'), 'methods that draw heads'), (('--around', '8', '--method', 'world'),
    'draws none'), (('--around', '8', '--replace', 'a.png'), '--replace and --around exclude each other')])
def test_it_is_for_drawn_heads_only(place, words, rule):  # noqa: F811
    picture(place/'a.png')
    result = no_traceback(typed('a.png', '-o', 'b.png', *words))
    assert result.exit_code == 2 and rule in result.output and not (place/'b.png').exists()
    with pytest.raises(UsageProblem): method_from_option('mask', 8)


def test_the_first_line_and_the_settings_tell_it(place):  # noqa: F811
    picture(place/'a.png')
    told = no_traceback(typed('a.png', '--dry-run', '--method', 'real', '--around', '8', '--json'))
    assert '8 by 8 pixels around it' in json.loads(told.stdout)['method']
    assert len({settings_digest(dict(method='real', around=dial)) for dial in (None, 4, 8)}) == 3


def ring_detail(path):
    "Of each decoded frame: detail in the box of the head, beside the hidden ellipse, and far from it."
    with av.open(str(path)) as file: frames = [f.to_ndarray(format='rgb24').astype(float) for f in file.decode(video=0)]
    rows = []
    for step, frame in enumerate(frames):
        x, y = 15 + step, 5                                                # of 54 by 54 pixels
        ring = (_from_ellipse((54, 54)) > 1.05) & (_rounded_box((x, y, x + 54, y + 54), 80, 96)[..., 0] == 1)
        rows.append([detail(frame[y:y + 54, x:x + 54])[ring[1:, 1:]].mean(), detail(frame[:, 75:]).mean()])
    return np.transpose(rows)


@pytest.mark.parametrize('many', [False, True], ids=['one film', 'a list of films'])
def test_a_film_shows_fewer_pixels_around_its_heads(place, here, many):  # noqa: F811
    video(place/'in'/'b.mp4', 2)
    if many: assert CliRunner().invoke(cli.app, ['manifest', 'in', '-o', 'films.jsonl']).exit_code == 0
    more = ('--manifest', 'films.jsonl') if many else ()
    for out, words in (('few', ('--around', '4')), ('clear', ()))[:2 - many]:
        done = no_traceback(typed('in', '-o', out, '--method', 'real', *words, *more))
        assert done.exit_code == 0, done.output
    (before, far), (few, same) = (ring_detail(place/name/'b.mp4') for name in ('in', 'few'))
    assert len(few) == 2 and (few < .3*before).all() and (same > .7*far).all()
    if not many: assert (ring_detail(place/'clear'/'b.mp4')[0] > .7*before).all()
    else:  # the dial is part of what a record says was done
        again = no_traceback(typed('in', '-o', 'few', '--method', 'real', '--around', '8', *more))
        assert again.exit_code == 1 and 'with these settings' in again.output
