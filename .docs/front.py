"The front of the site in one screen: a picture that moves, the claim, three numbers, three doors."
import base64
import io
import json
from statistics import fmean

from PIL import Image

MOMENT = 450  # ms a step is shown


def rows_of(data, name): return json.loads((data/f'{name}.json').read_text(encoding='utf-8'))['rows']


def numbers(data):
    "(value, what it is, what it means), each computed from `figures/data`."
    ours = [row for row in rows_of(data, 'fig5_tradeoff') if row['method'] == 'learned']
    outside = [row for row in rows_of(data, 'outside') if row['method'] == 'learned' and 'eer' in row]
    photographs = min(row['eer'] for row in outside if row['data'] == 'photographs' and row['draws'] == 1)
    kept, read = (100*fmean(row[key] for row in ours) for key in ('map50_near', 'eer_worst'))
    original, = (100*row['map50_near'] for row in rows_of(data, 'fig5_tradeoff') if row['method'] == 'none')
    return [(f'{kept:.0f} %', 'mean average precision of A on actions at the face',
             f"on M's frames of drawn people, after fine-tuning on such frames; {original:.0f} on originals"),
            (f'{read:.0f} %', 'error of the worst recogniser that we trained',
             'on one picture of a drawn person, where 50 is chance. With ten pictures it is lower'),
            (f'{100*photographs:.0f} %', 'error on photographs of real people',
             'by an outside recogniser with several pictures: there M protects nobody')]


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
    told = ''.join(f'<div><b>{value}</b> {what}<small>{meaning}.</small></div>'
                   for value, what, meaning in numbers(data))
    return f'''<div class="front">
<p class="claim">A network <b>M</b> changes faces until a recogniser <b>D</b> loses the person, while an action detector
<b>A</b> keeps the action.</p>
<picture><source srcset="play/game_still.webp" media="(prefers-reduced-motion: reduce)">
<img src="play/game.webp" width="576" height="192" alt="Six drawn faces; below them the same faces behind M while it
learns: noise at first, then faces of nobody that keep pose and objects"></picture>
<div class="numbers">{told}</div>
<p class="doors"><a href="00_tour.html">Read: the paper in ten minutes</a>
<a href="play/index.html">Play: M alive in the browser</a>
<a href="4_video/index.html">Use: hide faces in videos</a></p>
</div>

'''
