"""The pages that play, written into the site: `faceanon_play.html`, and each widget alone for the notebooks.

Run as a program of its own, because it needs PyTorch and the rest of the site does not. With FACEANON_PRESET=toy, as in
tests, recordings are short: four pages each.
"""
import os
import sys
from pathlib import Path

from fetch_runtime import RUNTIME, complete
from recorded import recorded_quiz, recorded_review, recorded_runs, recordings

from faceanon.interactive.play_data import short_games
from faceanon.interactive.play_page import page_data, static_widget, write_play_page

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT/'figures'/'data'


def frames(data, most):
    "Name of a frame, its widget, and what it shows."
    short = short_games(FIGURES)
    yield 'game', 'game', data['stories']
    yield 'frames', 'frames', data['frames']
    yield 'frontier', 'frontier', data['frontier']
    yield 'frontier_short', 'frontier', short
    yield 'frontier_all', 'frontier', data['frontier'] + short
    yield 'play3_attack-quiz_widget', 'quiz', recorded_quiz(FIGURES, most)
    yield 'play3_attack-attack_widget', 'recorded', recorded_runs(FIGURES, most)
    yield 'play5_review-review_widget', 'recorded', recorded_review(most)
    for name, found in recordings(most): yield name, 'recorded', found


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    data = page_data(FIGURES)
    most = 4 if os.environ.get('FACEANON_PRESET') == 'toy' else None
    for name, widget, shown in frames(data, most):
        (folder/f'{name}.html').write_text(static_widget(widget, shown), encoding='utf-8')
    write_play_page(folder/'faceanon_play.html', data, RUNTIME if complete() else None)


if __name__ == '__main__': main(Path(sys.argv[1]))
