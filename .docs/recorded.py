"""Every widget of the study notebooks without its kernel: which frame stands below its cell, and why it has none.

A widget is made by the cells of its own notebook, then recorded; nothing about it is written down twice.
"""
import ast
import base64
import io
import json
import os
import re
import tempfile
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

STUDY = Path(__file__).resolve().parents[1]/'nbs'/'study'
DRAWN = 'With a kernel the notebook draws every place of the controls, at once.'
NETWORK = 'The networks run in Python here; only the pictures are in the page.'
SEEDS = {'noise': [0, 1]}

# Notebook -> widget -> (why a kernel is needed, values that are kept: see `record_widget`).
RECORDED = {
    'fig1_teaser': {'verdict_widget': (DRAWN, {})},
    'fig2_handcrafted': {'pairs_widget': (DRAWN, {'picture (0: all)': [0], 'show': ['both', 'change']})},
    'fig3_architecture': {'station_widget': (DRAWN, {})},
    'fig4_qualitative': {'pairs_widget': (DRAWN, {'picture (0: all)': [0]})},
    'fig7_dynamics': {'curve_widget': (DRAWN, {'smoothing': [1, 5, 20], 'steps': []})},
    'fig8_ablation': {'ablation_widget': (DRAWN, {})},
    'tab1_per_class': {'classes_widget': (DRAWN, {'○': ['none', 'mask', 'blur16']})},
    'tab2_attackers': {'attackers_widget': (DRAWN, {})},
    'real1_tradeoff': {'reader_widget': (DRAWN, {})},
    'real2_per_class': {'classes_widget': (DRAWN, {'○': ['none', 'mask']})},
    'play4_inside': {
        'layers_widget': (NETWORK, {'face': [0, 1, 2, 3], **SEEDS}),
        'blend_widget': (NETWORK, {'position': [0, .25, .5, .75, 1], 'face': [1, 6], 'noise': [0]}),
        'paint_widget': (NETWORK, {'face': [1], 'noise': [0], 'x': [.25, .5, .75], 'y': [.3, .5, .68, .85],
                                   'size': [.2], 'colour': ['black', 'gold']}),
        'swap_widget': (NETWORK, {'face': [0, 1, 5], 'noise': [0], 'taken from': [2, 3, 7]}),
        'survival_widget': (NETWORK, {'person': [0, 5], 'noise': [0]})},
}
# Notebook -> widget -> (frame that shows the same, sentence).
POINTS = ('The same points, drawn by the page itself. The notebook adds the far actions, rank-1, and a card of all '
          'that was measured on a point.')
INSTEAD = {
    'fig5_tradeoff': {'explorer_widget': ('frontier', POINTS)},
    'fig6_lambda': {'short_explorer_widget': ('frontier_short', 'The same points, drawn by the page itself.')},
    'play1_stepper': {
        'live_widget': ('game', 'This widget is alive in every page; only JupyterLab wants a kernel to show it.'),
        'stepper_widget': ('game', 'Each step trains M, D and A, which only a kernel can do. These games were '
                           'recorded.')},
    'play2_tradeoff': {'tradeoff_widget': ('frontier_all', POINTS)},
    'play3_attack': {
        'attack_widget': ('play3_attack-attack_widget', 'An attacker is trained when the button is pressed, which '
                          'only a kernel can do. These runs were recorded.'),
        'quiz_widget': ('play3_attack-quiz_widget', 'The pairs are recorded. The notebook draws others, asks an '
                        'attacker about the same pairs, and writes the sheet of a study.')},
    'play5_review': {'review_widget': (
        'play5_review-review_widget', 'Rendering writes a film on your disk, which only a kernel can do. This is a '
        'frame of each room under every decision about one person.')},
}
SHOWS = re.compile(r'^(\w+_widget)\(', re.MULTILINE)


def frame_of(notebook, source):
    "(name of the frame, sentence) for a cell that shows a widget; None for other cells."
    for name in SHOWS.findall(source):
        if name in RECORDED.get(notebook, {}): return f'{notebook}-{name}', RECORDED[notebook][name][0]
        if name in INSTEAD.get(notebook, {}): return INSTEAD[notebook][name]
        raise LookupError(f"{notebook}: nothing stands in for {name}")
    return None


def mentions_figure(node): return any(isinstance(n, ast.Name) and n.id == 'fig' for n in ast.walk(node))


def calls(node, name): return isinstance(node, ast.Expr) and ast.unparse(node).startswith(f'{name}(')


def cells_until(notebook, widgets):
    """(names that the notebook's cells make, name -> the expression of each widget).

    What the cells draw or show besides is left out."""
    names, found = {'__name__': notebook}, {}
    cells = json.loads((STUDY/f'{notebook}.ipynb').read_text(encoding='utf-8'))['cells']
    for cell in (c for c in cells if c['cell_type'] == 'code'):
        tree = ast.parse(''.join(cell['source']))
        shown = tree.body[-1] if isinstance(tree.body[-1], ast.Expr) else None
        kept = [node for node in tree.body if node is not shown and not mentions_figure(node)]
        with redirect_stdout(io.StringIO()): exec(compile(ast.Module(kept, []), notebook, 'exec'), names)
        found |= {name: ast.unparse(node) for name in widgets for node in tree.body if calls(node, name)}
        if len(found) == len(widgets): return names, found
    raise LookupError(f"{notebook} does not show {set(widgets) - set(found)}")


