"The docs site: complete, whole, and silent on the network. Read as a browser would, from files."
import importlib
import inspect
import json
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from conftest import docs_module
from test_structure import MODULES, NBS, NOTEBOOKS, ROOT, described_callables, notebook, read_notebook

pytest.importorskip('mkdocs_jupyter')
pytestmark = [pytest.mark.xdist_group('docs'), pytest.mark.timeout(2400)]

# What a browser fetches by itself: element -> attributes. `<a href>` waits for a click.
FETCHED = {
    'script': ['src'], 'link': ['href'], 'img': ['src', 'srcset'], 'iframe': ['src'], 'source': ['src', 'srcset'],
    'video': ['src', 'poster'], 'audio': ['src'], 'embed': ['src'], 'object': ['data'], 'track': ['src'],
    'image': ['href', 'xlink:href'], 'use': ['href', 'xlink:href'], 'input': ['src'], 'body': ['background'],
}
VOID = {'area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link', 'meta', 'source', 'track', 'wbr'}
# Addresses in the theme's scripts that nothing fetches: names of formats, licences in comments, and the counters of
# stars, which need a `repo_url`.
NAMED_ONLY = {'www.w3.org', 'lunrjs.com', 'tartarus.org', 'bit.ly', 'clipboardjs.com', 'fontawesome.com',
              'api.github.com', '${e}'}


class Page(HTMLParser):
    "What the tests ask of a page."
    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.fetched, self.code = path, [], [], [], []
        self.images, self.titles, self.rows, self.counts, self.words, self.data = [], [], {}, {}, [], []
        self.open, self.menu, self.classes, self.entry = [], [], [], None
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in VOID: self.open.append(tag)
        if a.get('id'): self.ids.append(a['id'])
        self.classes += (a.get('class') or '').split()
        if tag == 'a' and a.get('href'):
            self.links.append(a['href'])
            if 'md-nav__link' in (a.get('class') or '') and local(a['href']): self.menu.append(a['href'])
        if tag == 'img': self.images.append(a)
        if a.get('style'): self.code.append(a['style'])
        self.fetched += [a[name] for name in FETCHED.get(tag, []) if a.get(name)]
        if tag in ('h1', 'h2', 'h3'):
            self.entry = a.get('id')
            if tag == 'h1': self.titles.append('')
        if tag == 'tr': self.rows.setdefault(self.entry, []).append([])
        if tag in ('td', 'th') and self.rows.get(self.entry): self.rows[self.entry][-1].append('')

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag: pass

    def handle_data(self, data):
        if {'script', 'style'} & set(self.open): self.code.append(data)
        else:
            self.data.append(data)
            if not {'pre', 'code'} & set(self.open): self.words.append(data)
        if 'h1' in self.open: self.titles[-1] += data
        if {'td', 'th'} & set(self.open) and self.rows.get(self.entry): self.rows[self.entry][-1][-1] += data


@pytest.fixture(scope='session')
def pages(site):
    "All but the pages that play, which have a test file of their own."
    found = (p for p in sorted(site.rglob('*.html')) if p.parent != site/'play' or p.name == 'index.html')
    return {p.relative_to(site).as_posix(): Page(p) for p in found}


def local(link): return not (urlsplit(link).scheme or urlsplit(link).netloc)


def target(site, page, link):
    "The file that a local link leads to. Only the page for missing pages starts at the root."
    path = unquote(urlsplit(link).path)
    if path.startswith('/'): return site/path[1:]
    return (page.path.parent/path).resolve() if path else page.path


def page_of(path): return path.relative_to(NBS).with_suffix('.html').as_posix()


def test_every_link_and_picture_leads_somewhere(site, pages):
    by_path = {page.path.resolve(): page for page in pages.values()}
    broken = []
    for name, page in pages.items():
        for link in filter(local, page.links + page.fetched):
            found, fragment = target(site, page, link).resolve(), unquote(urlsplit(link).fragment)
            if not found.is_file(): broken.append((name, link))
            elif fragment and found in by_path and not fragment.startswith('__'):  # `__`: switches of the theme
                if fragment not in by_path[found].ids: broken.append((name, link))
    assert broken == []


