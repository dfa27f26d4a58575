"A JupyterLab of its own, a headless Chromium, and the faults a reader would meet in a notebook of widgets."
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The browser's resolver knows this machine only: nothing is fetched from elsewhere, and what asks for it is recorded.
CHROMIUM_ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
                 '--disable-component-update', '--disable-sync',
                 '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']
SETTINGS = {
    'notebook-extension/tracker': {'windowingMode': 'none'},  # cells out of view are drawn too
    'apputils-extension/notification': {'fetchNews': 'false', 'checkForUpdates': False, 'doNotDisturbMode': True},
}
# What JupyterLab says to the console of every page, widgets or not.
EXPECTED_OF_JUPYTERLAB = re.compile(r'/lsp/status\b')  # asked of a language server that is not installed
# JupyterLab asks a fresh kernel for its widgets at once; one that has not imported ipywidgets yet says this in the log.
EXPECTED_OF_KERNEL = re.compile(r'stderr: (No such comm(: [\w-]+| target registered: jupyter\.widget\.control)\n?)+')
BAD_TEXT = re.compile(r'\b\w*Warning\b|Traceback|Error displaying widget|Failed to load model|Loading widget')
BUSY = 240_000  # ms: a kernel or a widget that works for longer hangs. What is decided is decided by what they show
FILMS = ('button', 'plain button', 'toggle', 'checkbox')  # kinds of control that may start something that moves
# Notebooks that share a kernel. The others train or render in it for a while, and leave tasks behind.
ONLY_DRAWS = re.compile(r'study/(fig|tab|real)')
LEAVES = ('tab', 'fold')  # kinds of control that show some controls and hide others


def find_chromium():
    "Path of a Chromium or Chrome of this machine; none is ever downloaded."
    if named := os.environ.get('CHROMIUM'): return named
    return next(filter(None, map(shutil.which, ['chromium', 'chromium-browser', 'google-chrome'])), None)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def prepare(folder):
    "Settings, kernel and environment below `folder`: the reader's own Jupyter and IPython take no part."
    dirs = {name: folder/'home'/name.lower() for name in
            ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR', 'JUPYTER_PATH', 'IPYTHONDIR',
             'JUPYTERLAB_SETTINGS_DIR', 'JUPYTERLAB_WORKSPACES_DIR')}
    for path in dirs.values(): path.mkdir(parents=True)
    for name, values in SETTINGS.items():
        path = dirs['JUPYTERLAB_SETTINGS_DIR']/'@jupyterlab'/f'{name}.jupyterlab-settings'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding='utf-8')
    spec = dirs['JUPYTER_PATH']/'kernels'/'python3'/'kernel.json'  # JUPYTER_PATH comes before every other place
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, '-m', 'ipykernel_launcher', '-f', '{connection_file}']
    spec.write_text(json.dumps({'argv': argv, 'display_name': 'Python 3', 'language': 'python'}), encoding='utf-8')
    shutil.copytree(ROOT/'figures', folder/'figures')
    shutil.copy(ROOT/'settings.ini', folder)  # by which a notebook finds its checkout
    env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'MPLBACKEND')}  # a kernel draws inline
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    return env | {k: str(v) for k, v in dirs.items()} | {
        'PYTHONPATH': paths, 'FACEANON_PRESET': 'toy', 'FACEANON_OUT': str(folder), 'OMP_NUM_THREADS': '1',
        'OMP_WAIT_POLICY': 'passive'}


@contextmanager
def jupyterlab(folder):
    "The address of a JupyterLab over `folder`, up for as long as the context is."
    port, log = free_port(), folder/'jupyterlab.log'
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
               '--ServerApp.port_retries=0', '--IdentityProvider.token=', '--ServerApp.password=',
               '--ServerApp.disable_check_xsrf=True', f'--ServerApp.root_dir={folder}', '--LabApp.news_url=None',
               '--LabApp.expose_app_in_browser=True', '--LabApp.extension_manager=readonly']
    env, address = prepare(folder), f'http://127.0.0.1:{port}'
    with log.open('w') as out:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        for _ in range(1500):
            if server.poll() is not None: break
            try: urllib.request.urlopen(f'{address}/api/status', timeout=5).close(); break
            except OSError: time.sleep(.2)
        else: raise TimeoutError(f'JupyterLab did not answer within five minutes:\n{log.read_text()[-3000:]}')
        if server.poll() is not None: raise RuntimeError(f'JupyterLab ended:\n{log.read_text()[-3000:]}')
        yield address
    finally:
        server.terminate()
        try: server.wait(20)
        except subprocess.TimeoutExpired: server.kill()


@contextmanager
def chromium(path):
    "A browser context of a fresh profile."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        context = browser.new_context(viewport={'width': 1400, 'height': 1400})
        context.add_init_script(path=Path(__file__).with_name('browser.js'))
        yield context
        browser.close()


