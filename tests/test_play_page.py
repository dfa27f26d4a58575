"The page that plays, as a reader opens it: from the disk, offline. What it computes is compared with PyTorch."
import base64
import importlib
import io
import json
import sys
import tarfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM_ARGS, find_chromium
from conftest import docs_module
from PIL import Image

from faceanon.config import get_preset
from faceanon.data.synthetic import make_face
from faceanon.evaluation.networks import fixed_verifier
from faceanon.faces import to_float
from faceanon.interactive.play_page import WIDGETS, live_widget, static_widget, write_play_page
from faceanon.interactive.recordings import record_pages
from faceanon.models.anonymizer import Anonymizer
from faceanon.models.baselines import blur8, mask, pixelate
from faceanon.plots.judges import readers_of_heads

pytest.importorskip('playwright')
pytestmark = [pytest.mark.xdist_group('docs'), pytest.mark.timeout(2400),
              pytest.mark.skipif(not find_chromium(), reason="no Chromium here")]
ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT/'figures'/'data'
PARTS = dict(game='stories', frontier='frontier', frames='frames')
RECORDED = docs_module('recorded')
FRAMES = sorted({'frames', *(f'{notebook}-{name}' for notebook, made in RECORDED.RECORDED.items() for name in made),
                 *(name for made in RECORDED.INSTEAD.values() for name, _ in made.values())})
LONG = 120_000  # ms: a busy machine; what is waited for is a state of the page


@pytest.fixture
def networks(runtime):
    "The page has networks only where onnxruntime-web is."
    if why := runtime[1]: pytest.skip(f"no onnxruntime-web: {why}")


@pytest.fixture(scope='session')
def page_file(play_pages): return play_pages/'faceanon_play.html'


@pytest.fixture(scope='module')
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        camera = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGS + camera)
        yield browser
        browser.close()


@contextmanager
def opened(browser, path, **options):
    "A page without a network, and the lists of what it asked for and what went wrong."
    context = browser.new_context(offline=True, **options)
    page, asked, faults = context.new_page(), [], []
    page.set_default_timeout(LONG)
    page.on('request', lambda request: asked.append(request.url))
    page.on('pageerror', lambda error: faults.append(str(error)))
    page.on('console', lambda message: message.type in ('error', 'warning') and faults.append(message.text))
    if path: page.goto(path.as_uri())
    yield page, asked, faults
    context.close()


@pytest.fixture(scope='module')
def play(browser, page_file):
    with opened(browser, page_file, viewport=dict(width=1300, height=900)) as (page, asked, faults):
        page.wait_for_selector('body[data-ready=yes]')
        yield page, asked, faults


@pytest.fixture(scope='module')
def data(play): return play[0].evaluate('window.faceanon.then(found => found.data)')


def faces(count=10): return to_float(torch.stack([make_face(2000 + i, 7) for i in range(count)]))


def test_the_page_is_one_file_of_ten_megabytes_that_asks_for_nothing(play, page_file):
    page, asked, faults = play
    assert page_file.stat().st_size <= 10_000_000
    assert [url for url in asked if not url.startswith('blob:')] == [page_file.as_uri()]
    assert faults == []


@torch.no_grad()
@pytest.mark.parametrize('name, weights, most', [('ours', 'small-learned-0', 1e-4),
                                                 ('paper', 'small-paper_objective-0', .05)])
def test_M_in_the_page_equals_torch_on_ten_faces(networks, play, name, weights, most):
    page, M, shown = play[0], Anonymizer.from_pretrained(weights), faces()
    code = M.mean_code(shown)
    noise = torch.randn_like(code)
    found = page.evaluate('''async ([name, faces, noise]) => {
        const { anonymizers } = await window.faceanon
        return Array.from(await anonymizers[name].anonymize(new Float32Array(faces), new Float32Array(noise)))
    }''', [name, shown.flatten().tolist(), noise.flatten().tolist()])
    wanted = M.decode(code + M.noise*noise)
    assert (torch.tensor(found).view_as(wanted) - wanted).abs().max() < most
    assert (wanted - shown).abs().mean() > .05