def test_ids_are_unique(pages):
    assert {name: twice for name, page in pages.items()
            if (twice := {i for i in page.ids if page.ids.count(i) > 1})} == {}


REMOTE = re.compile(r'(?:https?:)?//', flags=re.IGNORECASE)
IN_STYLE = re.compile(r'(?:@import\s*["\']?|url\(\s*["\']?)\s*((?:https?:)?//[^"\')\s]+)', flags=re.IGNORECASE)
ADDRESS = re.compile(r'https?:\\?/\\?/([^/\s"\'`)\\]+)')


def test_pages_fetch_nothing_from_elsewhere(pages):
    found = {(name, link) for name, page in pages.items()
             for link in page.fetched + IN_STYLE.findall('\n'.join(page.code)) if REMOTE.match(link.strip())}
    code = {(name, host) for name, page in pages.items() for host in ADDRESS.findall('\n'.join(page.code))}
    assert found == set()
    assert {(name, host) for name, host in code if host not in NAMED_ONLY} == set()


def test_styles_and_scripts_fetch_nothing_from_elsewhere(site):
    styles = {(p.name, link) for p in site.rglob('*.css') for link in IN_STYLE.findall(p.read_text(encoding='utf-8'))}
    scripts = {(p.name, host) for p in site.rglob('*.js') if p.parent.name != 'search'
               for host in ADDRESS.findall(p.read_text(encoding='utf-8'))}
    assert styles == set()
    assert {(name, host) for name, host in scripts if host not in NAMED_ONLY} == set()


def test_no_page_counts_stars(pages):
    "The one thing for which the theme's script would ask a server by itself."
    assert [name for name, page in pages.items() if 'data-md-component="source"' in page.path.read_text('utf-8')] == []


def test_menu_of_every_page_holds_every_page(site, pages):
    by_path = {page.path.resolve(): name for name, page in pages.items()}
    for name in ('index.html', 'api/faces.html', 'study/fig5_tradeoff.html'):
        menu = {by_path.get(target(site, pages[name], link).resolve()) for link in pages[name].menu}
        assert set(pages) - menu == {'404.html'}


def test_menu_says_nothing_twice():
    "As in 'Play 3: Play 3', where a title begins with what the menu puts before it."
    sys.path.insert(0, str(ROOT/'.docs'))
    try: label = importlib.import_module('hooks').label
    finally: sys.path.remove(str(ROOT/'.docs'))
    labels = [label(path) for path in NOTEBOOKS]
    assert [said for said in labels if re.match(r'(\w+ \d+): \1\b', said)] == []
    assert len(set(labels)) == len(labels)


def test_home_is_the_readme(pages):
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    drawn = {image['src'] for image in pages['index.html'].images}
    assert re.findall(r'^## (.+)', readme, flags=re.MULTILINE) != []
    assert [h for h in re.findall(r'^## (.+)', readme, flags=re.MULTILINE) if h not in pages['index.html'].words] == []
    assert set(re.findall(r'!\[[^\]]*\]\((\S+)\)', readme)) <= drawn


def hidden(cell): return re.search(r'^#\s*\|\s*hide', ''.join(cell['source']), flags=re.MULTILINE)


def shown_cells(path): return [c for c in read_notebook(path)['cells'] if not hidden(c)]


@pytest.mark.parametrize('path', [notebook(p) for p in NOTEBOOKS])
def test_notebook_is_carried_whole(pages, path):
    page, cells = pages[page_of(path)], shown_cells(path)
    told = '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    outputs = [o.get('data', {}) for c in cells for o in c.get('outputs', [])]
    drawn = [data for data in outputs if {'image/png', 'image/jpeg', 'image/gif'} & set(data)]
    assert page.titles[0].rstrip('¶') == re.match(r'# (.+)', told)[1]
    assert len([image for image in page.images if image['src'].startswith('data:')]) >= len(drawn)
    assert [image for image in page.images if not image.get('alt')] == []
    folded = told + '\n' + '\n'.join(''.join(data.get('text/html', '')) for data in outputs)
    assert page.counts.get('details', 0) == len(re.findall(r'^<details', folded, flags=re.MULTILINE))
    assert [c['id'] for c in cells if c['id'] not in page.ids and not only_directs(c)] == []
    assert [c['id'] for c in read_notebook(path)['cells'] if c['id'] in page.ids and hidden(c)] == []