def local(url): return re.match(r'(data|blob|about):|(https?|wss?)://127\.0\.0\.1[:/]', url) is not None


@contextmanager
def jupyterlab_page(context, address):
    "JupyterLab in a page that all notebooks share, and the list that the page's own faults are added to."
    page, faults = context.new_page(), []
    page.set_default_timeout(BUSY)

    def asked(url):
        if not local(url): faults.append(f'asks the network for {url}')

    def logged(message):
        url = message.location.get('url', '')
        if message.type == 'error' and not EXPECTED_OF_JUPYTERLAB.search(url) and (local(url) or not url):
            faults.append(f'console: {message.text[:300]} {url}'.strip())

    page.on('request', lambda request: asked(request.url))
    page.on('websocket', lambda socket: asked(socket.url))
    page.on('console', logged)
    page.on('pageerror', lambda error: faults.append(f'page: {error.message[:300]}'))
    page.goto(f'{address}/lab?reset')
    page.wait_for_function('window.jupyterapp?.restored.then(() => true)')
    page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    yield page, faults
    page.close()


@contextmanager
def opened(lab, name):
    "The notebook `name` with every cell run, and the list of the page's own faults since it was opened."
    page, faults = lab
    faults.clear()
    page.evaluate('name => asked.open(name)', name)
    try:
        page.wait_for_function('asked.ready()')
        page.evaluate('asked.listen()')
        if page.evaluate(f'asked.runAll({BUSY})') != 'done': faults.append("cells still ran after four minutes")
        yield page, faults
    finally: page.evaluate(f'asked.close({json.dumps(bool(ONLY_DRAWS.search(name)))}, {BUSY})')


def wait_for_widgets(page):
    "Till every view is drawn."
    for area in range(page.evaluate('asked.widgets()')): page.evaluate(f'asked.settle({area}, {BUSY})')


def output_faults(page):
    "What went wrong in cells and callbacks since the last call, and what is wrong with what the page shows."
    said = [s[:400] for s in page.evaluate('asked.saidByKernel()') if not EXPECTED_OF_KERNEL.fullmatch(s)]
    shown = [f"shows '{word}'" for text in page.evaluate('asked.outputs()') for word in BAD_TEXT.findall(text)]
    return said + shown + [f'a picture is not there: {src}' for src in page.evaluate('asked.broken()')]


def at(page, control): return page.locator(f'[data-under-test={json.dumps(control["key"], ensure_ascii=False)}]')


def press_until_it_moves(field, keys, state):
    "One key; the next one only where the first did nothing, as at the end of a scale."
    before = field.evaluate(state)
    for key in keys:
        field.press(key)
        if field.evaluate(state) != before: return


def keys_of(far): return ['End', 'Home'] if far else ['ArrowRight', 'ArrowLeft']


def move(page, control, far=False):
    "Moves a control once, with the keyboard or a click, as a reader would; `far` takes the largest step there is."
    it, kind = at(page, control), control['kind']
    if kind == 'slider':
        press_until_it_moves(it, keys_of(far), "e => e.getAttribute('aria-valuenow')")
    elif kind == 'number':
        press_until_it_moves(it, ['ArrowUp', 'ArrowDown'], 'e => e.value')
        it.blur()
    elif kind == 'plain slider': press_until_it_moves(it, keys_of(far), 'e => e.value')
    elif kind in ('dropdown', 'plain dropdown', 'list'):
        chosen, count = it.evaluate('e => [e.selectedIndex, e.options.length]')
        it.select_option(index=(chosen + (count - 1 if far else 1)) % count)
    elif kind in ('radio', 'toggle buttons'):
        parts = it.locator('input, button')
        chosen = parts.evaluate_all("all => all.findIndex(e => e.checked || e.classList.contains('mod-active'))")
        parts.nth((chosen + (parts.count() - 1 if far else 1)) % parts.count()).click()
    elif kind == 'play': it.locator('button').first.click()
    elif kind == 'text':
        it.press('End')
        it.press_sequentially('a')
        if it.evaluate('e => e.tagName') == 'INPUT': it.press('Enter')
        it.blur()
    elif kind == 'colour':
        new = '#3366cc' if it.input_value() != '#3366cc' else '#cc6633'
        it.select_text()
        it.press_sequentially(new)
        it.blur()
    else: it.click()


def press_all(page, area, word):
    "Presses what offers to pause or to stop."
    for other in page.evaluate('asked.controls()'):
        offers = other['area'] == area and other['visible'] and other['enabled']
        if offers and re.search(word, other['key'], re.IGNORECASE): move(page, other)


