"What README and model card promise: code and commands run, files exist, numbers are the measured ones."
import json
import re
import shlex
import shutil
from configparser import ConfigParser
from fractions import Fraction
from pathlib import Path

import av
import pytest
from click.testing import CliRunner
from PIL import Image

from faceanon import cli
from faceanon.data.synthetic import make_clip
from faceanon.plots.tables import TABLE_PAGES, TABLE_SOURCES, all_tables, write_tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = {page: (ROOT/page).read_text(encoding='utf-8') for page in TABLE_PAGES}
README = PAGES['README.md']
FENCES = re.findall(r'^```(\w*)\n(.*?)^```', README, flags=re.DOTALL | re.MULTILINE)
SHELL = '\n'.join(body for kind, body in FENCES if kind != 'python')
MARKED = re.compile(r'<!-- table: (\w+) -->.*?<!-- end -->', flags=re.DOTALL)


@pytest.fixture
def beside(tmp_path, monkeypatch):
    "A folder with the film and the photograph that the examples name."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    frames = [frame.permute(1, 2, 0).contiguous().numpy() for frame, _ in make_clip(range(8), 0, 8, size=320)]
    Image.fromarray(frames[0]).save(tmp_path/'photo.jpg')
    with av.open(str(tmp_path/'film.mp4'), 'w') as out:
        stream = out.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 320, 'yuv420p'
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return tmp_path


def test_python_blocks_run_one_after_another(beside):
    names = {'__name__': 'readme'}
    for number, (kind, body) in enumerate(FENCES, 1):
        if kind == 'python': exec(compile(body, f'README.md, fence {number}', 'exec'), names)
    made = {path.name for path in beside.iterdir()}
    assert {'hidden.jpg', 'masked.mp4', 'masked.mp4.faces.jsonl'} <= made
    assert names['anonymized'].shape == (8, 3, 40, 40)


def test_command_lines_run_one_after_another(beside):
    lines = [shlex.split(line, comments=True) for line in SHELL.splitlines() if line.startswith('faceanon ')]
    assert [words[1] for words in lines] == ['anonymize', 'audit']
    for words in lines:
        done = CliRunner().invoke(cli.app, words[1:])
        assert done.exit_code == 0, done.output
    assert (beside/'hidden.mp4').is_file()


def test_every_make_command_is_a_target():
    rules = (ROOT/'Makefile').read_text()
    targets = set(re.findall(r'^([a-z]+):', rules, flags=re.MULTILINE))
    asked = set(re.findall(r'`(?:[A-Z_]+=\S+ )*make ([a-z]+)', README))
    asked |= set(re.findall(r'^(?:[A-Z_]+=\S+ )*make ([a-z]+)', SHELL, flags=re.MULTILINE))
    assert {'figures', 'test', 'tables'} <= asked, "the README names the commands that matter"
    assert asked <= targets


LINKS = re.findall(r'\]\(([^)\s]+)[^)]*\)', README) + re.findall(r'(?:src|href)="([^"]+)"', README)
FILES = sorted({link.split('#')[0] for link in LINKS if not re.match(r'[a-z]+:|#', link)})


@pytest.mark.parametrize('name', FILES)
def test_linked_file_exists(name):
    assert (ROOT/name).exists()


def test_readme_has_at_most_1200_words():
    assert len(README.split()) <= 1200, "what does not fit belongs in a notebook"


@pytest.fixture
def copy(tmp_path):
    "Pages and numbers in a folder of their own."
    for name in (*TABLE_PAGES, *(f'figures/data/{source}.json' for source in TABLE_SOURCES)):
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT/name, tmp_path/name)
    return tmp_path


def test_tables_are_what_the_command_writes(copy):
    assert write_tables(copy) == [], "`make tables` writes them"


@pytest.mark.parametrize('source', TABLE_SOURCES)
def test_a_number_that_changes_reaches_a_page(copy, source):
    path, key = copy/f'figures/data/{source}.json', {
        'fig5_tradeoff': 'eer_fixed', 'tab2_attackers': 'chance_rank1', 'real_tradeoff': 'map50_frozen',
        'real_longer': 'map50', 'outside': 'eer', 'times': 'minutes',
        'world_drawn': 'eer_ten', 'world_judge': 'eer', 'unmet': 'map50_near', 'photo_drawn': 'map50_frozen',
                                                     'photo_judge': 'eer', 'second_attack': 'eer'}[source]
    def shifted(value, name=None):
        if isinstance(value, dict): return {k: shifted(v, k) for k, v in value.items()}
        if name != key: return [shifted(v) for v in value] if isinstance(value, list) else value
        return [v + 7 for v in value] if isinstance(value, list) else value + .07
    path.write_text(json.dumps(shifted(json.loads(path.read_text(encoding='utf-8')))), encoding='utf-8')
    assert write_tables(copy) != []
    assert write_tables(copy) == []