@torch.no_grad()
def test_the_verifier_in_the_page_says_what_it_says_in_torch(networks, play):
    D, shown = fixed_verifier(get_preset('small')), faces(4)
    found = play[0].evaluate('''async faces => {
        const known = await (await window.faceanon).recognize(faces.map(face => new Float32Array(face)))
        return known.map(({ embedding, names }) => [Array.from(embedding), names[0][0]])
    }''', [face.flatten().tolist() for face in shown])
    embeddings = torch.tensor([row[0] for row in found])
    assert torch.cosine_similarity(embeddings, D.embed(shown), dim=1).min() > .999
    assert [row[1] for row in found] == D(shown).argmax(1).tolist()


@pytest.mark.parametrize('name, change', [('mask', mask), ('blur', blur8), ('pixelate', pixelate)])
def test_methods_by_hand_are_those_of_the_tables(networks, play, name, change):
    shown = faces(3)
    found = play[0].evaluate('''async ([name, faces]) => {
        const { HAND_MADE } = await window.faceanon
        return faces.map(face => Array.from(HAND_MADE[name](new Float32Array(face))))
    }''', [name, [face.flatten().tolist() for face in shown]])
    boxes = torch.tensor([[i, 0, 0, 40, 40] for i in range(3)])
    torch.testing.assert_close(torch.tensor(found).float().view(3, 3, 40, 40), change(shown, boxes), atol=1e-3, rtol=0)


def cards(page):
    "What stands in each of the pictures, and below it."
    return {card.get_attribute('data-method'): (card.get_attribute('data-faces'), card.inner_text())
            for card in page.locator('#face figure:visible').all()}


def after(page, act):
    "The cards when what `act` asked for has been drawn."
    drawn = int(page.locator('#face .widget').get_attribute('data-drawn'))
    act()
    page.wait_for_function('n => Number(document.querySelector("#face .widget").dataset.drawn) > n', arg=drawn)
    return cards(page)


def moved(before, now): return {name for name in now if now[name] != before[name]}


ALL = {'original', 'mask', 'blur', 'pixelate', 'paper', 'ours', 'drawn'}


@pytest.mark.parametrize('label, value, changes', [
    ('Person', 3, ALL), ('Turn of the head', 0, ALL), ('Noise of the channel', 0, {'ours'}),
    ('Walk to another face', .5, {'paper', 'ours'})])
def test_each_slider_moves_what_it_names(networks, play, label, value, changes):
    page = play[0]
    slider = page.locator('#face').get_by_label(label, exact=True)
    start, before = slider.input_value(), cards(page)
    now = after(page, lambda: slider.fill(str(value)))
    # the mask is black whoever is behind it, but its name or likeness moves with the original
    assert moved(before, now) - {'mask'} == changes - {'mask'}
    assert after(page, lambda: slider.fill(start))['ours'] == before['ours']


def test_hand_noise_and_code_move_something(networks, play):
    page, face = play[0], play[0].locator('#face')
    before = cards(page)
    held = after(page, lambda: face.get_by_label('In the hand').select_option('2'))
    assert moved(before, held) >= {'original', 'ours', 'drawn'}
    other = after(page, lambda: face.get_by_role('button', name='Draw other noise').click())
    assert moved(held, other) == {'ours', 'drawn'}
    quiet = after(page, lambda: face.get_by_label('channel 1 of the code').click())
    assert 'ours' in moved(other, quiet) and 'original' not in moved(other, quiet)
    silent = after(page, lambda: face.get_by_role('button', name='Silence all').click())
    assert 'ours' in moved(quiet, silent)
    after(page, lambda: face.get_by_role('button', name='Let all speak').click())


def colours_of(page):
    "The middle of the original's picture."
    return page.evaluate('''() => Array.from(document.querySelector('#face [data-method=original] canvas')
        .getContext('2d').getImageData(20, 20, 1, 1).data)''')


