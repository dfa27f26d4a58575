"Films and pictures are anonymized, audited, listed and reported where torch is not installed."
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from faceanon.data.files import FACE_COLUMNS
from faceanon.models.anonymizer import Anonymizer, save_anonymizer
from faceanon.models.face_detectors import CenterFace
from faceanon.models.mobilefacenet import MobileFaceNet
from faceanon.pixels import align_pixels
from faceanon.video.audit import audit_frames
from faceanon.video.image_files import read_image_file
from faceanon.video.reading import read_video_frames, upright_frame

av = pytest.importorskip('av')
FACE = 125, 45, 195, 115  # eyes to chin in `portrait`

BLOCKED = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision'): raise ImportError(f'{name} is not installed here')
sys.meta_path.insert(0, NoTorch())
from faceanon.cli import main
main()
"""


def faceanon(*words):
    return subprocess.run([sys.executable, '-c', BLOCKED, *map(str, words)], capture_output=True, text=True)


def portrait(moved=0):
    "The astronaut that comes with scikit-image, in 320 by 224 pixels."
    return np.roll(data.astronaut()[:224, 60:380], moved, 1)


def draw_portraits(folder):
    "A film in which the head moves, and a picture."
    Image.fromarray(portrait()).save(folder/'a.png')
    with av.open(str(folder/'a.mp4'), 'w') as out:
        stream = out.add_stream('libx264', rate=8, options=dict(crf='10'))
        stream.width, stream.height, stream.pix_fmt = 320, 224, 'yuv420p'
        for i in range(8): out.mux(stream.encode(av.VideoFrame.from_ndarray(portrait(2*i), format='rgb24')))
        out.mux(stream.encode())
    return folder/'a.mp4', folder/'a.png'


def in_face(pixels, moved=0): return pixels[FACE[1]:FACE[3], FACE[0] + moved:FACE[2] + moved].astype(float)


def draw_film(path, frames=8):
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=4)
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        for _ in range(frames): out.mux(stream.encode(av.VideoFrame(96, 64, 'yuv420p')))
        out.mux(stream.encode())


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films')
    draw_film(folder/'a.mp4')
    (folder/'b.mp4').write_bytes(b'no film')
    return folder


def test_a_manifest_is_made_and_a_report_printed(films, tmp_path):
    listed = tmp_path/'films.jsonl'
    made = faceanon('manifest', films, '-o', listed)
    assert made.returncode == 1 and 'b.mp4' in made.stderr, made.stderr
    _, *rows = map(json.loads, listed.read_text().splitlines())
    found = [(row['path'], row['seconds'], bool(row['error'])) for row in rows]
    assert found == [('a.mp4', 2, False), ('b.mp4', 0, True)]
    told = faceanon('report', listed, tmp_path, '--json')
    assert told.returncode == 1, told.stderr
    assert [(row['path'], row['state']) for row in json.loads(told.stdout)] == [('a.mp4', 'new'), ('b.mp4', 'new')]


def test_data_sets_are_checked(tmp_path):
    for split in ('Train', 'Test'):
        (tmp_path/'lfw').mkdir(exist_ok=True)
        (tmp_path/'lfw'/f'peopleDev{split}.txt').write_text(f'1\n{split}_Person\t2\n')
    picture = tmp_path/'lfw'/'lfw-deepfunneled'/'Test_Person'/'Test_Person_0001.jpg'
    picture.parent.mkdir(parents=True)
    Image.fromarray(portrait()).save(picture)
    columns = ['image', *FACE_COLUMNS, 'score']
    rows = [','.join(columns), ','.join(['Test_Person/Test_Person_0001.jpg', *['9']*(len(columns) - 1)])]
    (tmp_path/'lfw'/'faces_yunet.csv').write_text('\n'.join(rows) + '\n')
    annotated = {'a.mp4': dict(annot={'Phoning': [dict(keyframes=[dict(
        boundingBox=np.array([[.1, .1, .5, .5]]), frameNumber=1, time=.1)])]})}
    (tmp_path/'daly').mkdir()
    said = dict(labels=['Phoning'], annot=annotated, splits=[['a.mp4']])
    (tmp_path/'daly'/'daly1.1.0.pkl').write_bytes(pickle.dumps(said))
    told = faceanon('data', 'check', tmp_path, '--json')
    assert told.returncode == 1 and 'Traceback' not in told.stderr, told.stderr
    found = {(row['set'], row['what']): row['found'] for row in json.loads(told.stdout)}
    assert [found['lfw', what] for what in ('people', 'pictures', 'pictures with a face in the table')] == [1, 1, 1]
    assert [found['daly', what] for what in ('classes', 'key frames')] == [1, 1] and found['jhmdb', 'folder'] == 0


def test_faces_of_a_film_and_a_picture_are_masked_and_an_audit_tells_it(tmp_path):
    film, picture = draw_portraits(tmp_path)
    (tmp_path/'out').mkdir()
    done = faceanon('anonymize', film, picture, '-o', tmp_path/'out')
    assert done.returncode == 0, done.stderr
    shown = [upright_frame(frame) for frame in read_video_frames(tmp_path/'out'/'a.mp4')]
    assert len(shown) == 8
    for i, pixels in enumerate(shown):
        assert in_face(pixels, 2*i).max() < 30 and in_face(portrait(2*i), 2*i).mean() > 100
        assert np.abs(pixels[:, :40].astype(float) - portrait(2*i)[:, :40]).mean() < 3, "beside the face"
    for name, leaked in (('out/a.mp4', 0), ('a.mp4', 8)):
        told = faceanon('audit', tmp_path/name, '--original', film, '--json')
        assert told.returncode == 0, told.stderr
        leaks = json.loads(told.stdout)['leaks']
        assert (leaks['leaked'], leaks['faces']) == (leaked, 8)
    pixels = read_image_file(tmp_path/'out'/'a.png').frames[0].colours
    assert in_face(pixels).max() == 0 and (pixels[:, :40] == portrait()[:, :40]).all()


@pytest.mark.parametrize('method', ['blur', 'pixelate'])
def test_a_picture_is_blurred(tmp_path, method):
    _, picture = draw_portraits(tmp_path)
    done = faceanon('anonymize', picture, '-o', tmp_path/'out.png', '--method', method)
    assert done.returncode == 0, done.stderr
    pixels, original = read_image_file(tmp_path/'out.png').frames[0].colours, portrait()
    steps = [np.abs(np.diff(in_face(one), axis=1)).mean() for one in (pixels, original)]
    assert steps[0] < .5*steps[1] and abs(in_face(pixels).mean() - in_face(original).mean()) < 25
    assert (pixels[:, :40] == original[:, :40]).all()


def heads(film): return [in_face(upright_frame(frame), 2*i) for i, frame in enumerate(read_video_frames(film))]


def test_the_head_of_nobody_is_drawn_in_a_film_and_a_picture(tmp_path):
    film, picture = draw_portraits(tmp_path)
    (tmp_path/'out').mkdir()
    done = faceanon('anonymize', film, picture, '-o', tmp_path/'out', '--method', 'real')
    assert done.returncode == 0, done.stderr
    shown, original = heads(tmp_path/'out'/'a.mp4'), heads(film)
    assert len(shown) == 8
    for ours, before in zip(shown, original):
        assert np.abs(ours - before).mean() > 15 and ours.std() > 12, "somebody is there, and it is somebody else"
    moved = [np.abs(ours - after).mean() for ours, after in zip(shown, shown[1:])]
    assert max(moved) < 12, "the same nobody in the next frame"
    beside = [upright_frame(frame)[:, :24].astype(float) for frame in read_video_frames(tmp_path/'out'/'a.mp4')]
    assert all(np.abs(one - portrait(2*i)[:, :24]).mean() < 3 for i, one in enumerate(beside))
    pixels = read_image_file(tmp_path/'out'/'a.png').frames[0].colours
    assert np.abs(in_face(pixels) - in_face(portrait())).mean() > 12 and in_face(pixels).std() > 12
    assert (pixels[:, :24] == portrait()[:, :24]).all()


def test_the_m_of_drawn_faces_changes_a_picture(tmp_path):
    _, picture = draw_portraits(tmp_path)
    done = faceanon('anonymize', picture, '-o', tmp_path/'out.png', '--method', 'world')
    assert done.returncode == 0, done.stderr
    pixels = read_image_file(tmp_path/'out.png').frames[0].colours
    assert np.abs(in_face(pixels) - in_face(portrait())).mean() > 12
    assert (pixels[:, :40] == portrait()[:, :40]).all()


def aligned(pixels):
    "The face of a picture as a recogniser wants it, a tensor."
    points, = CenterFace().detect_uint8(pixels[None]).landmarks
    return torch.from_numpy(align_pixels(pixels, points, (112, 112)).transpose(2, 0, 1)[None]/255)


def random_recogniser():
    "Weights large enough that pictures differ."
    net = MobileFaceNet().eval()
    torch.manual_seed(0)
    for value in net.parameters():
        if value.ndim > 1: torch.nn.init.kaiming_normal_(value)
    return net


@pytest.fixture(params=[True, False], ids=['archive', 'older form'])
def recogniser(request, tmp_path):
    "A file of weights to which the portrait and its mirror image are two people, as unlike as can be."
    net = random_recogniser()
    with torch.no_grad():
        ours, mirrored = (net.embed(aligned(pixels)) for pixels in (portrait(), portrait()[:, ::-1]))
        net.last_bn.bias -= (ours + mirrored)[0]/2
    torch.save(net.state_dict(), tmp_path/'weights.pth', _use_new_zipfile_serialization=request.param)
    return tmp_path/'weights.pth'


@pytest.mark.parametrize('option, left', [('--keep', True), ('--only', False)])
def test_people_stay_or_are_hidden_by_a_picture_of_them(tmp_path, recogniser, option, left):
    "The portrait on the left, its mirror image on the right; the picture that is given shows the portrait."
    film, reference = draw_portraits(tmp_path)
    both = np.concatenate([portrait(), portrait()[:, ::-1]], 1)
    Image.fromarray(both).save(tmp_path/'both.png')
    (tmp_path/'out').mkdir()
    words = option, reference, '--recognizer', recogniser
    done = faceanon('anonymize', tmp_path/'both.png', film, '-o', tmp_path/'out', *words)
    assert done.returncode == 0, done.stderr
    shown = read_image_file(tmp_path/'out'/'both.png').frames[0].colours
    sides = shown[:, :320], shown[:, :319:-1]
    visible = [bool((in_face(side) == in_face(portrait())).all()) for side in sides]
    assert visible == [left, not left]
    assert in_face(sides[left]).max() == 0, "hidden is hidden whole"
    heads_left = [head.mean() > 60 for head in heads(tmp_path/'out'/'a.mp4')]
    assert heads_left == [left]*8


@pytest.mark.parametrize('option', ['--keep', '--only'])
def test_a_recogniser_that_knows_nothing_lets_nobody_stay(tmp_path, option):
    _, picture = draw_portraits(tmp_path)
    blank = {name: torch.zeros_like(value) for name, value in MobileFaceNet().state_dict().items()}
    torch.save(blank, tmp_path/'weights.pth')
    words = 'anonymize', picture, option, picture, '--recognizer', tmp_path/'weights.pth', '-o'
    done = faceanon(*words, tmp_path/'out.png')
    assert done.returncode == 0, done.stderr
    assert in_face(read_image_file(tmp_path/'out.png').frames[0].colours).max() == 0
    torch.save(dict(blank, more=torch.zeros(1)), tmp_path/'weights.pth')
    refused = faceanon(*words, tmp_path/'b.png')
    assert refused.returncode == 3 and 'written for another network' in refused.stderr
    assert not (tmp_path/'b.png').exists()


def draw_two(path, hide=False):
    "A film of the portrait and, beside it, its mirror image; both heads move, perhaps in large squares of one colour."
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=8, options=dict(crf='10'))
        stream.width, stream.height, stream.pix_fmt = 640, 224, 'yuv420p'
        for i in range(6):
            left = portrait(2*i)
            if hide: left[24:144, 112:232] = left[24:144:24, 112:232:24].repeat(24, 0).repeat(24, 1)
            both = np.concatenate([left, left[:, ::-1]], 1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(both, format='rgb24')))
        out.mux(stream.encode())
    return path


def frames_of(film): return map(upright_frame, read_video_frames(film))


@pytest.fixture
def unlike(tmp_path):
    "A network to which the two of `draw_two` are as unlike as can be, and its file."
    net = random_recogniser()
    with torch.no_grad():
        around = portrait()[FACE[1] - 7:FACE[3] + 7, FACE[0] - 7:FACE[2] + 7]
        seen = torch.from_numpy(np.stack([around, around[:, ::-1]]).transpose(0, 3, 1, 2)/np.float32(255))
        net.last_bn.bias -= net.embed(torch.nn.functional.interpolate(seen, (112, 112), mode='bilinear')).mean(0)
    torch.save(net.state_dict(), tmp_path/'weights.pth')
    return net, tmp_path/'weights.pth'


def test_an_audit_asks_a_recogniser_and_gets_the_answers_of_torch(tmp_path, unlike):
    net, weights = unlike
    film, hidden = draw_two(tmp_path/'two.mp4'), draw_two(tmp_path/'hidden.mp4', hide=True)
    words = 'audit', hidden, '--original', film, '--detector', 'centerface', '--recognizer', weights
    told = faceanon(*words, '--json', '--html', tmp_path/'page.html')
    assert told.returncode == 0, told.stderr
    with torch.no_grad():
        named = {'MobileFaceNet': lambda faces: net.embed(torch.from_numpy(faces)).numpy()}
        by_torch = audit_frames(frames_of(film), frames_of(hidden), CenterFace(), 8, named)['attackers']
    answers = json.loads(told.stdout)['attackers']
    assert list(answers) == list(by_torch) == ['MobileFaceNet']
    for title, expected in by_torch['MobileFaceNet'].items():
        assert answers['MobileFaceNet'][title] == pytest.approx(expected, abs=1e-9), title
    clear, across, _ = answers['MobileFaceNet'].values()
    assert (clear['rank1'], clear['tracks']) == (1, 2) and clear['eer'] < .05, "it tells the clear faces apart"
    assert across['rank1'] < 1 and across['eer'] > .1, "it tells the hidden ones less well"
    page = (tmp_path/'page.html').read_text()
    assert 'Attackers tested' in page and 'MobileFaceNet: clear gallery, anonymized probe' in page


def test_an_audit_with_weights_of_another_network_says_so_and_writes_no_page(tmp_path):
    film = draw_two(tmp_path/'two.mp4')
    torch.save(dict(more=torch.zeros(1)), tmp_path/'weights.pth')
    words = 'audit', film, '--original', film, '--recognizer', tmp_path/'weights.pth'
    refused = faceanon(*words, '--html', tmp_path/'page.html')
    assert refused.returncode == 3 and 'weights.pth was written for another network' in refused.stderr
    assert 'Traceback' not in refused.stderr and not (tmp_path/'page.html').exists()


def test_what_needs_torch_says_so(tmp_path):
    _, picture = draw_portraits(tmp_path)
    own = save_anonymizer(tmp_path/'m.safetensors', Anonymizer(8), config=dict(face_size=40, pad=1.5))
    done = faceanon('anonymize', picture, '-o', tmp_path/'out.png', '--method', own)
    assert done.returncode == 3 and 'torch is not installed here' in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.mp4', 'a.png', 'm.safetensors']
