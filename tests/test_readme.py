"What the README promises: its code runs, its commands and files exist."
import json
import re
from pathlib import Path
from statistics import mean as average

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT/'README.md').read_text(encoding='utf-8')
FENCES = re.findall(r'^```(\w*)\n(.*?)^```', README, flags=re.DOTALL | re.MULTILINE)
SHELL = '\n'.join(body for kind, body in FENCES if kind != 'python')


def test_python_blocks_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    names = {'__name__': 'readme'}
    for number, (kind, body) in enumerate(FENCES, 1):
        if kind == 'python': exec(compile(body, f'README.md, fence {number}', 'exec'), names)


def test_every_make_command_is_a_target():
    rules = (ROOT/'Makefile').read_text()
    targets = set(re.findall(r'^([a-z]+):', rules, flags=re.MULTILINE))
    asked = set(re.findall(r'`(?:[A-Z_]+=\S+ )*make ([a-z]+)', README))
    asked |= set(re.findall(r'^(?:[A-Z_]+=\S+ )*make ([a-z]+)', SHELL, flags=re.MULTILINE))
    assert {'figures', 'test'} <= asked, "the README names the two commands"
    assert asked <= targets


LINKS = re.findall(r'\]\(([^)\s]+)[^)]*\)', README) + re.findall(r'(?:src|href)="([^"]+)"', README)
FILES = sorted({link.split('#')[0] for link in LINKS if not re.match(r'[a-z]+:|#', link)})


@pytest.mark.parametrize('name', FILES)
def test_linked_file_exists(name):
    assert (ROOT/name).exists()


METHODS = dict(zip(
    ('original', 'super-pixel', 'k-same', 'black mask', "M, the paper's objective", '**M, ours** (3 seeds)'),
    ('none', 'superpixel', 'k_same', 'mask', 'paper_objective', 'learned')))
COLUMNS = ('map50_near', 'map50_near_frozen', 'map50_far', 'eer_fixed', 'eer_worst', 'rank1_worst')


def test_who_is_ahead_of_m_on_photographs_and_over_clips_is_what_was_measured():
    real = json.loads((ROOT/'figures/data/real_tradeoff.json').read_text(encoding='utf-8'))
    clips = {(a['method'], a['seed']): a['eer'] for a in real['attacks'] if a['attacker'] == 'track'}
    def mean(method, of): return average([of(r) for r in real['rows'] if r['method'] == method])
    def ahead(error):
        both = [lambda r: r['map50'], error]
        return {m for m in {r['method'] for r in real['rows']} - {'learned'}
                if all(mean(m, of) >= mean('learned', of) for of in both)} - {'none', 'paper_objective'}
    for key in ('eer_worst_photographs', 'eer_worst'):
        assert ahead(lambda r, key=key: r[key]) == set(), "no hand-crafted method is at or above ours"
    assert ahead(lambda r: clips[r['method'], r['seed']]) == set()
    for text in (README, (ROOT/'faceanon/weights/README.md').read_text(encoding='utf-8')):
        assert re.search(r'no\s+hand-crafted\s+method\s+(tested\s+)?is\s+at\s+or\s+above\s+(ours|it)\s+in\s+both', text)


def test_the_table_of_results_is_what_was_measured():
    measured = json.loads((ROOT/'figures'/'data'/'fig5_tradeoff.json').read_text(encoding='utf-8'))['rows']
    said = {}
    table = re.search(r'^\| method .*\n\|---.*\n((?:\|.*\n)+)', README, flags=re.MULTILINE)[1]
    for line in table.splitlines():
        name, *cells = [cell.strip() for cell in line.strip('| ').split('|')]
        method = METHODS.get(name, name.replace(' .', '0').replace(' ', ''))
        said[method] = [re.match(r'[\d.]+', cell.strip('*'))[0] for cell in cells[:len(COLUMNS)]]
    expected = {}
    for method in {row['method'] for row in measured}:
        rows = [row for row in measured if row['method'] == method]
        expected[method] = [f'{100*sum(row[key] for row in rows)/len(rows):.1f}' for key in COLUMNS]
    assert said == expected