def test_a_chosen_and_a_dropped_picture_are_shown_and_go_nowhere(networks, play, tmp_path):
    page, asked = play[:2]
    ramp = np.stack([*np.meshgrid(np.arange(200), np.arange(120)), np.full((120, 200), 30)], 2).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path/'ramp.png')
    Image.new('RGB', (90, 60), (10, 200, 30)).save(tmp_path/'green.png')
    count, face = len(asked), page.locator('#face')
    face.get_by_text('A picture of your own').click()
    after(page, lambda: face.get_by_label('Picture', exact=True).set_input_files(tmp_path/'ramp.png'))
    shown = [colours_of(page)]
    for label, value in (('Zoom', 3), ('Left to right', 0), ('Top to bottom', 1)):
        after(page, lambda label=label, value=value: face.get_by_label(label, exact=True).fill(str(value)))
        shown.append(colours_of(page))
    assert 'drawn' not in cards(page), "recorded of the drawn people only"
    assert shown[2][0] < shown[1][0] and shown[3][1] > shown[2][1] and shown[0] != [10, 200, 30, 255]
    bytes_of = base64.b64encode((tmp_path/'green.png').read_bytes()).decode()
    after(page, lambda: page.evaluate('''text => {
        const file = new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], 'green.png', { type: 'image/png' })
        const dataTransfer = new DataTransfer()
        dataTransfer.items.add(file)
        document.querySelector('#face .controls').dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true }))
    }''', bytes_of))
    assert colours_of(page) == [10, 200, 30, 255]
    assert 'green.png: 90 by 60 pixels. It stays on this machine.' in face.inner_text()
    face.get_by_label('Picture', exact=True).set_input_files(dict(name='x.png', mimeType='image/png', buffer=b'none'))
    face.get_by_text('x.png is no picture that this browser reads.').wait_for()
    assert [url for url in asked[count:] if not url.startswith(('blob:', 'data:'))] == []
    after(page, lambda: face.get_by_label('Person', exact=True).fill('1'))


def test_the_camera_gives_one_picture_or_the_page_says_that_it_has_none(networks, play):
    page, face = play[0], play[0].locator('#face')
    before, take = cards(page)['original'], face.get_by_role('button', name='Take one with the camera')
    if not take.is_visible(): face.get_by_text('A picture of your own').click()
    assert after(page, take.click)['original'] != before
    assert 'the camera is off again' in face.inner_text()
    page.evaluate('() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("refused")) }')
    take.click()
    face.get_by_text('The browser gives this page no camera.').wait_for()
    after(page, lambda: face.get_by_label('Person', exact=True).fill('0'))


def test_the_other_face_is_where_the_walk_leads(networks, play):
    page, face = play[0], play[0].locator('#face')
    walked = after(page, lambda: face.get_by_label('Walk to another face', exact=True).fill('1'))
    other = after(page, lambda: face.get_by_label('The other face', exact=True).select_option('5'))
    assert moved(walked, other) == {'paper', 'ours'}
    after(page, lambda: face.get_by_label('Walk to another face', exact=True).fill('0'))


def test_the_game_steps_by_keyboard_curve_and_text(play):
    page, game = play[0], play[0].locator('#game')
    widget = game.locator('.widget')
    game.get_by_label('Story').select_option('1')
    assert widget.get_attribute('data-shown') == '1:0'
    told = game.locator('.told').inner_text()
    game.get_by_label('Step', exact=True).press('ArrowRight')
    page.wait_for_function('() => document.querySelector("#game .widget").dataset.shown === "1:1"')
    assert game.locator('.told').inner_text() != told
    game.get_by_role('button', name='Step back').click()
    assert widget.get_attribute('data-shown') == '1:0'
    game.get_by_role('button', name='Play').press('Enter')
    page.wait_for_function('() => document.querySelector("#game .widget").dataset.shown === "1:2"')
    game.get_by_role('button', name='Pause').press('Enter')
    game.locator('[data-step="7"]').hover(force=True)
    page.wait_for_function('() => document.querySelector("#game .widget").dataset.shown === "1:7"')
    game.locator('.beat').last.scroll_into_view_if_needed()
    page.wait_for_function('() => document.querySelector("#game .widget").dataset.shown.startsWith("4:")')


def test_the_points_move_with_attacker_budget_and_data(play, data):
    frontier = play[0].locator('#frontier')
    place = lambda: frontier.locator('[data-method=learned]').get_attribute('transform')
    places = [place()]
    for label, value in (('Attacker', 'fixed'), ("A's budget", 'frozen'), ('Data', '1')):
        frontier.get_by_label(label, exact=True).select_option(value)
        places.append(place())
    assert len(set(places)) == 4
    frontier.get_by_label('Attacker', exact=True).select_option('outside: one picture')
    measured = [p for p in data['frontier'][1]['points'] if 'outside: one picture' in p['eer']]
    assert frontier.locator('.point').count() == len(measured) > 1
    assert 'Not measured here' in frontier.locator('.note').inner_text()


