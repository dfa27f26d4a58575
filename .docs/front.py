"The front of the site in one screen: a picture that moves, the claim, three numbers, three doors."
import json
from statistics import fmean

from faceanon.plots.judges import readers_of_heads


def rows_of(data, name): return json.loads((data/f'{name}.json').read_text(encoding='utf-8'))['rows']


def worst(rows, **wanted):
    "The lowest error among the judge's rows that agree."
    return 100*min(row['eer'] for row in rows if all(row[key] == value for key, value in wanted.items()))


def numbers(data):
    "(value, what it is, what it means), each computed from `figures/data`."
    def near(method, detector):
        return 100*fmean(row['map50_near'] for row in rows_of(data, 'unmet')
                         if (row['method'], row['detector']) == (method, detector))
    kept, original = (near(method, 'other_architecture') for method in ('drawn', 'none'))
    other, beside = (near(method, 'other_seed') for method in ('drawn', 'none'))
    read = [row for row in rows_of(data, 'world_judge') if row['method'] == 'drawn']
    photographs = {method: [row for judged in rows_of(data, 'photo_judge') if judged['method'] == method
                            for row in judged['rows']] for method in ('learned', 'drawn')}
    others = min(readers_of_heads(rows_of(data, 'second_attack')))
    return [(f'{kept:.0f} %', 'mean average precision of an A that never met M, for actions near the face',
             f'on drawn people behind M; on originals {original:.0f} %. An A of another seed finds less: {other:.0f} '
             f'of {beside:.0f} %'),
            (f'{worst(read, size=10, releases=1):.0f} %', 'equal error rate of the best of our attackers',
             'on ten pictures of a drawn person behind M against ten; a guess has 50 %. With twenty, each in five '
             f'releases, it is {worst(read, size=20, releases=5):.0f} %'),
            (f'{min(worst(photographs["drawn"]), 100*others):.0f} %', 'equal error rate on photographs of real people',
             f'of the best attacker on our latest M, with several pictures in five releases; the M before fell to '
             f'{worst(photographs["learned"], releases=1):.0f} %. Others may read more, so the video tool covers heads '
             'with a plain mask')]


def front(data):
    "HTML before the text of the home page."
    told = ''.join(f'<div><b>{value}</b><span>{what}<small>{meaning}.</small></span></div>'
                   for value, what, meaning in numbers(data))
    return f'''<div class="front">
<p class="claim">A network <b>M</b> changes faces until a recogniser <b>D</b> can no longer name the person, while a
detector <b>A</b> still finds the action. M and A learn together, D learns against them.</p>
<figure><picture><source srcset="play/front_still.webp" media="(prefers-reduced-motion: reduce)">
<img src="play/front.webp" width="576" height="192" alt="Six drawn faces; below each a face of nobody in the same pose
with the same thing in the hand, again and again another one"></picture>
<figcaption>Above: drawn people whom M has never met. Below: what M draws instead, each time somebody
else.</figcaption></figure>
<div class="numbers">{told}</div>
<p class="doors"><a href="00_tour.html">Read: the tour in ten minutes</a>
<a href="play/index.html">Play: M alive in the browser</a>
<a href="#anonymize-a-video-in-three-lines">Use: hide faces in videos</a></p>
</div>

'''
