"The front of the site in one screen: a picture that moves, the claim, three numbers, three doors."
import base64
import io
import json
from statistics import fmean

from PIL import Image

MOMENT = 450  # ms a step is shown


def rows_of(data, name): return json.loads((data/f'{name}.json').read_text(encoding='utf-8'))['rows']


def judged(rows, sizes):
    "The lowest error among the judge's rows for so many pictures of a person, one release of each."
    return min(row['eer'] for row in rows if row['size'] in sizes and row['releases'] == 1)


def numbers(data):
    "(value, what it is, what it means), each computed from `figures/data`."
    ours = [row for row in rows_of(data, 'fig5_tradeoff') if row['method'] == 'learned']
    original, = (100*row['map50_near'] for row in rows_of(data, 'fig5_tradeoff') if row['method'] == 'none')
    kept, read = (100*fmean(row[key] for row in ours) for key in ('map50_near', 'eer_worst'))
    ten = 100*judged([row for row in rows_of(data, 'world_judge') if row['method'] == 'learned'], [10])
    outside = [row for row in rows_of(data, 'outside') if row['method'] == 'learned' and 'eer' in row]
    judge, = (row['rows'] for row in rows_of(data, 'photo_judge') if row['method'] == 'learned')
    photographs = 100*min(judged(judge, [1, 5, None]), *(
        row['eer'] for row in outside if row['data'] == 'photographs' and row['draws'] == 1))
    return [(f'{kept:.0f} %', 'of the actions at the face, in average precision',
             f'is what A still finds on drawn people behind M; on originals {original:.0f} %. A was trained further on '
             'such frames'),
            (f'{read:.0f} %', 'error of the best of our attackers on one picture',
             f'of a drawn person behind M, where a guess has 50 %. With ten pictures of each person it is {ten:.0f} %'),
            (f'{photographs:.0f} %', 'error on photographs of real people',
             'by the best attacker, with several pictures of each person: M does not protect them. So the video tool '
             'covers heads with a plain mask')]


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
<p class="doors"><a href="00_tour.html">Read: the paper in ten minutes</a>
<a href="play/index.html">Play: M alive in the browser</a>
<a href="4_video/index.html">Use: hide faces in videos</a></p>
</div>

'''