def test_frames_show_what_A_found(play, data):
    frames = play[0].locator('#frames')
    for i, frame in enumerate(data['frames']['frames']):
        frames.get_by_label('Frame, and what is true').select_option(str(i))
        for name, shown in frame['shown'].items():
            caption = frames.locator(f'[data-method="{name}"] figcaption').inner_text()
            assert (shown['boxes'][0]['label'] if shown['boxes'] else 'A finds nothing') in caption


def test_a_round_of_guessing_is_counted(networks, play):
    page, guess = play[0], play[0].locator('#guess')
    widget, right = guess.locator('.widget'), 0
    for number in range(12):
        page.wait_for_function('n => document.querySelector("#guess .widget").dataset.pair.startsWith(`${n}:`)',
                               arg=number)
        same = widget.get_attribute('data-pair').endswith('true')
        guess.get_by_role('button', name='Same person' if same or number < 3 else 'Different people').click()
        right += same or number >= 3
    page.wait_for_function('() => document.querySelector("#guess .widget").dataset.pair === "end"')
    said = guess.locator('.told').inner_text()
    assert said.startswith(f'{right} of 12 right') and 'Guessing gets 50 %' in said


CONTROLS = 'input, select, button, summary, a[href], [tabindex="0"]'
# Marks every control in view that a key should reach; answers how many there are.
MARK = f"""() => [...document.querySelectorAll('{CONTROLS}')].filter(c => c.checkVisibility() && !c.disabled)
    .map((c, i) => c.dataset.control = i).length"""
# Pairs of controls and captions that lie on each other.
OVERLAP = """() => {
    const all = [...document.querySelectorAll('input, select, button, summary, figcaption, label')]
        .filter(c => c.checkVisibility())
    const place = all.map(c => c.getBoundingClientRect()), found = []
    all.forEach((a, i) => all.slice(i + 1).forEach((b, n) => {
        const [p, q] = [place[i], place[i + 1 + n]]
        const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left)
        const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top)
        if (wide > 1 && high > 1 && !a.contains(b) && !b.contains(a)) found.push([a.outerHTML, b.outerHTML])
    }))
    return found
}"""


@pytest.mark.parametrize('width', [390, 1300])
def test_nothing_lies_beside_the_page_or_on_something_else_and_every_control_has_a_name(play, width):
    page = play[0]
    page.set_viewport_size(dict(width=width, height=900))
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert page.evaluate(OVERLAP) == []
    nameless = page.evaluate('''() => [...document.querySelectorAll('input, select, button')]
        .filter(c => !(c.labels && c.labels.length) && !c.getAttribute('aria-label') && !c.textContent.trim())
        .map(c => c.outerHTML)''')
    assert nameless == []
    assert page.evaluate('[...document.images].filter(i => !i.alt).length') == 0


def test_the_keyboard_reaches_and_moves_every_control(play):
    page = play[0]
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    count = page.evaluate(MARK)
    page.evaluate("document.activeElement.blur(); window.getSelection().collapse(document.body, 0); scrollTo(0, 0)")
    reached = set()
    for _ in range(count + 5):
        page.keyboard.press('Tab')
        reached.add(page.evaluate('document.activeElement.dataset.control ?? null'))
    assert {str(i) for i in range(count)} - reached == set()
    said = 'e => [e.value, e.labels[0].parentElement.innerText]'
    for kind, key, state in (('input[type=range]', 'ArrowLeft', said), ('select', 'ArrowDown', 'e => e.value'),
                             ('input[type=checkbox]', 'Space', 'e => e.checked')):
        for it in page.locator(kind).all():
            if kind == 'input[type=range]' and it.input_value() == it.get_attribute('min'): it.press('End')
            before = it.evaluate(state)
            it.press(key)
            if kind == 'select' and it.evaluate(state) == before: it.press('Home')
            assert it.evaluate(state) != before, it.evaluate('e => e.labels[0]?.innerText ?? e.ariaLabel')