@contextmanager
def in_study(preset=None):
    "Where the notebooks think they are; what they write goes into a folder that is removed."
    back, before = Path.cwd(), dict(os.environ)
    with tempfile.TemporaryDirectory() as out:
        os.environ.update({'FACEANON_OUT': out} | ({'FACEANON_PRESET': preset} if preset else {}))
        os.chdir(STUDY)
        try: yield
        finally:
            os.chdir(back)
            os.environ.clear()
            os.environ.update(before)


def recordings(most=None):
    "(name of the frame, what it shows) for each of `RECORDED`; at most `most` pages each, None for all that are kept."
    from faceanon.interactive.recordings import record_widget
    with in_study():
        for notebook, widgets in RECORDED.items():
            names, expressions = cells_until(notebook, widgets)
            for name, (why, kept) in widgets.items():
                widget = eval(expressions[name], names)
                yield f'{notebook}-{name}', record_widget(widget, kept, why, most)


def png_page(picture, alt): return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def recorded_runs(figures, most=None):
    "The attack lab: what each attacker had learned at some of its steps."
    from faceanon.config import get_preset
    from faceanon.interactive.attack_lab import full_budget
    from faceanon.interactive.attack_lab_widgets import attack_summary, example_strip
    from faceanon.interactive.recordings import record_pages
    from faceanon.interactive.widgets import figure_html
    from faceanon.plots.scores import plot_attack, score_colour
    from faceanon.plots.style import method_label
    runs, table = (json.loads((figures/f'{name}.json').read_text(encoding='utf-8'))
                   for name in ('lab_runs', 'tab2_attackers'))
    runs = {method_label(run['method']): run for run in runs['runs'][:most and 2]}
    strips = {label: example_strip(run['method'], get_preset('small')) for label, run in runs.items()}
    steps = next(iter(runs.values()))['steps']
    asked = [steps//10, steps*3//10, steps//2, steps][:most and 2]

    def draw(method, step):
        run, label = runs[method], method
        rows, level = run['rows'][:step], full_budget(table['rows'], run['method'], run['attacker'])
        fig = plot_attack(rows, run['steps'], run['people'], level, [], score_colour(run['method']))
        said = attack_summary(rows, run['people'], (run['method'], run['attacker'], run['seed'], run['steps']))
        return (png_page(strips[label], f'faces above, behind {label} below') + '<br>' +
                figure_html(fig, f'loss, rank-1 and EER until step {step}') + f'<p>{said}</p>')
    return record_pages(draw, dict(method={label: label for label in runs}, step={str(n): n for n in asked}),
                        'Recorded at seed 0 with the network cnn. A kernel trains it in front of you, with the seed, '
                        'network and number of steps that you choose.', ['step'])


def recorded_quiz(figures, most=None):
    "Ten pairs behind each method."
    from faceanon.config import get_preset
    from faceanon.data.synthetic_people import PEOPLE
    from faceanon.interactive.attack_lab import pictures_as_pairs, quiz_faces
    from faceanon.interactive.quiz import draw_items, pair_picture
    from faceanon.interactive.recordings import webp_address
    from faceanon.plots.style import method_label
    rows = json.loads((figures/'lab_scores.json').read_text(encoding='utf-8'))['rows']
    scores, methods = {row['method']: row['eer'] for row in rows}, []
    for name in [*scores][:most and 2]:
        items = draw_items([name], PEOPLE['val_unseen'], 10, controls=0, checks=0)
        pairs = pictures_as_pairs(quiz_faces(items, get_preset('small')))
        methods.append(dict(label=method_label(name), eer=scores[name], pairs=[
            dict(same=item['same'], picture=webp_address(pair_picture(*pair))) for item, pair in zip(items, pairs)]))
    return dict(methods=methods, note='Drawn people. Ten answers say little: by guessing alone one reader in six gets '
                'seven or more. The notebook draws other pairs, mixes in originals and checks of attention, and keeps '
                'the answers.')


def recorded_review(most=None):
    "A frame of each room under every decision about one person, as the film would show it."
    from faceanon.interactive.recordings import record_pages
    from faceanon.interactive.widgets import figure_html
    from faceanon.video.rerender import preview_decisions
    with in_study('toy'):
        names, _ = cells_until('play5_review', ['review_widget'])
        film, hidden, listed, whole = (names[k] for k in ('film', 'hidden', 'listed', 'whole'))
        read, plot, config = names['read_review_frame'], names['plot_review_frame'], names['MASK_CONFIG']
        numbers = {f'{n} of {whole.frames}': n for n in (whole.frames*k//6 for k in (1, 3, 5)[:most and 2])}
        pairs = {n: read(film, hidden, listed, n) for n in numbers.values()}
        tracks = sorted({track for pair in pairs.values() for track in pair.tracks})[:most and 1]

        def draw(frame, visible):
            shown = replace(pairs[frame], after=preview_decisions(film, listed, frame, visible, config))
            return figure_html(plot(shown, visible), f'frame {frame}, visible: {visible or "nobody"}')
        choices = dict(frame=numbers, visible={'nobody': []} | {f'track {t}': [t] for t in tracks})
        return record_pages(draw, choices, 'A face that is ticked as visible stays as it is in the whole film, all '
                            'others are covered. A kernel renders your film again, with any of four methods.')
