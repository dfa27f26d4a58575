"From a module's source to its API page. Nothing is imported, so a page needs no torch."
import ast
import io
import re
import tokenize
from html import escape


def comments_of(source):
    "Line number -> the comment on that line, and whether it stands alone."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: (t.string.lstrip('# ').rstrip(), t.line.lstrip().startswith('#'))
            for t in tokens if t.type == tokenize.COMMENT}


def cells_of(source):
    "The exporting notebook's cells: rows (first line, path of the notebook below nbs/, id of the cell)."
    headers = re.finditer(r'^# %% (?:\.\./)+nbs/(\S+\.ipynb) #(\w+)$', source, flags=re.MULTILINE)
    return [(source.count('\n', 0, h.start()) + 1, *h.groups()) for h in headers]


def beside(comments, line, first=0):
    "The comment on a line, else those that stand alone just above it and below line `first`."
    if line in comments and not comments[line][1]: return comments[line][0]
    above = []
    while (line := line - 1) > first and line in comments and comments[line][1]: above.insert(0, comments[line][0])
    return ' '.join(a for a in above if not a.startswith('%%'))


def written(lines, node):
    "As the source has it. `ast.get_source_segment` would split the whole source again for every node."
    if node is None: return ''
    part = lines[node.lineno - 1:node.end_lineno]
    part[-1] = part[-1].encode()[:node.end_col_offset].decode()
    part[0] = part[0].encode()[node.col_offset:].decode()
    return '\n'.join(part)


def text(lines, node): return ' '.join(written(lines, node).split())


def rows_of(lines, comments, function):
    "Arguments and result: rows (name, annotation, default, description)."
    a = function.args
    plain = a.posonlyargs + a.args
    defaults = dict(zip([p.arg for p in plain[::-1]], a.defaults[::-1]))
    defaults |= {p.arg: d for p, d in zip(a.kwonlyargs, a.kw_defaults) if d}
    starred = [('*' + p.arg, p) for p in [a.vararg] if p], [('**' + p.arg, p) for p in [a.kwarg] if p]
    named = [(p.arg, p) for p in plain] + starred[0] + [(p.arg, p) for p in a.kwonlyargs] + starred[1]
    last = function.returns.end_lineno if function.returns else 0
    rows = []
    for name, p in named:
        default = defaults.get(p.arg)
        line = (default or p).end_lineno
        said = '' if line == last else beside(comments, line, function.lineno)
        if p.arg not in ('self', 'cls'): rows.append((name, text(lines, p.annotation), text(lines, default), said))
    if last and (said := beside(comments, last, last)):
        rows.append(('returns', text(lines, function.returns), '', said))
    return rows


def fields_of(lines, comments, node, classes):
    "A record's fields, those of its bases in the same module first: rows (name, annotation, default, description)."
    bases = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
    inherited = [row for base in bases for row in fields_of(lines, comments, base, classes)]
    return inherited + [(f.target.id, text(lines, f.annotation), text(lines, f.value),
                         beside(comments, f.end_lineno, node.lineno))
                        for f in node.body if isinstance(f, ast.AnnAssign)]


def decorators(node): return {ast.unparse(d).split('(')[0].split('.')[-1] for d in node.decorator_list}


def function_entry(lines, comments, node, owner=''):
    rows, kind = rows_of(lines, comments, node), decorators(node)
    call = ', '.join(name if not default else f'{name}={default}' for name, _, default, _ in rows if name != 'returns')
    name = f'{owner}.{node.name}' if owner else node.name
    return dict(name=name, line=node.lineno, doc=ast.get_docstring(node) or '', rows=rows, members=[],
                code=name if 'property' in kind else f'{name}({call})')


def class_entry(lines, comments, node, classes):
    methods = [m for m in node.body if isinstance(m, ast.FunctionDef)]
    init = next((m for m in methods if m.name == '__init__'), None)
    rows = [r for r in rows_of(lines, comments, init) if r[0] != 'returns'] if init else []
    rows = rows or fields_of(lines, comments, node, classes)
    call = ', '.join(name if not default else f'{name}={default}' for name, _, default, _ in rows)
    return dict(name=node.name, line=node.lineno, doc=ast.get_docstring(node) or '', rows=rows,
                code=f'class {node.name}({call})' if len(rows) <= 12 else f'class {node.name}(...)',
                members=[function_entry(lines, comments, m, node.name) for m in methods if m.name[0] != '_'])


def constant_entries(lines, comments, node):
    "One for each name, where several are set at once."
    for target in node.targets:
        several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
        pairs = zip(target.elts, node.value.elts) if several else [(target, node.value)]
        for name, value in pairs:
            yield dict(name=written(lines, name), line=node.lineno, rows=[], members=[],
                       doc=beside(comments, node.end_lineno) or beside(comments, node.lineno),
                       code=f'{written(lines, name)} = {written(lines, value)}')


def read_module(source):
    "A module's one line, and an entry for each public name, in the order of the source."
    tree, comments, lines = ast.parse(source), comments_of(source), source.split('\n')
    public, entries = [], []
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef): entries.append(function_entry(lines, comments, node))
        elif isinstance(node, ast.ClassDef): entries.append(class_entry(lines, comments, node, classes))
        elif isinstance(node, ast.Assign) and written(lines, node.targets[0]) == '__all__':
            public = ast.literal_eval(node.value)
        elif isinstance(node, ast.Assign): entries += constant_entries(lines, comments, node)
    entries = [e for e in entries if e['name'] in public]
    cells = cells_of(source)
    for entry in entries:
        entry['cell'] = max((c for c in cells if c[0] < entry['line']), default=None)
    return dict(doc=ast.get_docstring(tree) or '', entries=entries, notebook=cells[0][1] if cells else None)


def prose(said):
    "A comment or docstring as HTML: only code in backticks is marked up."
    return re.sub(r'`([^`]+)`', r'<code>\1</code>', escape(said, quote=False))


def code(said): return f'<code>{escape(said, quote=False)}</code>' if said else ''


def table(rows):
    cells = ''.join(f'<tr><td>{"<em>returns</em>" if name == "returns" else code(name)}</td>'
                    f'<td>{code(kind)}{" = " if default else ""}{code(default)}</td><td>{prose(said)}</td></tr>\n'
                    for name, kind, default, said in rows)
    head = '<tr><th>argument</th><th>annotation</th><th>what it is</th></tr>'
    return f'<table class="arguments">\n<thead>{head}</thead>\n<tbody>\n{cells}</tbody>\n</table>\n' if rows else ''


def entry_page(entry, level=2):
    where = ''
    if entry.get('cell'):
        _, path, cell = entry['cell']
        where = f' <a data-search-exclude href="../{path.removesuffix(".ipynb")}.html#{cell}">In its notebook.</a>'
    parts = [f'{"#"*level} `{entry["name"]}` {{ #{entry["name"]} }}\n\n', f'<p>{prose(entry["doc"])}{where}</p>\n\n',
             f'```python\n{entry["code"]}\n```\n\n', table(entry['rows']), '\n',
             *(entry_page(m, level + 1) for m in entry['members'])]
    return ''.join(parts)


def module_page(name, source):
    "Markdown of a module's page."
    module = read_module(source)
    told = f'Told in [{module["notebook"]}](../{module["notebook"]}).\n\n' if module['notebook'] else ''
    return f'# faceanon.{name}\n\n> {prose(module["doc"])}\n\n{told}' + ''.join(map(entry_page, module['entries']))