def test_the_front_is_one_screen_and_who_wants_no_motion_gets_none(browser, page_file, site):
    for wish, picture, (width, height) in (('reduce', 'front_still.webp', (1280, 800)),
                                           ('no-preference', 'front.webp', (390, 844))):
        size = dict(width=width, height=height)
        with opened(browser, site/'index.html', reduced_motion=wish, viewport=size) as (page, _, faults):
            assert page.evaluate("document.querySelector('.front img').currentSrc").endswith(picture)
            assert page.evaluate("document.querySelector('.doors').getBoundingClientRect().bottom") <= height
            assert page.evaluate('document.documentElement.scrollWidth') <= width
    with Image.open(site/'play'/'front.webp') as moving: assert moving.n_frames > 1
    with opened(browser, page_file.with_name('frontier.html'), reduced_motion='reduce') as (page, _, faults):
        page.get_by_label('Attacker', exact=True).select_option('fixed')
        assert page.evaluate("getComputedStyle(document.querySelector('.point')).transitionDuration") == '0s'
        assert page.evaluate('document.getAnimations().length') == 0
        assert faults == []


def test_without_a_runtime_all_else_plays_and_the_page_says_what_is_missing(browser, data, tmp_path):
    path = tmp_path/'play.html'
    write_play_page(path, data)
    with opened(browser, path) as (page, asked, faults):
        page.wait_for_selector('body[data-ready=yes]')
        assert 'built without onnxruntime-web' in page.locator('#face').inner_text()
        page.locator('#game').get_by_role('button', name='Step on').click()
        assert page.locator('#game .widget').get_attribute('data-shown') == '0:1'
        assert (asked, faults) == ([path.as_uri()], [])


def test_a_study_page_fits_a_phone_and_its_frames_are_as_high_as_what_they_show(browser, site):
    with opened(browser, site/'study'/'play3_attack.html', viewport=dict(width=390, height=844)) as (page, _, faults):
        for widget in page.locator('iframe.alive').all():
            widget.scroll_into_view_if_needed()
            inside = widget.element_handle().content_frame()
            inside.wait_for_selector('.control')
            page.wait_for_function('e => e.style.height', arg=widget.element_handle())
            assert inside.evaluate('document.documentElement.scrollWidth <= innerWidth')
            assert inside.evaluate('document.documentElement.scrollHeight <= innerHeight')
        assert page.evaluate('document.documentElement.scrollWidth') <= 390
        assert faults == []


# What anywidget does with a widget's module, on a page that is not ours.
HOST = """<!doctype html><meta charset="utf-8"><style>h1 { color: rgb(1, 2, 3) }</style>
<body><h1>Lab</h1><div id="cell"></div>
<script type="module">
const data = JSON.parse(document.getElementById('data').textContent)
document.head.append(Object.assign(document.createElement('style'), { textContent: data.css }))
const module = await import(URL.createObjectURL(new Blob([data.esm], { type: 'text/javascript' })))
module.default.render({ model: { get: name => data.state[name] }, el: document.getElementById('cell') })
</script>"""


# For the widgets that are not in the page.
SMALL = dict(recorded=record_pages('<p>{a}</p>'.format, dict(a={'one': 1, 'two': 2})),
             quiz=dict(note='', methods=[dict(label=label, eer=None, pairs=[dict(same=True, picture='data:,')])
                                         for label in ('blur', 'mask')]))


@pytest.mark.parametrize('name', WIDGETS)
def test_a_widget_in_a_notebook_plays_and_leaves_the_page_around_it_alone(browser, data, tmp_path, name):
    pytest.importorskip('anywidget')
    state = live_widget(name, SMALL[name] if name in SMALL else data[PARTS[name]]).get_state()
    inside = dict(esm=state['_esm'], css=state['_css'], state=dict(data=state['data']))
    text, path = json.dumps(inside).replace('<', '\\u003c'), tmp_path/'host.html'
    path.write_text(f'{HOST}<script type="application/json" id="data">{text}</script>', encoding='utf-8')
    with opened(browser, path) as (page, _, faults):
        select = page.locator('#cell select').first
        select.wait_for()
        before = page.locator('#cell').inner_html()
        select.select_option(index=1)
        assert page.locator('#cell').inner_html() != before
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == 'rgb(1, 2, 3)'
        assert page.evaluate('getComputedStyle(document.body).maxWidth') == 'none'
        assert page.evaluate("getComputedStyle(document.querySelector('#cell .control')).display") == 'grid'
        assert faults == []