STUDIES = [p for p in NOTEBOOKS if p.parent.name == 'study']


@pytest.mark.parametrize('path', [notebook(p) for p in STUDIES])
def test_every_widget_of_a_study_is_alive_below_its_cell_and_says_why_it_needs_a_kernel(pages, path):
    page = pages[page_of(path)]
    made = [name for cell in read_notebook(path)['cells'] if cell['cell_type'] == 'code'
            for name in re.findall(r'^(\w+_widget)\(', ''.join(cell['source']), flags=re.MULTILINE)]
    frames = [link for link in page.fetched if link.startswith('../play/')]
    assert page.classes.count('no-kernel') == len(made)
    assert len(frames) - page.ids.count('alive') == len(made)
    stands_in = docs_module('recorded')
    wanted = [stands_in.frame_of(path.stem, f'{name}()') for name in made]
    assert [f'../play/{name}.html' for name, _ in wanted] == frames[:len(made)]
    assert [why for _, why in wanted if why not in ' '.join(page.words)] == []


def only_directs(cell):
    return cell['cell_type'] == 'code' and not re.sub(r'^#\s*\|.*\n?', '', ''.join(cell['source']), flags=re.M).strip()


@pytest.mark.parametrize('path', [notebook(p) for p in NOTEBOOKS])
def test_equations_are_drawn_and_directives_gone(pages, path):
    page = pages[page_of(path)]
    told = '\n'.join(''.join(c['source']) for c in shown_cells(path) if c['cell_type'] == 'markdown')
    told = re.sub(r'```.*?```|`[^`\n]*`', '', told, flags=re.DOTALL)
    assert page.counts.get('math', 0) == len(re.findall(r'\$\$.+?\$\$|\$[^$]+\$', told, flags=re.DOTALL))
    assert [w for w in page.words if '$$' in w or re.search(r'\\[A-Za-z]', w)] == []
    assert re.search(r'#\s*\|\s*(?:export|hide|default_exp)', page.path.read_text(encoding='utf-8')) is None


def plain(said): return ' '.join((said or '').replace('`', '').split())


@pytest.mark.parametrize('name', MODULES)
def test_api_page_describes_every_public_name(pages, name):
    "The page is made from the source alone; here the same comments are read by fastcore from the imported objects."
    docments = pytest.importorskip('fastcore.docments').docments
    page, module = pages[f'api/{name}.html'], importlib.import_module(f'faceanon.{name}')
    assert [public for public in getattr(module, '__all__', []) if public not in page.ids] == []
    wrong = {}
    for entry, obj, _ in described_callables(name):
        said = {row[0].lstrip('*'): plain(row[-1]) for row in page.rows.get(entry, [])[1:]}
        for arg, comment in docments(obj, args_kwargs=True).items():
            if comment and arg not in ('self', 'cls'):
                if said.get('returns' if arg == 'return' else arg) != plain(comment): wrong[entry, arg] = comment
        if entry not in page.ids: wrong[entry] = 'has no heading'
        elif plain(inspect.getdoc(obj)) not in plain(''.join(page.data)): wrong[entry] = 'has no docstring'
    assert wrong == {}


def test_search_knows_words_of_every_kind_of_page(site):
    index = json.loads((site/'search'/'search_index.json').read_text(encoding='utf-8'))['docs']
    def found(word): return {d['location'].split('#')[0] for d in index if word in d['title'] + d['text']}
    assert 'index.html' in found('make figures')
    assert '2_method/05_losses.html' in found('Chebyshev')
    assert 'api/faces.html' in found('replace_faces')
    pages = {d['location'].split('#')[0] for d in index}
    assert {page_of(p) for p in NOTEBOOKS} | {f'api/{name}.html' for name in MODULES} <= pages


def test_search_works_from_the_disk(site):
    "A script in place of a fetch, and a worker in place of the one that browsers refuse there."
    assert (site/'search'/'search_index.js').read_text(encoding='utf-8').startswith('var __index = {')
    first = (site/'index.html').read_text(encoding='utf-8')
    assert first.index('iframe-worker.js') < first.index('assets/javascripts/bundle')
