"""The pages that play, written into the site: `faceanon_play.html`, each widget alone for the notebooks, and the
picture of the front.

Run as a program of its own, because it needs PyTorch and the rest of the site does not. With FACEANON_PRESET=toy, as in
tests, recordings are short: four pages each.
"""
import os
import sys
from pathlib import Path

import torch
from fetch_runtime import RUNTIME, complete
from PIL import Image
from recorded import recorded_quiz, recorded_review, recorded_runs, recordings

from faceanon.data.synthetic import make_face
from faceanon.data.synthetic_people import ACTIONS, PEOPLE
from faceanon.faces import to_float, to_uint8
from faceanon.interactive.play_data import short_games
from faceanon.interactive.play_page import page_data, static_widget, write_play_page
from faceanon.models.anonymizer import Anonymizer

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT/'figures'/'data'
MOMENT = 1200  # ms that a draw is shown


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


@torch.no_grad()
def front_pictures(draws, count=6, side=96):
    "People of the test set above; below, what the M that draws makes of them, draw by draw."
    torch.manual_seed(0)
    faces = torch.stack([make_face(p, 0, action=a) for p, a in zip(PEOPLE['test_unseen'][:count], ACTIONS)])
    M = Anonymizer.from_pretrained('world-drawn-0')
    for _ in range(draws):
        rows = [torch.cat([*row], 2) for row in (faces, to_uint8(M(to_float(faces))))]
        sheet = Image.fromarray(torch.cat(rows, 1).permute(1, 2, 0).numpy())
        yield sheet.resize((count*side, 2*side), Image.BICUBIC)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    data = page_data(FIGURES)
    most = 4 if os.environ.get('FACEANON_PRESET') == 'toy' else None
    first, *others = front_pictures(most or 12)
    look = dict(format='WEBP', quality=75, method=6)
    first.save(folder/'front.webp', save_all=True, append_images=others, duration=MOMENT, loop=0, **look)
    first.save(folder/'front_still.webp', **look)
    for name, widget, shown in frames(data, most):
        (folder/f'{name}.html').write_text(static_widget(widget, shown), encoding='utf-8')
    write_play_page(folder/'faceanon_play.html', data, RUNTIME if complete() else None)


if __name__ == '__main__': main(Path(sys.argv[1]))
