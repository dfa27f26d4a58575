"""What mkdocs is told beyond mkdocs.yml: which pages there are, and where links between files of the repository lead.

Pages come from the folders: notebooks below `nbs/` as they are committed, README.md as the home page, and for each
module an API page made from its source. The site asks the network for nothing. Nothing is run but `play.py`, which
writes the pages that play.
"""
import json
import logging
import os
import posixpath
import re
import shutil
import subprocess
import sys
from html import escape
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from api import module_page, prose, read_module
from bs4 import BeautifulSoup
from cells import Prepared, coloured, mathml, notebook_page, plain_source
from front import front
from jinja2 import FileSystemBytecodeCache
from markdown.extensions.toc import slugify
from mkdocs.structure.files import File
from mkdocs.structure.toc import get_toc
from mkdocs.utils import get_relative_url
from mkdocs_jupyter import nbconvert2
from nbconvert.exporters.templateexporter import TemplateExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer
from recorded import frame_of

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT/'nbs'
TOUR = NBS/'00_tour.ipynb'
BY_HAND = {'README.md': 'index.md', 'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'}
KINDS = {'play': 'Play', 'fig': 'Figure', 'tab': 'Table'}
# Notebooks that end with something more to play with. What stands below a widget's cell says `recorded.py`.
ALIVE = {'study/fig4_qualitative.ipynb': ('frames', 'What A finds behind each method'),
         'study/fig7_dynamics.ipynb': ('game', 'Five recorded games'),
         'study/real1_tradeoff.ipynb': ('frontier', 'Every method by data, attacker and budget')}
PLAY_PAGE = """# Play

> M, the paper's M and a recogniser alive in your browser, without a kernel, a server or a network

**<a href="faceanon_play.html">Open the page</a>**, which is one file: save it, send it, open it by a double click.

- Turn a drawn person's head, put something into the hand, or drop a picture of your own: the face behind seven methods.
- Turn the noise of M's channel, silence parts of its code, walk from one face to another.
- Step through five recorded games, choose attacker and budget, and guess who is who.

What needs a kernel, because it trains: [the live game](../study/play1_stepper.ipynb),
[the attacker trained in seconds](../study/play3_attack.ipynb) and [the look inside M](../study/play4_inside.ipynb).
"""
# One of the few fonts made for equations. Only the file is wanted: nothing of the package runs.
MATH_FONT = Path(find_spec('ziamath').origin).parent/'fonts'/'STIXTwoMath-Regular.ttf'
log = logging.getLogger('mkdocs.hooks.faceanon')
logging.getLogger('mkdocs.mkdocs-jupyter').setLevel(logging.WARNING)         # else two lines a notebook
logging.getLogger('mkdocs.plugins.mkdocs_jupyter').setLevel(logging.WARNING)


def equation(latex, display):
    try: return mathml(latex, display)
    except Exception as wrong:
        log.warning("equation not drawn: %s (%s)", latex, wrong)  # which fails a strict build
        return f'<code>{latex}</code>'


# What mkdocs-jupyter and nbconvert cannot be told by a setting.
nbconvert2.SubCell = Prepared
nbconvert2.mk_custom_highlight_code = lambda extra_css_classes='': plain_source
IPythonRenderer.block_math = lambda self, body: equation(body, 'block')
IPythonRenderer.inline_math = lambda self, body: equation(body, 'inline')
IPythonRenderer.latex_environment = (
    lambda self, name, body: equation(rf'\begin{{{name}}}{body}\end{{{name}}}', 'block'))
# nbconvert compiles its templates for every notebook twice, which is a quarter of a build.
COMPILED, new_environment = FileSystemBytecodeCache(), TemplateExporter._create_environment


def environment_with_cache(exporter):
    made = new_environment(exporter)
    made.bytecode_cache = COMPILED
    return made


TemplateExporter._create_environment = environment_with_cache


def visible(path): return not any(part.startswith('.') for part in path.relative_to(ROOT).parts)


def notebooks(folder): return [p for p in sorted(folder.glob('*.ipynb')) if visible(p)]


def modules():
    "Dotted names below `faceanon`."
    found = (p.relative_to(ROOT/'faceanon').with_suffix('') for p in (ROOT/'faceanon').rglob('[a-z]*.py'))
    return sorted('.'.join(p.parts) for p in found)


