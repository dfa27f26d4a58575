"The attack lab and the quiz: what is drawn is balanced, what is answered is kept, what is claimed is right."
import json

import pytest
import torch

from faceanon.config import get_preset
from faceanon.data.synthetic_people import PEOPLE
from faceanon.evaluation.attackers import make_attacker
from faceanon.evaluation.metrics import eer, roc
from faceanon.interactive import attack_lab_widgets
from faceanon.interactive.attack_lab import LabSize, lab_sets, train_and_probe
from faceanon.interactive.quiz import (
    answer_row,
    append_answer,
    draw_items,
    read_answers,
    score_answers,
    wilson_interval,
)
from faceanon.plots.scores import score_curve

SIZE = LabSize(people=4, pictures=6, held_out=3, strangers=4)


def test_a_quiz_is_balanced_and_the_same_for_the_same_seed():
    items = draw_items(['blur8'], PEOPLE['val_unseen'], 20, seed=3)
    asked = [i for i in items if i['kind'] == 'method']
    assert len(asked) == 20 and sum(i['same'] for i in asked) == 10
    assert items == draw_items(['blur8'], PEOPLE['val_unseen'], 20, seed=3)
    assert items != draw_items(['blur8'], PEOPLE['val_unseen'], 20, seed=4)
    assert len({i['id'] for i in items}) == len(items)


@pytest.mark.parametrize('right, of', [(0, 5), (7, 10), (40, 40), (51, 100)])
def test_wilson_is_the_published_formula(right, of):
    z = 1.959963984540054
    centre, half = right + z*z/2, z*(right*(of - right)/of + z*z/4)**.5
    ends = (centre - half)/(of + z*z), (centre + half)/(of + z*z)
    assert wilson_interval(right, of) == pytest.approx(ends, abs=1e-9)


def test_answers_survive_a_line_cut_short_and_wrong_ones_are_refused(tmp_path):
    path, items = tmp_path/'answers.jsonl', draw_items(['blur8'], PEOPLE['val_unseen'], 4)
    for item in items: append_answer(path, answer_row(item, 'same', 'r1', 1.5, True))
    with path.open('a') as file: file.write('{"id": "half')
    answers, broken = read_answers(path)
    assert (len(answers), broken) == (len(items), 1)
    append_answer(path, answer_row(items[0], 'different', 'r2', 1., True))
    assert len(read_answers(path)[0]) == len(items) + 1, "the cut line swallows nothing"
    with pytest.raises(ValueError, match='maybe'): answer_row(items[0], 'maybe', 'r1', 1., True)
    rows = score_answers(read_answers(path)[0])
    assert rows and all(0 <= row['low'] <= row['accuracy'] <= row['high'] <= 1 for row in rows if row['answers'])


def test_a_curve_of_scores_is_the_metrics_own():
    gen = torch.Generator().manual_seed(0)
    genuine, impostor = torch.randn(200, generator=gen) + 1, torch.randn(900, generator=gen)
    curve, exact = score_curve(genuine.numpy(), impostor.numpy()), roc(genuine, impostor)
    points = set(zip(exact.far.tolist(), exact.tar.tolist()))
    assert all(any(abs(f - x) < 1e-6 and abs(t - y) < 1e-6 for x, y in points)
               for f, t in curve.T)
    assert 0 < eer(genuine, impostor) < .5


def test_the_lab_repeats_itself_and_reads_originals():
    cfg, size = get_preset('small'), LabSize(people=6, pictures=12, held_out=4, strangers=4)
    sets = lab_sets('none', cfg, size)
    def run(): return list(train_and_probe(make_attacker('cnn', *sets['gallery'], 0), sets, 60, 32, 0, 3))
    first, again = run(), run()
    assert first == again
    assert [row['rank1'] for row in first if 'rank1' in row][-1] > 2/6


def test_every_control_of_the_lab_changes_what_is_seen(tmp_path, monkeypatch):
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    view = attack_lab_widgets.attack_widget((), SIZE, 20, 2)
    (method, kind), (seed, budget, *_), faces, curves, said = (getattr(v, 'children', v) for v in view.children)
    seen = [(faces.value, curves.value, said.value)]
    for control, value in ((method, 'mask'), (budget, 40)):
        control.value = value
        assert (faces.value, curves.value, said.value) != seen[-1]
        seen.append((faces.value, curves.value, said.value))


def test_the_quiz_counts_an_answer(tmp_path, monkeypatch):
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    view = attack_lab_widgets.quiz_widget(size=SIZE, steps=20)
    pair, said = view.children[3:5]
    before, (same, *_) = pair.value, view.children[2].children
    same.click()
    assert pair.value != before
    kept = [json.loads(line) for line in (tmp_path/'runs'/'quiz-answers.jsonl').read_text().splitlines()]
    assert [row['answer'] for row in kept] == ['same']
    assert 'Pair 2' in said.value
