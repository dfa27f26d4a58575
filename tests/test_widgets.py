"Widgets moved without a screen: every control changes what is seen, and what is joined is what was measured."
import re
from pathlib import Path

import numpy as np
import pytest

from faceanon.interactive import widgets
from faceanon.plots import details, explorer
from faceanon.plots.style import read_recorded

DATA = Path(__file__).resolve().parents[1]/'figures'/'data'


def committed(name): return read_recorded(DATA/f'{name}.json')


TRADEOFF, CLASSES, ATTACKERS, FACES, DIAL, ABLATION, TEASER, DIAGRAM, GAME = map(committed, (
    'fig5_tradeoff', 'tab1_per_class', 'tab2_attackers', 'fig2_handcrafted', 'fig6_lambda', 'fig8_ablation',
    'fig1_teaser', 'fig3_architecture', 'fig7_dynamics'))
POINTS = explorer.join_points(*(d['rows'] for d in (TRADEOFF, CLASSES, ATTACKERS, FACES)), 0)
SHORT = explorer.short_points(DIAL['rows'], DIAL['references'], ABLATION['rows'])
CHANCE = ATTACKERS['chance_rank1']
PHOTOS = committed('real_tradeoff')
PAIRS = {r['method']: [*zip(FACES['rows'][0]['faces'], r['faces'])] for r in FACES['rows'][1:]}

MADE = {
    'explorer': lambda: widgets.explorer_widget(POINTS, CHANCE),
    'short': lambda: widgets.short_explorer_widget(SHORT),
    'tradeoff': lambda: widgets.tradeoff_widget(POINTS, SHORT, CHANCE),
    'pairs': lambda: widgets.pairs_widget(PAIRS, 'method'),
    'verdict': lambda: widgets.verdict_widget(TEASER['rows'], TEASER['recogniser']),
    'station': lambda: widgets.station_widget(DIAGRAM['rows']),
    'curve': lambda: widgets.curve_widget(GAME['rows'], GAME['probes'], GAME['chance']),
    'ablation': lambda: widgets.ablation_widget(ABLATION['rows'], ABLATION['chance_rank1']),
    'classes': lambda: widgets.classes_widget(CLASSES['rows']),
    'attackers': lambda: widgets.attackers_widget(ATTACKERS['rows'], CHANCE, ATTACKERS['far']),
    'reader': lambda: widgets.reader_widget(PHOTOS['rows'], PHOTOS['attacks']),
}


def below(widget): return [widget, *(w for child in getattr(widget, 'children', ()) for w in below(child))]


def seen(widget): return [w.value for w in below(widget) if type(w).__name__ == 'HTML']


def controls(widget): return [w for w in below(widget) if hasattr(w, 'value') and type(w).__name__ != 'HTML']


