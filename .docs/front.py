"The front of the site in one screen: a picture that moves, the claim, three numbers, three doors."
import base64
import io
import json
from statistics import fmean

from PIL import Image

from faceanon.plots.judges import readers_of_heads

MOMENT = 450  # ms a step is shown


def rows_of(data, name): return json.loads((data/f'{name}.json').read_text(encoding='utf-8'))['rows']


def worst(rows, **wanted):
    "The lowest error among the judge's rows that agree."
    return 100*min(row['eer'] for row in rows if all(row[key] == value for key, value in wanted.items()))


def numbers(data):
    "(value, what it is, what it means), each computed from `figures/data`."
    ours = [row for row in rows_of(data, 'fig5_tradeoff') if row['method'] == 'learned']
    original, = (100*row['map50_near'] for row in rows_of(data, 'fig5_tradeoff') if row['method'] == 'none')
    columns = 'map50_near', 'map50_near_frozen', 'eer_worst'
    kept, frozen, read = (100*fmean(row[key] for row in ours) for key in columns)
    ten = worst([row for row in rows_of(data, 'world_judge') if row['method'] == 'learned'], size=10, releases=1)
    photographs = {method: [row for judged in rows_of(data, 'photo_judge') if judged['method'] == method
                            for row in judged['rows']] for method in ('learned', 'drawn')}
    others = min(readers_of_heads(rows_of(data, 'second_attack')))
    return [(f'{kept:.0f} %', 'mean average precision of A, for actions near the face',
             f'on drawn people behind M; on originals {original:.0f} %. A was trained further on such frames: without '
             f'that it has {frozen:.0f} %'),
            (f'{read:.0f} %', 'equal error rate of the best of our attackers',
             'who sees one picture of a drawn person behind M; a guess has 50 %. With ten pictures of each person it '
             f'is {ten:.0f} %'),
            (f'{min(worst(photographs["drawn"]), 100*others):.0f} %', 'equal error rate on photographs of real people',
             f'of the best attacker on our latest M, with several pictures of each; the M before fell to '
             f'{worst(photographs["learned"], releases=1):.0f} %. Others may read more, so the video tool covers heads '
             'with a plain mask')]


def picture_of(text): return Image.open(io.BytesIO(base64.b64decode(text))).convert('RGB')


def game_pictures(data):
    "The recorded game as frames: faces of people above, the same faces behind M below, step by step."
    story = json.loads((data/'story_works.json').read_text(encoding='utf-8'))
    side, frames = 96, []
    for moment in story['moments']:
        sheet = Image.new('RGB', (side*len(story['originals']), 2*side))
        for i, (original, face) in enumerate(zip(story['originals'], moment['faces'])):
            for row, text in enumerate((original, face['picture'])):
                sheet.paste(picture_of(text).resize((side, side), Image.BICUBIC), (side*i, side*row))
        frames.append(sheet)
    return frames


def encoded(frames, **options):
    file = io.BytesIO()
    frames[0].save(file, 'WEBP', quality=75, method=6, **options)
    return file.getvalue()


def game_files(data):
    "Name of a file of the site -> its bytes: the game that moves, and its last step for who wants stillness."
    frames = game_pictures(data)
    times = [MOMENT]*(len(frames) - 1) + [2500]
    moving = encoded(frames, save_all=True, append_images=frames[1:], duration=times, loop=0)
    return {'play/game.webp': moving, 'play/game_still.webp': encoded(frames[-1:])}


def front(data):
    "HTML before the text of the home page."
    told = ''.join(f'<div><b>{value}</b><span>{what}<small>{meaning}.</small></span></div>'
                   for value, what, meaning in numbers(data))
    return f'''<div class="front">
<p class="claim">A network <b>M</b> changes faces until a recogniser <b>D</b> can no longer name the person, while a
detector <b>A</b> still finds the action. M and A learn together, D learns against them.</p>
<figure><picture><source srcset="play/game_still.webp" media="(prefers-reduced-motion: reduce)">
<img src="play/game.webp" width="576" height="192" alt="Six drawn faces; below them the same faces behind M while it
learns: noise at first, then faces of nobody that keep pose and objects"></picture>
<figcaption>Above: drawn people. Below: what M makes of them while it learns.</figcaption></figure>
<div class="numbers">{told}</div>
<p class="doors"><a href="00_tour.html">Read: the tour in ten minutes</a>
<a href="play/index.html">Play: M alive in the browser</a>
<a href="#anonymize-a-video-in-three-lines">Use: hide faces in videos</a></p>
</div>

'''