@pytest.fixture(scope='module')
def frame(browser):
    "One page for all frames, one after another."
    with opened(browser, None) as found: yield found


@pytest.mark.parametrize('name', FRAMES)
def test_every_control_of_a_frame_moves_something(frame, play_pages, name):
    page, asked, faults = frame
    asked.clear()
    page.goto((play_pages/f'{name}.html').as_uri())
    page.wait_for_function('document.body.dataset.shown !== undefined || document.querySelector(".figure svg")')
    for it in page.locator('select, input[type=range]').all():
        if it.evaluate('e => e.options?.length') == 1: continue
        before, at = page.locator('body').inner_html(), it.input_value()
        it.press('ArrowDown' if it.evaluate('e => e.matches("select")') else 'ArrowRight')
        if it.input_value() == at: it.press('Home')
        assert page.locator('body').inner_html() != before and it.input_value() != at
    for it in page.get_by_role('button').all():
        if not it.is_visible(): continue
        before = page.locator('body').inner_html()
        it.press('Enter')
        assert page.locator('body').inner_html() != before, it.inner_text()
    broken = 'document.images.length && [...document.images].every(i => i.decode().then(() => i.naturalWidth))'
    assert page.evaluate(f'Promise.resolve({broken}).then(all => all !== false)')
    assert page.evaluate('[...document.images].filter(i => !i.alt).length') == 0
    assert (asked, faults) == ([(play_pages/f'{name}.html').as_uri()], [])


def test_the_recorded_quiz_counts_right_answers(frame, tmp_path):
    page, path = frame[0], tmp_path/'quiz.html'
    pairs = [dict(same=same, picture='data:,') for same in (True, False, False)]
    path.write_text(static_widget('quiz', dict(note='', methods=[dict(label='blur', eer=.2, pairs=pairs)])), 'utf-8')
    page.goto(path.as_uri())
    said = []
    for answer in ('One person', 'One person', 'Two people'):
        page.get_by_role('button', name=answer).press('Enter')
        said.append(page.locator('.told').inner_text())
    assert [text[:text.index(' right')] for text in said] == ['Right. 1 of 1', 'Wrong. 1 of 2', 'Right. 2 of 3']
    assert 'is right in about 80 %' in said[-1]
    page.get_by_role('button', name='Begin again').press('Enter')
    assert page.get_by_role('button', name='One person').is_visible()


def test_an_archive_that_is_not_the_pinned_one_is_refused(tmp_path):
    module, archive = docs_module('fetch_runtime'), tmp_path/'onnxruntime-web-1.30.0.tgz'
    with tarfile.open(archive, 'w:gz') as tar:
        for name in module.WANTED:
            info = tarfile.TarInfo(f'package/dist/{name}')
            info.size = 4
            tar.addfile(info, io.BytesIO(b'evil'))
    with pytest.raises(ValueError, match='pinned is'): module.unpack(archive, tmp_path/'runtime')
    assert not (tmp_path/'runtime').exists()


def test_the_front_page_says_the_measured_numbers():
    sys.path.insert(0, str(ROOT/'.docs'))
    try: front = importlib.import_module('front')
    finally: sys.path.remove(str(ROOT/'.docs'))
    def rows(name): return json.loads((FIGURES/f'{name}.json').read_text())['rows']
    ours = [r['map50_near'] for r in rows('unmet')
            if r['method'] == 'drawn' and r['detector'] == 'other_architecture']
    tens = [r['eer'] for r in rows('world_judge')
            if r['method'] == 'drawn' and r['size'] == 10 and r['releases'] == 1]
    readings = [r for judged in rows('photo_judge') if judged['method'] == 'drawn' for r in judged['rows']]
    kept, ten, photographs = front.numbers(FIGURES)
    assert kept[0] == f'{100*sum(ours)/len(ours):.0f} %'
    assert ten[0] == f'{100*min(tens):.0f} %'
    eers = [r['eer'] for r in readings] + [*readers_of_heads(rows('second_attack'))]
    assert photographs[0] == f'{100*min(eers):.0f} %', "the worst of all readings"
    assert all(value in front.front(FIGURES) for value, *_ in front.numbers(FIGURES))
