"From the HTML that nbconvert makes of a notebook to a page of the site."
import re
from html import escape, unescape
from xml.etree import ElementTree

from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from markdown.extensions.toc import nest_toc_tokens, slugify, unique
from mkdocs_jupyter.preprocessors import SubCell
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

DIRECTIVE = re.compile(r'^#\s*\|\s*(\w+).*\n?', flags=re.MULTILINE)
MATHML = 'http://www.w3.org/1998/Math/MathML'


def mathml(latex, display):
    "An equation as MathML, which browsers draw without a script. ValueError for a command that is not known."
    latex = re.sub(r'\\(mathcal|mathbb|mathbf)\s+([A-Za-z])', r'\\\1{\2}', latex)  # else a variant browsers ignore
    latex = latex.replace(r'\arg', r'\operatorname{arg}').replace('{aligned}', '{align*}')
    tree = ElementTree.fromstring(convert(latex, display=display))
    for node in tree.iter(f'{{{MATHML}}}msub'):
        if display == 'block' and node[0].text in ('min', 'max'): node.tag = f'{{{MATHML}}}munder'
    ElementTree.register_namespace('', MATHML)
    drawn = ElementTree.tostring(tree, encoding='unicode')
    if '\\' in drawn: raise ValueError(f"no MathML for this LaTeX: {latex}")
    return drawn


def prepared(cell):
    "A cell as the site shows it, without directives; None for a hidden cell and for one that only directs."
    if cell.cell_type != 'code': return cell
    if 'hide' in DIRECTIVE.findall(cell.source): return None
    cell.source = DIRECTIVE.sub('', cell.source).strip('\n')
    for output in cell.outputs:
        data = output.get('data', {})
        if 'image/gif' in data:  # nbconvert would show its text
            output.data = {'text/html': f'<img src="data:image/gif;base64,{"".join(data["image/gif"].split())}">'}
    return cell if cell.source or cell.outputs else None


class Prepared(SubCell):
    "Goes where mkdocs-jupyter has its own, which takes a slice of the cells."
    def preprocess(self, nb, resources):
        nb.cells = [cell for cell in map(prepared, nb.cells) if cell]
        return super().preprocess(nb, resources)


def plain_source(source, language=None, metadata=None):
    "In place of the template's highlighter: everything after it parses the page, quicker without a tag for each token."
    return f'<pre class="source">{escape(source, quote=False)}</pre>'


def code_block(soup, source):
    "Marked up as the theme marks up its own blocks, so that colours and the copy button fit."
    block = soup.new_tag('div', attrs={'class': 'language-python highlight'})
    block.append(soup.new_tag('pre'))
    block.pre.append(soup.new_tag('code', attrs={'class': 'source'}))
    block.code.string = source
    return block


def coloured(html):
    "Each `code_block` with its tokens marked."
    def mark(match): return f'<code>{highlight(unescape(match[1]), PythonLexer(), HtmlFormatter(nowrap=True))}</code>'
    return re.sub(r'<code class="source">(.*?)</code>', mark, html, flags=re.DOTALL)


def output_block(soup, output, section):
    for dead in output.select('script, style'): dead.decompose()
    for image in output.select('img'):
        if image.get('alt', 'No description').startswith('No description'):
            image['alt'] = f'Drawn by the code above; section: {section}'
    block = soup.new_tag('div', attrs={'class': 'output'})
    block.extend(list(output.contents))
    return block


def code_cell(soup, cell, section):
    "Source, then outputs."
    block = soup.new_tag('div', attrs={'class': 'cell'})
    source = cell.select_one('pre.source').get_text()
    if source: block.append(code_block(soup, source))
    block.extend([output_block(soup, output, section) for output in cell.select('.jp-OutputArea-output')])
    return block


def told_parts(soup, cell):
    "Rendered Markdown; its code blocks get the element that the theme styles."
    for told in cell.select('.jp-RenderedMarkdown'):
        for pre in told.select('.highlight > pre'):
            inner = soup.new_tag('code')
            inner.extend(list(pre.contents))
            pre.append(inner)
        yield from list(told.contents)


def number_headings(part, used):
    "An id for each heading, and what the table of contents says of it."
    tokens = []
    for heading in part.select('h1, h2, h3, h4, h5, h6'):
        for mark in heading.select('.anchor-link'): mark.decompose()
        name = heading.get_text().strip()
        heading['id'] = unique(slugify(name, '-'), used)
        tokens.append(dict(level=int(heading.name[1]), id=heading['id'], name=name, children=[]))
    return tokens


def notebook_page(html):
    "The page's HTML and its headings, nested as the table of contents wants them."
    soup = BeautifulSoup(re.sub(r'<style.*?</style>', '', html, flags=re.DOTALL), 'html.parser')
    page = BeautifulSoup('', 'html.parser')
    used, tokens, section = set(), [], ''
    for cell in soup.select('.jp-Cell[id^="cell-id="]'):
        anchor = page.new_tag('a', attrs={'id': cell['id'].removeprefix('cell-id='), 'class': 'here'})
        page.append(anchor)
        if 'jp-CodeCell' in cell['class']: page.append(code_cell(page, cell, section))
        else:
            tokens += number_headings(cell, used)
            section = tokens[-1]['name'] if tokens else ''
            page.extend(list(told_parts(page, cell)))
    return page, nest_toc_tokens(tokens)