def test_every_table_is_on_a_page_and_none_is_typed():
    sources = {s: json.loads((ROOT/f'figures/data/{s}.json').read_text(encoding='utf-8')) for s in TABLE_SOURCES}
    shown = [name for text in PAGES.values() for name in MARKED.findall(text)]
    assert sorted(shown) == sorted(all_tables(sources))
    typed = {page: [line for line in MARKED.sub('', text).splitlines() if line.startswith('|')]
             for page, text in PAGES.items()}
    assert typed == dict.fromkeys(PAGES, [])


RESULT = re.compile(r'\d\s*(?:%|per\s+cent|points?\b|MB\b|h\b|min\b)|\d+\.\d+')


@pytest.mark.parametrize('page', PAGES)
def test_no_result_is_typed_into_prose(page):
    prose = re.sub(r'^```.*?^```|`[^`\n]*`', '', MARKED.sub('', PAGES[page]), flags=re.DOTALL | re.MULTILINE)
    found = {found[0] for found in RESULT.finditer(prose.replace('Apache 2.0', ''))}
    settings = {'1.5', '0.8', '2.2'} if page != 'README.md' else set()  # boxes enlarged, million weights
    assert found == settings


METHODS = {'original': 'none', 'black mask': 'mask', 'k-same': 'k_same', "M, the paper's objective": 'paper_objective',
           '**M, ours** (3 seeds)': 'learned'}
COLUMNS = ('map50_near', 'map50_near_frozen', 'eer_fixed', 'eer_worst', 'rank1_worst')


def test_the_table_of_results_is_what_was_measured():
    "Computed here once more, without the functions that wrote it."
    def read(name): return json.loads((ROOT/f'figures/data/{name}.json').read_text(encoding='utf-8'))
    measured, fair = read('fig5_tradeoff')['rows'], read('tab2_attackers')['paper']['rows']
    fair = [row | dict(method='fair') for row in fair if row['method'] != 'paper_generator']
    table = re.search(r'^\| method .*\n\| ---.*\n((?:\|.*\n)+)', README, flags=re.MULTILINE)[1]
    said = {name: cells for name, *cells in (
        [cell.strip() for cell in line.strip('| \n').split('|')] for line in table.splitlines())}
    blurs = {row['eer_worst']: row['method'] for row in measured if row['method'].startswith('blur')}
    best = blurs[max(blurs)]
    methods = METHODS | {f"best blur ({best.removeprefix('blur')})": best,
                         f'the same, margin on ({len(fair)} runs)': 'fair'}
    assert set(said) == {*methods, '*chance*'}
    for name, method in methods.items():
        rows = [row for row in measured + fair if row['method'] == method]
        means = [f'{100*sum(row[key] for row in rows)/len(rows):.1f}' for key in COLUMNS]
        assert [cell.split()[0] for cell in said[name][:len(COLUMNS)]] == means, name


def test_outside_photographs_are_read_through_m_and_hardly_through_k_same():
    "What the pages say of it in words."
    rows = [r for r in json.loads((ROOT/'figures/data/outside.json').read_text(encoding='utf-8'))['rows']
            if r['data'] == 'photographs' and r['tuned']]
    def errors(method): return [r['eer'] for r in rows if r['method'] == method]
    assert min(errors('k_same')) > .45 and max(errors('learned')) < .25
    for text in PAGES.values():
        assert 'outside measurement' in text
        assert re.search(r'research,\s+not\s+protection|\*\*Not for\*\* protecting', text)
        assert not re.search(r'no\s+hand-crafted\s+method', text), "the claim does not hold on photographs"


def test_years_agree():
    config = ConfigParser(delimiters=['='])
    config.read(ROOT/'settings.ini', encoding='utf-8')
    year = config['DEFAULT']['copyright'].split()[0]
    assert re.search(r'@software\{.*?year=\{(\d+)\}', README, flags=re.DOTALL)[1] == year
    dates = [json.loads(path.read_text(encoding='utf-8'))['provenance'].get('date', '')
             for path in (ROOT/'figures/data').glob('*.json')]
    assert max(dates)[:4] == year, "the year of the newest numbers"