def rest(page, control):
    "Waits till nothing moves. A film is paused first, work that ends by itself is waited for. False if it goes on."
    area = control['area']
    if control['kind'] == 'play' and at(page, control).locator('.fa-pause').count(): move(page, control)
    press_all(page, area, r"'pause'")
    state = page.evaluate(f'asked.settle({area}, {BUSY})')
    if state == 'busy': press_all(page, area, r"'stop'")
    elif state == 'moving' and control['kind'] in FILMS: move(page, control)  # a film
    return state == 'still' or page.evaluate(f'asked.settle({area}, {BUSY})') == 'still'


def moves_something(page, control, far=False):
    "Whether what is seen, other than controls, changes when the control is moved. A tab may show controls only."
    area, whole = control['area'], str(control['kind'] in LEAVES).lower()
    before = page.evaluate(f'asked.signature({area}, {whole})')
    move(page, control, far)
    if not page.evaluate(f'asked.changed({area}, {before}, {whole}, {BUSY})'): return False
    if control['kind'] in ('play', *FILMS): return True  # may have started a film
    page.evaluate(f'asked.settle({area}, {BUSY})')  # the same picture drawn again is no change
    return page.evaluate(f'asked.signature({area}, {whole})') != before


def touchable(page): return {c['key']: c for c in page.evaluate('asked.controls()') if c['visible'] and c['enabled']}


def states_of_others(page, area, key=None):
    "Moves the other controls in view of a widget in turn, those with choices again; stops after each move."
    others = {k: c for k, c in touchable(page).items() if c['area'] == area and k != key and c['kind'] not in LEAVES}
    for round in range(1, 10):
        for other in [k for k, c in others.items() if round < max(2, c['choices'])]:
            if (control := touchable(page).get(other)) is None: continue
            move(page, control)
            rest(page, control)
            yield


def revived(page, area, key, most=12):
    "Whether a control without effect has one from its far end, or after other controls were moved."
    def works(**how): return (it := touchable(page).get(key)) is not None and moves_something(page, it, **how)
    if works(far=True): return True
    return any(works() for _ in islice(states_of_others(page, area, key), most))


def revealed(page, area, key, most=20):
    "Whether a control that is hidden or disabled can be had after others were moved."
    return any(key in touchable(page) for _ in islice(states_of_others(page, area), most))


def control_faults(page, most=80):
    "Moves every control once; what is wrong with which, and how many were moved."
    met, tried, dead, faults = {}, set(), [], []
    while len(tried) < most:
        met |= {c['key']: c for c in page.evaluate('asked.controls()')}
        waiting = sorted((c for key, c in touchable(page).items() if key not in tried),
                         key=lambda c: (c['area'], c['kind'] in LEAVES))  # first what the open tab shows
        if not waiting or waiting[0]['kind'] in LEAVES:  # before the next tab, a second chance on this one
            faults += [f'{key} changes nothing' for key in dead if not revived(page, met[key]['area'], key)]
            dead = []
        if not waiting:
            hidden = [(c['area'], key) for key, c in met.items() if c['kind'] != 'unknown' and key not in tried]
            if any(revealed(page, area, key) for area, key in hidden): continue
            break
        key = waiting[0]['key']
        tried.add(key)
        control = touchable(page)[key]
        try:
            if not moves_something(page, control): dead.append(key)
            if not rest(page, control): faults.append(f'{key} does not come to rest')
        except Exception as error: faults.append(f'{key} cannot be moved: {str(error)[:300]}')
    faults += [f'{key} cannot be tested' if c['kind'] == 'unknown' else f'{key} was never to be had'
               for key, c in met.items() if key not in tried]
    return faults, len(tried)


def shoot(page, folder, name, cells=True):
    "The whole notebook as one picture, and each widget's output as another."
    folder.mkdir(parents=True, exist_ok=True)
    size = page.viewport_size
    page.set_viewport_size({'width': size['width'], 'height': min(int(page.evaluate('asked.height()')) + 100, 14_000)})
    page.evaluate('asked.top()')
    page.evaluate('asked.drawn()')
    page.screenshot(path=folder/f'{name}.png')
    areas = page.locator('.jp-Cell-outputArea:has(.jupyter-widgets)')
    for i in range(areas.count() if cells else 0): areas.nth(i).screenshot(path=folder/f'{name}-widget{i + 1}.png')
    page.set_viewport_size(size)


def examine(lab, name, keep=None):
    "Every fault of one notebook, and how many controls were moved. Screenshots go to `keep`, or to runs/ on a fault."
    shots, stem = Path(keep or ROOT/'runs'/'browser'), name.removesuffix('.ipynb').replace('/', '-')
    with opened(lab, name) as (page, faults):
        wait_for_widgets(page)
        faults += output_faults(page)
        if keep: shoot(page, shots, f'{stem}-run')
        try:
            found, moved = control_faults(page)
            faults += found + output_faults(page)
        except BaseException:  # a timeout too
            shoot(page, shots, f'{stem}-lost')
            raise
        if keep or faults: shoot(page, shots, f'{stem}-moved')
    return list(dict.fromkeys(faults)), moved
