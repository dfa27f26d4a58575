"Every notebook with widgets in a real browser: JupyterLab runs it, each control is moved once, and the output changes."
import json
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import (
    ROOT,
    chromium,
    examine,
    find_chromium,
    jupyterlab,
    jupyterlab_page,
    opened,
    output_faults,
    shoot,
    wait_for_widgets,
)

NBS = ROOT/'nbs'
SHOWS_WIDGET = re.compile(r'(?<!def )\b\w*(?:_widget|explorer)\(|\binteract(?:ive)?\(')
SCREENSHOTS = os.environ.get('FACEANON_SCREENSHOTS')  # a folder: every notebook is photographed, faults or not

pytestmark = [pytest.mark.xdist_group('browser'), pytest.mark.timeout(1200)]


def cells_of(path): return json.loads(path.read_text(encoding='utf-8'))['cells']


def shows_widget(path):
    return any(SHOWS_WIDGET.search(''.join(c['source'])) for c in cells_of(path) if c['cell_type'] == 'code')


# The chapters define widgets and show none.
NOTEBOOKS = sorted(p.relative_to(NBS) for p in (NBS/'study').glob('*.ipynb') if shows_widget(p))


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "A page of JupyterLab with its faults, and its folder: gone with this module, as the browser keeps an event loop."
    path = find_chromium()
    lacking = [what for what, there in [
        ("Chromium (apt-get install chromium, or CHROMIUM=path)", path is not None),
        ("playwright (pip install playwright)", find_spec('playwright') is not None),
        ("JupyterLab (pip install jupyterlab)", find_spec('jupyterlab') is not None)] if not there]
    if lacking:
        why = "the browser test needs " + ', '.join(lacking)
        if os.environ.get('CI') == 'true': pytest.fail(why, pytrace=False)
        pytest.skip(why)
    folder = tmp_path_factory.mktemp('lab')
    shutil.copytree(NBS, folder/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    with jupyterlab(folder) as address, chromium(path) as context, jupyterlab_page(context, address) as page:
        yield page, folder


def write_notebook(path, *sources):
    import nbformat
    kernel = {'name': 'python3', 'display_name': 'python3', 'language': 'python'}
    nbformat.write(nbformat.v4.new_notebook(
        metadata={'kernelspec': kernel}, cells=[nbformat.v4.new_code_cell(s) for s in sources]), path)


@pytest.mark.parametrize('name', [pytest.param(p.as_posix(), id=p.with_suffix('').as_posix()) for p in NOTEBOOKS])
def test_every_control_is_alive(lab, name, record_property):
    faults, moved = examine(lab[0], f'nbs/{name}', keep=SCREENSHOTS)
    record_property('controls moved', moved)
    assert not faults, '\n'.join(faults)
    assert moved > 0, "no widget is shown"


# A widget with one of each kind of control, all alive, and among them one whose step back waits for a step forward.
ALIVE = '''
import io, time
import ipywidgets as W
from PIL import Image
from matplotlib.figure import Figure
from IPython.display import display
from faceanon.plots.style import preview_png

def png(shade):
    Image.new('RGB', (40, 40), (shade % 256, 80, 80)).save(out := io.BytesIO(), 'png')
    return out.getvalue()

options = dict(options=['a', 'b', 'c'])
kinds = [W.IntSlider(description='int', value=100), W.FloatLogSlider(description='log'), W.Dropdown(**options),
         W.IntRangeSlider(description='range'), W.SelectionSlider(**options, continuous_update=False),
         W.Select(**options), W.SelectMultiple(**options), W.RadioButtons(**options), W.ToggleButtons(**options),
         W.ToggleButton(description='toggle'), W.Checkbox(description='box'), W.Text(description='text'),
         W.Textarea(description='area'), W.IntText(description='number'), W.ColorPicker(description='colour'),
         W.BoundedFloatText(description='most', value=1, max=1, step=.1), W.Play(description='play', interval=200)]
said, plot, shown, forward, back = W.HTML(), W.Output(), W.Image(), W.Button(description='on'), W.Button(icon='back')
step = 0

def redraw(_=None):
    said.value = repr([k.value for k in kinds[:8]]) + str(step)
    shown.value = png(ord(kinds[8].value) + 50 * kinds[9].value + kinds[-1].value)
    with plot:
        plot.clear_output(wait=True)
        fig = Figure(figsize=(2, 1)); fig.text(.1, .5, repr([k.value for k in kinds[8:]])[-40:])
        display(preview_png(fig))
        print([k.value for k in kinds[10:]])

def go(by):
    global step
    step = max(0, step + by)
    redraw()

for k in kinds: k.observe(redraw, 'value')
back.on_click(lambda _: go(-1)); forward.on_click(lambda _: go(1))
redraw()
tabs = W.Tab([W.VBox([back, forward, *kinds[:9]]), W.VBox(kinds[9:])], titles=['first', 'second'])
W.VBox([tabs, said, shown, plot])
'''


def test_live_controls_of_every_kind_are_found_alive(lab):
    page, folder = lab
    write_notebook(folder/'alive.ipynb', ALIVE)
    assert examine(page, 'alive.ipynb', keep=SCREENSHOTS) == ([], 17 + 1 + 2 + 2)



# A film of two bright squares, each a track; both are hidden in the anonymized one.
REVIEW = '''
import av, numpy as np
from faceanon.interactive.review_widgets import review_widget
from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import write_sidecar
from faceanon.video.hiding import MASK_CONFIG
from faceanon.video.reading import describe_film, read_video_frames
from faceanon.video.tracking import FrameFaces, TrackedFace

with av.open('film.mp4', 'w') as out:
    stream = out.add_stream('libx264', rate=25)
    stream.width, stream.height, stream.pix_fmt = 128, 64, 'yuv420p'
    picture = np.full((64, 128, 3), 90, np.uint8)
    picture[20:36, 20:36] = picture[20:36, 80:96] = 250
    for _ in range(30): out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
    out.mux(stream.encode())
faces = tuple(TrackedFace(n, (x, 20., x + 16., 36.), .9, 'found') for n, x in enumerate((20., 80.)))
rows = [FrameFaces(i, frame.pts, faces) for i, frame in enumerate(read_video_frames('film.mp4'))]
about = dict(video='film.mp4', width=128, height=64, detector='', enlarge=1., film=describe_film('film.mp4'))
write_sidecar('hidden.mp4.faces.jsonl', about, rows)
anonymize_video('film.mp4', 'hidden.mp4', MASK_CONFIG.method, None, sidecar='hidden.mp4.faces.jsonl')
review_widget('film.mp4', 'hidden.mp4')
'''


def test_untick_render_again_and_the_face_is_there(lab):
    av = pytest.importorskip('av')
    folder = lab[1]
    write_notebook(folder/'review.ipynb', REVIEW)
    def bright():
        with av.open(str(folder/'hidden.mp4')) as film:
            grey = next(film.decode(video=0)).to_ndarray(format='gray')
            return [bool(grey[20:36, x:x + 16].max() > 150) for x in (20, 80)]
    with opened(lab[0], 'review.ipynb') as (page, faults):
        wait_for_widgets(page)
        assert bright() == [False, False]
        box, button = page.get_by_label('hide track 1'), page.get_by_role('button', name='Render again')
        assert box.is_checked() and not page.get_by_text('stays visible', exact=True).count()
        box.uncheck()
        page.get_by_text('Not rendered yet: 1.').wait_for()
        button.click()
        page.get_by_role('status').filter(has_text='Written: hidden.mp4').wait_for()
        assert bright() == [False, True]
        box.check()
        button.click()
        page.get_by_text('everybody is hidden. The video shows exactly that.').wait_for()
        assert bright() == [False, False]
        if SCREENSHOTS: shoot(page, Path(SCREENSHOTS), 'review')
        assert faults + output_faults(page) == []


# One of everything that is wrong, and a slider that is alive. The dead one draws anew, and draws the same.
FAULTY = ["""
import ipywidgets as W
from IPython.display import HTML
alive, dead, said, plot = W.IntSlider(description='alive'), W.IntSlider(description='dead'), W.HTML(), W.Output()
never, raises = W.Button(description='never', disabled=True), W.Button(description='raises')
alive.observe(lambda change: setattr(said, 'value', str(change['new'])), 'value')
raises.on_click(lambda _: setattr(said, 'value', 'ended') or 1 / 0)

@plot.capture()
def draw_the_same(_=None):
    plot.clear_output()
    print('always the same')

dead.observe(draw_the_same, 'value')
draw_the_same()
W.VBox([alive, dead, never, raises, said, plot])
""",
"import warnings; warnings.warn('take care')",
"HTML('<img src=https://pictures.example/x.png>')",
"W.HTML('<input type=week>')",
"raise KeyError('lost')"]

CAUGHT = [
    r"asks the network for https://pictures\.example/x\.png",
    r"stderr: [^\0]*UserWarning: take care[^\0]*", r"shows 'UserWarning'",
    r"error: KeyError: 'lost'", r"shows 'Traceback'",
    r"a picture is not there: https://pictures\.example/x\.png",
    r"widget 1: slider 'dead' changes nothing",
    r"widget 1: button 'never' was never to be had",
    r"widget 2: unknown 'input week' cannot be tested",
    r"error: ZeroDivisionError: division by zero",  # raised by a button, which JupyterLab itself does not show
]


def test_what_a_reader_would_stumble_over_is_caught(lab):
    page, folder = lab
    write_notebook(folder/'faulty.ipynb', *FAULTY)
    faults, _ = examine(page, 'faulty.ipynb', keep=SCREENSHOTS or folder)
    assert [f for f in faults if not any(re.fullmatch(c, f) for c in CAUGHT)] == [], "a false alarm"
    assert [c for c in CAUGHT if not any(re.fullmatch(c, f) for f in faults)] == [], "not caught"
