"""The pages that play, written into the site: `faceanon_play.html`, and each widget alone for the notebooks.

Run as a program of its own, because it needs PyTorch and the rest of the site does not.
"""
import sys
from pathlib import Path

from fetch_runtime import RUNTIME, complete

from faceanon.interactive.play_page import WIDGETS, page_data, static_widget, write_play_page

ROOT = Path(__file__).resolve().parents[1]
PARTS = dict(game='stories', frontier='frontier', frames='frames')  # of the page's data


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    data = page_data(ROOT/'figures'/'data')
    for name in WIDGETS: (folder/f'{name}.html').write_text(static_widget(name, data[PARTS[name]]), encoding='utf-8')
    write_play_page(folder/'faceanon_play.html', data, RUNTIME if complete() else None)


if __name__ == '__main__': main(Path(sys.argv[1]))