def moves(control):
    "Every other option of a choice, both ends of a range."
    if hasattr(control, 'options'): return [v for _, v in control._options_full if v != control.value]
    if isinstance(control.value, tuple): return [(control.min, control.max//2), (control.max//2, control.max)]
    return [control.max, control.min + 1]


@pytest.mark.parametrize('name', MADE)
def test_every_move_of_every_control_changes_what_is_seen(name):
    widget = MADE[name]()
    start = seen(widget)
    assert start and all(start)
    for control in controls(widget):
        first, shown = control.value, [start]
        for value in moves(control):
            control.value = value
            shown.append(seen(widget))
            assert shown[-1] != shown[-2], f'{control.description}: {value}'
        control.value = first
        assert seen(widget) == start, "the way back shows the same"


@pytest.mark.parametrize('name', MADE)
def test_every_picture_is_described_and_brings_its_ground(name):
    for page in seen(MADE[name]()):
        for mark in re.findall(r'<(?:img|svg) [^>]*>', page):
            assert re.search(r'(?:alt|aria-label)="[^"]{15,}"', mark) and 'background:#fff' in mark
        assert '<script' not in page and 'http' not in re.sub(r'xmlns(?::xlink)?="[^"]*"', '', page)


def test_joined_points_are_the_rows():
    assert [(p['method'], p['seed']) for p in POINTS] == [(r['method'], r['seed']) for r in TRADEOFF['rows']]
    for point, row in zip(POINTS, TRADEOFF['rows']):
        own = [r for r in ATTACKERS['rows'] if (r['method'], r['seed']) == (row['method'], row['seed'])]
        assert point['eer'] == {r['attacker']: r['eer'] for r in own} | {'worst': row['eer_worst']}
        assert point['rank1']['worst'] == max(r['rank1'] for r in own if r['attacker'] != 'fixed')
        assert point['maps']['frozen']['near'] == row['map50_near_frozen']
        far = [r['ap'] for r in CLASSES['rows']
               if (r['method'], r['seed'], r['near']) == (row['method'], row['seed'], False)]
        assert point['maps']['fine-tuned']['far'] == pytest.approx(np.mean(far))
        frozen = point['maps']['frozen']
        assert 0.6*frozen['near'] + 0.4*frozen['far'] == pytest.approx(frozen['all'], abs=1e-9)


def test_faces_belong_to_the_seed_that_made_them():
    assert {(p['method'], p['seed']) for p in POINTS if p['method'] == 'learned' and p['faces']} == {('learned', 0)}


def test_short_games_are_apart_and_hold_only_what_was_measured():
    assert {p['name'] for p in SHORT} >= {'λ 4', 'λ 16', 'λ 64', 'black mask', 'no L1'}
    for point in SHORT:
        for actions, attacker in (('far', 'worst'), ('near', 'cnn')):
            with pytest.raises(ValueError, match="not measured"):
                explorer.point_position(point, actions, 'fine-tuned', attacker, 'eer')


def spot(name, x, y, crafted=True, fixed=0.5):
    return dict(name=name, method='learned' if not crafted else name, l1_weight=None, seed=0, crafted=crafted,
                maps={'fine-tuned': dict(near=x)}, eer=dict(worst=y, fixed=fixed), rank1={}, ap={}, faces=[],
                originals=[])


def drawn(fig, gid): return [found for found in fig.axes[0].lines if found.get_gid() == gid][0].get_xydata().tolist()


def test_frontier_by_hand_and_the_learned_are_no_part_of_it():
    points = [spot('a', 0.2, 0.4), spot('b', 0.6, 0.1), spot('c', 0.5, 0.05), spot('d', 0.9, 0.45, crafted=False)]
    fig = explorer.plot_explorer(points, 'near', 'fine-tuned', 'worst', 'eer', None, 0.1)
    assert drawn(fig, 'frontier') == pytest.approx(np.array([[0, 40], [20, 40], [20, 10], [60, 10], [60, 0]]))
    assert drawn(fig, 'frontier fixed') == pytest.approx(np.array([[0, 50], [60, 50], [60, 0]]))
    assert drawn(fig, 'point-3') == [[90, 45]]


def test_the_frontier_falls_from_the_fixed_verifier_to_the_worst_attacker():
    area = {}
    for attacker in ('fixed', 'worst'):
        fig = explorer.plot_explorer(POINTS, 'near', 'fine-tuned', attacker, 'eer', 0, CHANCE)
        stairs = np.array(drawn(fig, 'frontier'))
        area[attacker] = np.trapezoid(stairs[:, 1], stairs[:, 0])
    assert area['worst'] < area['fixed']


@pytest.mark.parametrize('make, message', [
    (lambda: widgets.explorer_widget([], CHANCE), "no points"),
    (lambda: widgets.pairs_widget({'a': []}, 'method'), "needs a pair"),
    (lambda: explorer.plot_explorer(POINTS, 'near', 'fine-tuned', 'worst', 'eer', 99, CHANCE), "index below 16"),
    (lambda: explorer.plot_explorer(POINTS, 'near', 'fine-tuned', 'oracle', 'eer', 0, CHANCE), "not measured"),
    (lambda: explorer.join_points(TRADEOFF['rows'], [], ATTACKERS['rows'], [], 0), "rows of the three files"),
    (lambda: explorer.join_points(TRADEOFF['rows']*2, CLASSES['rows'], ATTACKERS['rows'], [], 0), "rows of the three"),
    (lambda: details.attacker_rates(ATTACKERS['rows'], 'worst', 'beauty'), "measure must be one of"),
    (lambda: details.plot_curve_span(GAME['rows'], [], 'price', 1, (0, 9), 0.1), "curve must be one of"),
    (lambda: details.plot_curve_span(GAME['rows'], [], 'loss_l1', 0, (0, 9), 0.1), "window must be at least 1"),
])
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message): make()


def test_figures_are_kept_the_same_each_time_with_letters_in_print(tmp_path):
    from faceanon.plots.results import plot_tradeoff
    from faceanon.plots.style import save_figure
    fig = plot_tradeoff(TRADEOFF['rows'])
    files = [[p.read_bytes() for p in save_figure(fig, tmp_path/'fig.v1')] for _ in range(2)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ['fig.v1.pdf', 'fig.v1.png', 'fig.v1.svg']
    assert files[0] == files[1]
    assert b'>super-pixel</text>' in files[0][2] and b'CreationDate' not in files[0][1]