def head_of(path):
    "A notebook's title and the line below it."
    first = ''.join(json.loads(path.read_text(encoding='utf-8'))['cells'][0]['source'])
    title, line = re.match(r'# (.+)\n+((?:> ?.*\n?)+)', first).groups()
    return title, ' '.join(re.sub(r'^> ?', '', line, flags=re.MULTILINE).split())


def label(path):
    "What the menu says: `Figure 5: Utility against privacy`, `04 faces`."
    if path == TOUR: return 'Tour'
    title, _ = head_of(path)
    kind = re.match(r'([a-z]+)(\d+)_', path.stem)
    number = re.match(r'\d+', path.stem)
    if kind and kind[1] in KINDS: return f'{KINDS[kind[1]]} {kind[2]}: {title}'
    return f'{number[0]} {title}' if number else title


def sections():
    "Title -> the page that lists it, and its notebooks in reading order: the study, the chapters, then other folders."
    def order(path): return next((i for i, k in enumerate(KINDS) if path.name.startswith(k)), len(KINDS)), path.name
    study, listed = NBS/'study', {}
    others = sorted(p for p in NBS.iterdir() if p.is_dir() and visible(p) and p != study)
    for folder in (study, *others):
        found = sorted(notebooks(folder), key=order)
        if found: listed[re.sub(r'^\d+_', '', folder.name).capitalize()] = f'{folder.name}/index.md', found
    return listed


def on_config(config):
    "The menu is what the folders hold."
    nav = [{'Home': 'index.md'}, {'Tour': TOUR.name}, {'Play now': 'play/index.md'}]
    for title, (index, found) in sections().items():
        nav.append({title: [index, *({label(p): p.relative_to(NBS).as_posix()} for p in found)]})
    nav.append({'API': ['api/index.md', *({name: f'api/{name}.md'} for name in modules())]})
    nav.append({'Project': [{'Contributing': 'contributing.md'}, {'Changelog': 'changelog.md'}]})
    config.nav = nav
    return config


def carried(path):
    "Where a file of the repository is among the site's sources, or None."
    if path in BY_HAND: return BY_HAND[path]
    for index, found in sections().values():
        if found[0].parent == ROOT/path: return index
    if path.endswith('.ipynb') and path.startswith('nbs/'): return path.removeprefix('nbs/')
    if re.fullmatch(r'figures/[^/]+\.\w+', path): return path
    if re.fullmatch(r'faceanon/(?:[a-z]\w*/)*[a-z]\w*\.py', path):
        return f'api/{path.removeprefix("faceanon/").removesuffix(".py").replace("/", ".")}.md'


def retarget(link, page):
    "A link as it stands in a file of the repository -> (source of the site, fragment); None: leave it alone."
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path: return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path)))
    if not (ROOT/path).exists(): log.warning("%s links to %s, which does not exist", page, link)
    return carried(path), slugify(parts.fragment, '-')


def by_hand(path):
    "A page written by hand, its links turned into links of the site; what the site does not carry becomes plain text."
    def turned(match):
        found = retarget(match[3], path)
        if found is None: return match[0]
        if found[0] is None: return match[2]
        return f'{match[1]}[{match[2]}]({found[0]}{"#" + found[1] if found[1] else ""})'
    return re.sub(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)', turned, (ROOT/path).read_text(encoding='utf-8'))


def section_page(title, index, found):
    "A table of a folder's notebooks, with the figure where a notebook draws one."
    def link(uri): return posixpath.relpath(uri, posixpath.dirname(index) or '.')
    rows = ''
    for path in found:
        figure = f'figures/{path.stem}.png'
        shown = f'![{label(path)}]({link(figure)}){{ width=240 }}' if (ROOT/figure).exists() else ''
        notebook = link(path.relative_to(NBS).as_posix())
        rows += f'| [{label(path)}]({notebook}) | {head_of(path)[1]} | {shown} |\n'
    return f'# {title}\n\n| notebook | what it shows | |\n|---|---|---|\n{rows}'


def api_index():
    rows = ''.join(f'| [{name}]({name}.md) | {prose(read_module(source_of(name))["doc"])} |\n' for name in modules())
    return f'# API\n\nEvery public name of every module, with its arguments.\n\n| module | |\n|---|---|\n{rows}'


