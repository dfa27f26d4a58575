"Figures are read back: where the marks are, in which colour, under which name."
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from faceanon.plots import method_tables, pictures, results, style

METHODS, MEASURES = list(style.METHOD_LABELS), tuple(method_tables.MEASURE_LABELS)
DATA = Path(__file__).resolve().parents[1]/'figures'/'data'


def picture(seed, side=40):
    return pictures.picture_to_text(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def tradeoff_row(method, seed=0, near=0.5, worst=0.3, **changes):
    return dict(method=method, l1_weight=None, seed=seed, map50=0.7, map50_near=near, map50_far=0.98, map50_frozen=0.6,
                map50_near_frozen=near/2, eer_fixed=0.4, eer_worst=worst, rank1_worst=0.2,
                attacker_worst='cnn') | changes


def crowd():
    "Fourteen methods as they may well lie: many near each other, at the borders and on the chance line."
    near = [80, 20, 55, 72, 78, 50, 66, 50, 38, 58, 62, 30, 75, 52]
    worst = [4, 50, 10, 7, 6, 14, 9, 14, 18, 11, 12, 36, 36, 22]
    return [tradeoff_row(m, seed, (n + d)/100, (w + d/4)/100) for m, n, w in zip(METHODS, near, worst)
            for seed, d in enumerate((-1, 0, 1))]


def scene(state):
    return dict(state=state, frame=picture(1, 64), face_box=[10, 5, 40, 35], true_name='Ada',
                names=[['Ada', 0.9], ['Bo', 0.1]], boxes=[dict(box=[5, 2, 50, 60], label='FoldingTextile', score=0.9)])


def diagram():
    return {k: v for k, v in scene('').items() if k not in ('state', 'names')} | dict(
        face=picture(2), code=picture(3, 10), anonymized=picture(4), pasted=picture(5, 64),
        names_original=[['Ada', 0.9]], names_anonymized=[['Bo', 0.6]])


DIAL = dict(value=1, seed=0, map50_near=0.5, eer_worst=0.3, l1=0.1, ssim=0.5)
STEP = dict(step=0, seed=0, d_accuracy=0.5, loss_adv=1.0)
PROBE = dict(step=0, seed=0, accuracy=0.5)
LOOK = dict(step=0, seed=0, nats=3.0, one=0.49, ten=0.4) | dict.fromkeys(results.DRAWN_LOSS_LABELS, 1.0)
PART = dict(group='', variant='full', seed=0, map50_near=0.5, eer_worst=0.3, rank1_worst=0.2)
AP = dict(method='none', seed=0, action='Drinking', near=True, ap=0.8)
ATTACK = dict(method='none', seed=0, attacker='cnn', eer=0.1, rank1=0.8, auc=0.95, tar=0.7)
PAIR = dict(kind='face', line=0, original=picture(1), anonymized=picture(2))

DRAW = {  # name: (draws rows, one good row, its fractions)
    'tradeoff': (results.plot_tradeoff, tradeoff_row('mask'), results.TRADEOFF_KEYS),
    'dial': (lambda rows: results.plot_lambda_sweep(rows, 'λ', {}), DIAL, ('map50_near', 'eer_worst', 'l1')),
    'dynamics': (lambda rows: results.plot_dynamics(rows, [PROBE], 0.1), STEP, ('d_accuracy',)),
    'probes': (lambda rows: results.plot_dynamics([STEP], rows, 0.1), PROBE, ('accuracy',)),
    'drawn_dynamics': (results.plot_drawn_dynamics, LOOK, ('one', 'ten')),
    'ablation': (lambda rows: results.plot_ablation(rows, 0.1), PART, ('map50_near', 'eer_worst', 'rank1_worst')),
    'per_class': (method_tables.plot_per_class, AP, ('ap',)),
    'per_class_markdown': (method_tables.per_class_markdown, AP, ('ap',)),
    'attackers': (lambda rows: method_tables.plot_attackers(rows, 0.1, 0.01), ATTACK, MEASURES),
    'attackers_markdown': (lambda rows: method_tables.attackers_markdown(rows, 0.1, 0.01), ATTACK, MEASURES),
    'handcrafted': (pictures.plot_handcrafted, dict(method='mask', faces=[picture(0)]), ()),
    'qualitative': (pictures.plot_qualitative, PAIR, ()),
    'architecture': (pictures.plot_architecture, diagram(), ()),
}
BAD = [(name, key, value) for name, (_, _, fractions) in DRAW.items() for key in fractions
       for value in (-0.01, 48.5, float('nan'), '0.5', None)]


@pytest.mark.parametrize('name', DRAW)
def test_good_rows_are_drawn_and_no_rows_are_refused(name):
    draw, row, _ = DRAW[name]
    assert draw([row])
    with pytest.raises(ValueError, match="no rows"): draw([])


@pytest.mark.parametrize('name', DRAW)
def test_every_missing_column_is_named(name):
    draw, row, _ = DRAW[name]
    for key in set(row) - {'loss_adv'}:
        with pytest.raises(ValueError, match=f"row 0 lacks .*{key}"): draw([{k: v for k, v in row.items() if k != key}])


@pytest.mark.parametrize('name, key, value', BAD)
def test_what_is_no_fraction_is_refused(name, key, value):
    draw, row, _ = DRAW[name]
    with pytest.raises(ValueError, match=f"{key} must be a fraction"): draw([row | {key: value}])


def named(ax, gid): return [line for line in ax.lines if line.get_gid() == gid]


def test_tradeoff_puts_each_method_at_its_means():
    fig = results.plot_tradeoff(crowd())
    for ax, key in zip(fig.axes, ('eer_fixed', 'eer_worst')):
        for method in METHODS:
            mark, = named(ax, method)
            rows = [r for r in crowd() if r['method'] == method]
            means = [100*np.mean([r[k] for r in rows]) for k in ('map50_near', key)]
            assert mark.get_xydata()[0] == pytest.approx(means)
            frozen, = named(ax, f'frozen {method}')
            assert frozen.get_xdata()[0] == pytest.approx(means[0]/2)


def test_tradeoff_bars_run_from_least_to_most_over_seeds():
    seen = [(.2, .3), (.3, .5), (.7, .4)]
    rows = [tradeoff_row('mask', seed, near, worst) for seed, (near, worst) in enumerate(seen)]
    bars = [line.get_xydata() for line in results.plot_tradeoff(rows).axes[1].lines if line.get_label() == '_range']
    assert np.array(bars) == pytest.approx(np.array([[[20, 40], [70, 40]], [[40, 30], [40, 50]]]))


def test_only_the_highlighted_method_has_the_accent():
    for highlight in ('learned', 'mask'):
        ax = results.plot_tradeoff(crowd(), highlight).axes[0]
        assert [m for m in METHODS if named(ax, m)[0].get_color() == style.ACCENT] == [highlight]
    assert named(ax, 'paper_objective')[0].get_marker() == 'D'


def test_frontier_is_of_the_hand_crafted_methods_alone():
    rows = [tradeoff_row('mask', near=0.2, worst=0.5), tradeoff_row('blur8', near=0.6, worst=0.1),
            tradeoff_row('edge', near=0.1, worst=0.4), tradeoff_row('learned', near=0.9, worst=0.45)]
    stairs, = named(results.plot_tradeoff(rows).axes[1], 'frontier')
    assert stairs.get_xydata() == pytest.approx(np.array([[0, 50], [20, 50], [20, 10], [60, 10], [60, 0]]))


def boxes_of_labels(ax):
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    return {t.get_text(): t.get_window_extent(renderer) for t in ax.texts if t.get_text() != 'chance'}


def test_fourteen_labels_touch_neither_each_other_nor_a_mark():
    fig = results.plot_tradeoff(crowd())
    fig.draw_without_rendering()
    for ax in fig.axes:
        boxes = boxes_of_labels(ax)
        assert sorted(boxes) == sorted(style.METHOD_LABELS.values())
        pairs = [(a, b) for a in boxes for b in boxes if a < b and boxes[a].overlaps(boxes[b])]
        assert pairs == []
        points = ax.transData.transform([named(ax, m)[0].get_xydata()[0] for m in METHODS])
        assert [(a, m) for a, box in boxes.items() for m, p in zip(METHODS, points) if box.contains(*p)] == []
        assert all(ax.bbox.contains(*corner) for box in boxes.values() for corner in (box.min, box.max))


def test_settings_of_one_method_are_told_apart():
    rows = [tradeoff_row('learned', near=n, l1_weight=w) for w, n in ((2.0, 0.5), (8.0, 0.7))]
    assert set(boxes_of_labels(results.plot_tradeoff(rows).axes[0])) == {'learned M, λ 2', 'learned M, λ 8'}


def test_drawing_twice_gives_the_same_picture():
    first, second = (style.preview_png(results.plot_tradeoff(crowd())).tobytes() for _ in range(2))
    assert first == second


def test_figures_leave_the_settings_of_others_alone():
    import matplotlib
    before = dict(matplotlib.rcParams)
    results.plot_tradeoff(crowd())
    assert dict(matplotlib.rcParams) == before


def test_dial_is_in_order_with_levels():
    rows = [DIAL | dict(value=v, map50_near=n) for v, n in ((4, 0.6), (0, 0.2), (0.5, 0.4))]
    near, eer, _ = results.plot_lambda_sweep(rows, 'λ', {'none': dict(map50_near=0.8)}).axes
    assert named(near, 'map50_near')[0].get_ydata() == pytest.approx([20, 40, 60])
    assert [t.get_text() for t in near.get_xticklabels()] == ['0', '0.5', '4']
    assert [line.get_ydata()[0] for line in (named(near, 'original') + named(eer, 'chance'))] == [80, 50]


def test_dynamics_has_a_strip_a_term_and_a_line_a_seed():
    rows = [dict(step=s, seed=seed, d_accuracy=0.2, loss_adv=1.0, loss_l1=0.5) for seed in (0, 1) for s in range(30)]
    fig = results.plot_dynamics(rows[::-1], [PROBE | dict(step=9, accuracy=0.6), PROBE], 0.1)
    assert len(fig.axes) == 3
    assert [len(named(ax, key)) for ax, key in zip(fig.axes, ('loss_adv', 'loss_l1', 'd_accuracy'))] == [2, 2, 2]
    assert named(fig.axes[0], 'loss_adv')[0].get_xdata().tolist() == list(range(30))
    assert named(fig.axes[2], 'probe')[0].get_xydata() == pytest.approx(np.array([[0, 50], [9, 60]]))


def test_ablation_has_the_full_recipe_on_top_in_the_accent():
    rows = [PART | dict(group='terms', variant='no L1', map50_near=0.3), PART]
    fig = results.plot_ablation(rows, 0.1)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ['full', 'terms: no L1']
    for ax in fig.axes:
        assert named(ax, '/full')[0].get_color() == style.ACCENT
        assert named(ax, '/full')[0].get_ydata()[0] > named(ax, 'terms/no L1')[0].get_ydata()[0]


def cell_texts(fig): return [t for t in fig.axes[0].texts if t.get_text().replace('.', '').isdigit()]


def test_per_class_gives_each_mean_its_own_classes():
    rows = [AP, AP | dict(action='Phoning', ap=0.4), AP | dict(action='Ironing', near=False, ap=0.9)]
    cells = ['80.0', '40.0', '60.0', '90.0', '90.0', '70.0']
    assert [t.get_text() for t in cell_texts(method_tables.plot_per_class(rows))] == cells
    assert method_tables.per_class_markdown(rows).splitlines()[2] == f"| original | {' | '.join(cells)} |"


def test_attackers_in_bold_are_those_that_read_most():
    rows = [ATTACK, ATTACK | dict(attacker='sphere', eer=0.2, rank1=0.9, auc=0.9, tar=0.8)]
    bold = [t.get_text() for t in cell_texts(method_tables.plot_attackers(rows, 0.1, 0.01)) if t.get_weight() == 'bold']
    assert bold == ['10.0', '90.0', '95.0', '80.0']
    assert method_tables.attackers_markdown(rows, 0.1, 0.01).count('**') == 8


def test_attackers_that_were_not_run_leave_their_cells_empty():
    rows = [ATTACK, ATTACK | dict(method='mask', attacker='sphere', eer=0.5)]
    lines = method_tables.attackers_markdown(rows, 0.1, 0.01).splitlines()
    original, mask = (line.split('|')[2:4] for line in lines[2:4])
    assert [cell.strip() for cell in original + mask] == ['**10.0**', '', '', '**50.0**']


def test_teaser_names_the_true_one_in_the_accent_and_the_action():
    ax = pictures.plot_teaser([scene('original'), scene('anonymized')], 'somebody').axes[0]
    assert {t.get_color() for t in ax.texts if t.get_text() == 'Ada'} == {style.ACCENT}
    assert {t.get_color() for t in ax.texts if t.get_text() == 'Bo'} == {style.PLAIN}
    assert sum(t.get_text() == 'A finds: folding textile' for t in ax.texts) == 2


@pytest.mark.parametrize('changes, message', [
    (dict(face_box=[10, 5, 80, 35]), "not within a frame"),
    (dict(face_box=[10, 5, 10, 35]), "not within a frame"),
    (dict(names=[['Ada', 93]]), "probabilities"),
    (dict(names=[]), "probabilities"),
    (dict(frame='no picture'), "not a picture"),
])
def test_teaser_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        pictures.plot_teaser([scene('original') | changes, scene('anonymized')], 'somebody')


def test_boxes_lie_where_the_detector_saw_them():
    fig, ax = style.blank_page(2, 2)
    pictures.draw_boxes(ax, [dict(box=[10, 20, 60, 80], label='Ironing', score=1)], (100, 200), 0.5, 0.25, 1.0)
    drawn = ax.patches[0].get_bbox()
    assert [drawn.x0, drawn.y0, drawn.x1, drawn.y1] == pytest.approx([0.55, 0.35, 0.8, 0.65])


def test_pictures_survive_and_bad_ones_are_refused():
    flat = np.full((30, 20, 3), (200, 100, 50), np.uint8)
    assert abs(pictures.picture_from_text(pictures.picture_to_text(flat)).astype(int) - flat).max() <= 4
    for bad in (flat/255, flat[..., 0], flat[..., :2]):
        with pytest.raises(ValueError, match="uint8"): pictures.picture_to_text(bad)


def test_pairs_share_a_line():
    rows = [PAIR | dict(line=line) for line in (0, 0, 1, 1)] + [PAIR | dict(kind='frame')]
    images = pictures.plot_qualitative(rows).axes[0].images
    bottoms = sorted({round(i.get_extent()[2], 6) for i in images})
    assert [sum(round(i.get_extent()[2], 6) == b for i in images) for b in bottoms] == [2, 4, 4]


@pytest.mark.parametrize('preset, stamps', [('toy', ['toy run']), ('small', []), ('paper', [])])
def test_only_a_toy_run_is_stamped(preset, stamps):
    fig = style.stamp_toy_run(results.plot_tradeoff(crowd()), dict(preset=preset))
    assert [t.get_text() for t in fig.texts] == stamps


# --- recorded numbers ---

def plainly(name): return json.loads((DATA/f'{name}.json').read_text(encoding='utf-8'))


def test_a_recorded_game_gives_its_losses_their_full_names():
    short, full = plainly('fig7_dynamics')['rows'], style.read_recorded(DATA/'fig7_dynamics.json')['rows']
    assert {'d', 'adv', 'det', 'l1', 'rate'} < set(short[0])
    for before, after in zip(short, full, strict=True):
        names = {key: f'loss_{key}' for key in ('d', 'adv', 'det', 'l1', 'rate')}
        assert after == {names.get(key, key): value for key, value in before.items()}


@pytest.mark.parametrize('name', ['works', 'mask', 'weak', 'still'])
def test_a_recorded_story_gives_its_losses_their_full_names(name):
    for moment in style.read_recorded(DATA/f'story_{name}.json')['moments']:
        for key in ('before', 'after_d', 'after_ma', 'weights'):
            assert {'loss_adv', 'loss_det', 'loss_l1'} <= set(moment[key]) <= set(style.RECORDED_LOSSES.values())


@pytest.mark.parametrize('name', ['fig5_tradeoff', 'fig6_lambda', 'inside_paths', 'real_tradeoff'])
def test_numbers_that_are_no_losses_keep_their_names(name):
    assert '"l1"' in (DATA/f'{name}.json').read_text(encoding='utf-8')
    assert style.read_recorded(DATA/f'{name}.json') == plainly(name)