def source_of(name): return (ROOT/'faceanon'/f'{name.replace(".", "/")}.py').read_text(encoding='utf-8')


def on_files(files, config):
    pages = {to: by_hand(path) for path, to in BY_HAND.items()}
    pages |= {index: section_page(title, index, found) for title, (index, found) in sections().items()}
    pages |= {f'api/{name}.md': module_page(name, source_of(name)) for name in modules()}
    pages['api/index.md'] = api_index()
    pages['index.md'] = '---\ntitle: Home\n---\n' + front(ROOT/'figures'/'data') + pages['index.md']
    pages['play/index.md'] = PLAY_PAGE
    for uri, content in pages.items(): files.append(File.generated(config, uri, content=content))
    copied = {'figures': (ROOT/'figures').glob('*.*'), 'assets': [*(ROOT/'.docs').glob('site.*'), MATH_FONT]}
    for folder, paths in copied.items():
        for path in sorted(paths):
            files.append(File.generated(config, f'{folder}/{path.name}', abs_src_path=str(path)))
    return files


def relink(soup, page, files):
    "Links and pictures of a notebook as links of the site; what the site does not carry becomes plain text."
    for node in soup.select('a[href], img[src]'):
        attribute = 'href' if node.name == 'a' else 'src'
        found = retarget(node[attribute], f'nbs/{page.file.src_uri}')
        if found is None: continue
        target = found[0] and files.get_file_from_path(found[0])
        if target:
            node[attribute] = get_relative_url(target.url, page.file.url) + (f'#{found[1]}' if found[1] else '')
        elif node.name == 'a': node.unwrap()
        else: log.warning("%s: no such picture: %s", page.file.src_uri, node[attribute])


def on_page_content(html, page, config, files):
    "Notebooks: our own markup instead of JupyterLab's, which brings scripts from elsewhere and knows no dark mode."
    uri = page.file.src_uri
    if not uri.endswith('.ipynb'): return html
    soup, tokens = notebook_page(html)
    relink(soup, page, files)
    add_frames(soup, page)
    page.toc = get_toc(tokens)
    page.title = label(NBS/uri)
    page.meta['description'] = head_of(NBS/uri)[1]
    name = posixpath.basename(uri)
    own = f'<a class="notebook" href="{name}" download data-search-exclude>{name}</a>'
    return f'{own}\n{coloured(str(soup))}{alive(page)}'


def frame_html(page, name, title):
    "A widget that needs no kernel, as a frame."
    address = get_relative_url(f'play/{name}.html', page.file.url)
    return f'<iframe class="alive" src="{address}" title="{title}: alive without a kernel" loading="lazy"></iframe>'


def alive(page):
    "What a notebook ends with, where there is something."
    if page.file.src_uri not in ALIVE: return ''
    name, title = ALIVE[page.file.src_uri]
    return f'<h2 id="alive">{title}</h2>{frame_html(page, name, title)}'


def add_frames(soup, page):
    "Below each cell that shows a widget: why it needs a kernel, and the same without one."
    notebook = Path(page.file.src_uri)
    if notebook.parent.name != 'study': return
    for cell in soup.select('div.cell'):
        source = cell.select_one('code.source')
        found = source and frame_of(notebook.stem, source.get_text())
        if not found: continue
        name, why = found
        below = f'<p class="no-kernel">{escape(why, quote=False)}</p>{frame_html(page, name, name.replace("_", " "))}'
        cell.append(BeautifulSoup(below, 'html.parser'))


def on_post_build(config):
    "The pages that play; and the theme's script loses what it would fetch from a server, which nothing here uses."
    play = Path(config.site_dir)/'play'
    made = os.environ.get('FACEANON_PLAY')  # a folder that holds them already, as when tests have made them
    if made: shutil.copytree(made, play, dirs_exist_ok=True)
    else: subprocess.run([sys.executable, str(ROOT/'.docs'/'play.py'), str(play)], check=True, cwd=ROOT)
    scripts = Path(config.site_dir, 'assets', 'javascripts')
    for path in scripts.glob('bundle.*.min.js'):
        script = path.read_text(encoding='utf-8')
        path.write_text(re.sub(r'https://unpkg\.com/[\w@./-]+', '', script), encoding='utf-8')
    shutil.rmtree(scripts/'lunr', ignore_errors=True)  # the search in other languages
