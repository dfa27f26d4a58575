"Data sets in their official layouts, whole and damaged; pickles that would run something; scans that are remembered."
import io
import json
import os
import pickle
import shutil
import struct
import time
import warnings
import zlib
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from test_datasets import FRAMES, MASK, VIDEO, face_row, make_jhmdb, make_lfw, write_clip

from faceanon.data import daly
from faceanon.data import files as data_files
from faceanon.data.casia import ARCFACE_POINTS, CASIA, CASIA_SPLITS, split_identities
from faceanon.data.check import check_data, make_face_table, write_face_table
from faceanon.data.daly import DALY, DALY_FILE, KeyFrame, list_daly_key_frames, read_daly_annotations, read_frame_at
from faceanon.data.files import (
    FACE_COLUMNS,
    DataError,
    image_size,
    read_face_table,
    read_image,
    read_pickle,
    scan_files,
    scan_index_path,
)
from faceanon.data.jhmdb import JHMDB, JHMDBTubes, list_frame_files
from faceanon.data.lfw import LFW, VerificationPairs, find_lfw_images, lfw_folds, lfw_pairs

PEOPLE = [f'{i:07d}' for i in range(45, 65)]


def aged(root, seconds=100):
    "As if everything had been unpacked a while ago."
    for path in [root, *root.rglob('*')]: os.utime(path, (time.time() - seconds,)*2)
    return root


def make_casia(root, side=250, ending='.jpg', inside=''):
    for p, person in enumerate(PEOPLE):
        folder = root/'casia-webface'/inside/person
        folder.mkdir(parents=True)
        for n in (1, 2, 3): Image.new('RGB', (side, side), (10*p, 60*n, 9)).save(folder/f'{n:03d}{ending}')
    points = '\t'.join(map(str, (100, 110, 150, 110, 125, 140, 105, 165, 145, 165)))
    lines = [f'{person}/{n:03d}.jpg\t{p}\t{points}' for p, person in enumerate(PEOPLE) for n in (1, 2, 3)]
    (root/'casia-webface/casia_landmark.txt').write_text('\n'.join(lines) + '\n')
    return root


def daly_annotations():
    "Two videos to train on, one to test on; at frame 11 of the first, two people do two things."
    def keys(*given):
        extras = dict(objects=np.array([[.1, .1, .2, .2, 3, 0, 0]]), pose=np.zeros((7, 4)))
        return [dict(frameNumber=n, time=t, boundingBox=np.array([box]), **extras) for n, t, box in given]

    def does(*given):
        return dict(beginTime=0., endTime=2., flags=dict(isSmall=False, isZoom=True), keyframes=keys(*given))
    acts = {'a.mp4': {'Drinking': [does((11, .42, [.25, .25, .75, 1.]), (21, .82, [.25, 0., .5, .5]))],
                      'Phoning': [does((11, .42, [0., 0., .25, .5]))]},
            'b.mp4': {'Phoning': [does((2, .06, [0., 0., 1., 1.]))]},
            'c.mp4': {'Drinking': [does((6, .22, [0, 0, .5, .5]))]}}
    return dict(labels=['Drinking', 'Phoning'], objectList=['cup'], joints=['head'], splits=[['b.mp4']],
                annot={video: dict(annot=act, suggestedClass='Drinking') for video, act in acts.items()},
                metadata={video: dict(fps=25., duration=2., nbframes_ffmpeg=50) for video in acts})


def write_video(path, frames=50, rate=25, size=(64, 48)):
    "Frame n is grey 4n, with an independent frame every 12."
    import av
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=rate, options=dict(crf='5', g='12'))
        stream.width, stream.height, stream.pix_fmt = *size, 'yuv420p'
        for n in range(frames):
            grey = np.full((size[1], size[0], 3), 4*n, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format='rgb24')))
        out.mux(stream.encode())


def make_daly(root):
    (root/'daly/videos').mkdir(parents=True)
    for video in 'abc': write_video(root/f'daly/videos/{video}.mp4')
    (root/'daly'/DALY_FILE).write_bytes(pickle.dumps(daly_annotations(), 2))
    rows = [face_row((32, 12, 48, 28), ('a.mp4', 11)), face_row((60, 40, 80, 60), ('a.mp4', 11))]
    (root/'daly/faces_yunet.csv').write_text('\n'.join([','.join(('video', 'frame', *FACE_COLUMNS, 'score')), *rows]))
    return root


def make_frames(root):
    "JHMDB's clips as pictures, and its boxes as ACT's file."
    made, gt = JHMDB('train', root=root), dict(labels=['clap', 'wave'], gttubes={}, nframes={}, resolution={})
    names = {'train': [], 'test': []}
    for side in names:
        made = JHMDB(side, root=root)
        clips = [(c.action, c.name) for c in made.clips] + (made.left_out if side == 'train' else [])
        for action, name in clips:
            folder = root/f'jhmdb/Rename_Images/{action}/{name}'
            folder.mkdir(parents=True)
            for t in range(FRAMES): Image.new('RGB', (320, 240), (20*t, 9, 9)).save(folder/f'{t + 1:05d}.png')
            rows = np.array([[t + 1, 40 + 20*t, 60, 120 + 20*t, 180] for t in range(FRAMES)], dtype=np.float32)
            gt['gttubes'][f'{action}/{name}'] = {gt['labels'].index(action): [rows]}
            gt['nframes'][f'{action}/{name}'], gt['resolution'][f'{action}/{name}'] = FRAMES, (240, 320)
            names[side].append(f'{action}/{name}')
    gt |= {f'{side}_videos': [clips] for side, clips in names.items()}
    (root/'jhmdb/JHMDB-GT.pkl').write_bytes(pickle.dumps(gt, 2))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp('official')
    for make in (make_lfw, make_jhmdb, make_casia, make_daly, make_frames): make(root)
    return aged(root)


@pytest.fixture
def broken(whole, tmp_path):
    "A copy to damage."
    return shutil.copytree(whole, tmp_path/'copy')


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    "Scans are remembered in the test's own folder."
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))


def quietly(make, *given, **named):
    "What a reader gives, and how often it warned."
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        return make(*given, **named), [str(w.message) for w in told]


# Pickles

class Calls:
    "Pickles as a call."
    def __init__(self, function, *given): self.call = (function, given)

    def __reduce__(self): return self.call


def named(module, name, *given):
    "A call of `module.name` in protocol 0, which no module has to be imported for."
    values = b''.join(b'V' + str(v).encode() + b'\n' if isinstance(v, str) else b'I%d\n' % v for v in given)
    return b'c' + module.encode() + b'\n' + name.encode() + b'\n(' + values + b'tR.'


SPY = "open('spied', 'w')"
ATTACKS = {
    'os.system': (pickle.dumps(Calls(os.system, 'touch spied')), f"refused {os.name}.system"),
    'eval': (pickle.dumps(Calls(eval, SPY)), "refused builtins.eval"),
    'eval of Python 2': (named('__builtin__', 'eval', SPY), "refused __builtin__.eval"),
    'exec inside a list': (pickle.dumps([1, {'a': Calls(exec, SPY)}]), "refused builtins.exec"),
    'in an array of objects': (pickle.dumps(np.array([Calls(os.system, 'touch spied')], dtype=object)), "refused"),
    'an array of objects': (pickle.dumps(np.array([None, 'plain'], dtype=object)), "refused dtype 'O8'"),
    'a structured array': (pickle.dumps(np.zeros(2, 'i4,O')), "refused dtype 'V"),
    "numpy's own loader": (named('numpy', 'load', 'x.npy'), "refused numpy.load"),
    'an attribute of a class': (b'\x80\x04\x8c\x05numpy\x8c\x0fndarray.tobytes\x93.', "refused numpy.ndarray.tobytes"),
    'getattr': (named('builtins', 'getattr', 'a', 'b'), "refused builtins.getattr"),
    'a module of ours': (named('faceanon.data.files', 'os', 'a'), "refused faceanon.data.files.os"),
    'a huge array': (named('numpy', 'ndarray', 10**12), "expected a whole pickle"),
    'huge bytes': (named('builtins', 'bytes', 10**12), "refused bytes(1000000000000,)"),
    'another codec': (named('_codecs', 'encode', 'x', 'zip'), "refused codec 'zip'"),
    'a memo of gigabytes': (b'\x80\x02Nr\xff\xff\xff\x7f.', None),
    'an extension': (b'\x80\x02\x82\x01.', "expected a whole pickle"),
    'a persistent name': (b'Pos.system\n.', "expected a whole pickle"),
    'an old instance': (b"(S'touch spied'\nios\nsystem\n.", "expected a whole pickle"),
    'state of a class': (b'\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00itemsNsb.', "refused to set the state"),
    'state of a function': (b'\x80\x02c_codecs\nencode\n}X\x0c\x00\x00\x00__defaults__Nsb.', "refused to set the"),
    'nothing': (b'', "expected a whole pickle"),
    'text': (b'not a pickle', "expected a whole pickle"),
}


@pytest.mark.parametrize('attack', ATTACKS)
def test_a_pickle_cannot_run_anything(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    content, says = ATTACKS[attack]
    (tmp_path/'bad.pkl').write_bytes(content)
    if says is None: assert read_pickle(tmp_path/'bad.pkl') is None
    else:
        with pytest.raises(DataError) as e: read_pickle(tmp_path/'bad.pkl')
        assert says in str(e.value) and str(tmp_path/'bad.pkl') in str(e.value)
    assert [p.name for p in tmp_path.iterdir()] == ['bad.pkl']


def test_the_attacks_would_work(tmp_path, monkeypatch):
    "Else the test above could not fail."
    monkeypatch.chdir(tmp_path)
    pickle.loads(ATTACKS['eval'][0]).close()
    assert (tmp_path/'spied').exists()


@pytest.mark.parametrize('flags', [0, 63])
def test_a_forged_dtype_cannot_pass_bytes_for_objects(tmp_path, flags):
    "numpy's own dtype lets a file clear the flag by which an array knows that it holds objects."
    state = (3, '|', None, None, None, 8, 8, flags)
    forged = pickle.dumps(np.zeros(1)).replace(b'f8', b'O8')
    (tmp_path/'bad.pkl').write_bytes(forged)
    with pytest.raises(DataError, match="refused dtype 'O8'"): read_pickle(tmp_path/'bad.pkl')
    dtype = data_files._numpy_names('x')['dtype']('f8')
    dtype.__setstate__(state)
    assert dtype.dtype == np.float64


@pytest.mark.parametrize('shape', [(3,), (2, -1), (10**9, 10**9), (1.5,)])
def test_an_array_is_as_large_as_its_bytes(tmp_path, shape):
    names = data_files._numpy_names('x')
    with pytest.raises(DataError, match="expected"):
        names['_frombuffer'](b'\0'*16, names['dtype']('f8'), shape, 'C')


def test_the_same_bytes_cannot_be_multiplied(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, 'MAX_ARRAY_BYTES', 10_000)
    array = np.zeros(1000, np.uint8)
    few, many = io.BytesIO(), io.BytesIO()
    pickle.dump([array]*50, few)       # one array, named again and again: no more memory
    pickle.dump([array.copy() for _ in range(11)], many)
    (tmp_path/'few.pkl').write_bytes(few.getvalue())
    (tmp_path/'many.pkl').write_bytes(many.getvalue())
    assert len(read_pickle(tmp_path/'few.pkl')) == 50
    with pytest.raises(DataError, match="at most 10000 bytes of arrays"): read_pickle(tmp_path/'many.pkl')
    with pytest.raises(DataError, match="expected at most 9 bytes"): read_pickle(tmp_path/'few.pkl', most=9)


PLAIN = [np.arange(6.).reshape(2, 3), np.asfortranarray(np.arange(6, dtype='>i4').reshape(2, 3)), np.zeros((0, 7)),
         np.array(['ab', 'ü']), np.array([b'ab', b'c']), np.array([True, False]), np.uint8([250]), np.float32(.5),
         np.int64(-3), np.bool_(True), OrderedDict(a=1), defaultdict(list, b=[2]), {1, 2}, frozenset({3}),
         (1, None, 2.5, 10**30), b'\xff\0', 'ü', 7]


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back_as_they_went(tmp_path, protocol):
    content = pickle.dumps(PLAIN, protocol)
    (tmp_path/'plain.pkl').write_bytes(content)
    for went, came in zip(pickle.loads(content), read_pickle(tmp_path/'plain.pkl'), strict=True):
        if isinstance(went, (np.ndarray, np.generic)):
            assert np.array_equal(went, came) and went.dtype == came.dtype and went.shape == came.shape
        else: assert went == came and type(went) is type(came)


def test_a_pickle_of_python_2_is_read(tmp_path):
    "Bytes are str there, dtypes and arrays have numpy's old names: written by hand, opcode by opcode."
    text = lambda s: b'U' + bytes([len(s)]) + s
    raw = np.array([1.5, -2.]).tobytes()
    size = b'J\xff\xff\xff\xff'
    dtype = b'cnumpy\ndtype\n' + text(b'f8') + b'K\x00K\x01\x87R(K\x03' + text(b'<') + b'NNN' + size*2 + b'K\x00tb'
    array = (b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85' + text(b'b') + b'\x87R(K\x01K\x02\x85'
             + dtype + b'\x89' + text(raw) + b'tb')
    number = b'cnumpy.core.multiarray\nscalar\n' + dtype + text(raw[:8]) + b'\x86R'
    (tmp_path/'old.pkl').write_bytes(b'\x80\x02}(' + text(b'boxes') + array + text(b'time') + number
                                     + text(b'caf\xe9') + b'X\x01\x00\x00\x00au.')
    old = read_pickle(tmp_path/'old.pkl')
    assert old['boxes'].tolist() == [1.5, -2.] and old['time'] == 1.5 and old['café'] == 'a'


# Scans

@pytest.fixture
def files(tmp_path, monkeypatch):
    "Three old files, and every look at one."
    monkeypatch.setattr(data_files, 'MIN_SCAN_SECONDS', 0)
    folder = tmp_path/'files'
    folder.mkdir()
    for name in 'abc': (folder/name).write_text(name)
    aged(folder)
    looks = []

    def look(path):
        looks.append(path.name)
        try: text = path.read_text()
        except OSError as e: raise DataError(f"{path}: expected text") from e
        if 'bad' in text: raise DataError(f"{path}: expected good text")
        return text.upper()
    return folder, look, looks


def test_a_second_scan_looks_at_nothing(files):
    folder, look, looks = files
    first, second = (scan_files('try', folder, 'abc', look) for _ in range(2))
    assert first == second == (dict(a='A', b='B', c='C'), []) and sorted(looks) == ['a', 'b', 'c']
    assert json.loads(scan_index_path('try', folder).read_text())['format'] == data_files.INDEX_FORMAT
    assert list(scan_index_path('try', folder).parent.glob('*.part')) == []


@pytest.mark.parametrize('change, again', [
    (lambda f: (f/'b').write_text('other'), ['b']), (lambda f: os.utime(f/'b', (1, 1)), ['b']),
    (lambda f: (f/'b').unlink(), ['b']), (lambda f: (f/'d').write_text('d'), []),
])
def test_what_changed_is_looked_at_again(files, change, again):
    folder, look, looks = files
    scan_files('try', folder, 'abc', look)
    looks.clear()
    change(folder)
    found, bad = scan_files('try', folder, 'abc', look, 'skip')
    assert looks == again and [name for name, _ in bad] == [n for n in again if not (folder/n).exists()]
    assert found.get('b') in (None, 'B', 'OTHER') and list(found) == [n for n in 'abc' if (folder/n).exists()]


def test_bad_and_young_files_are_looked_at_again(files):
    folder, look, looks = files
    (folder/'b').write_text('bad')
    os.utime(folder/'b', (1, 1))
    (folder/'c').write_text('young')
    for _ in range(2): found, bad = scan_files('try', folder, 'abc', look, 'skip')
    assert sorted(looks) == ['a', 'b', 'b', 'c', 'c'] and bad == [('b', f"{folder/'b'}: expected good text")]
    with pytest.raises(DataError, match="b: expected good text"): scan_files('try', folder, 'abc', look)


def test_an_interrupted_scan_keeps_what_it_saw(files, monkeypatch):
    folder, look, looks = files
    monkeypatch.setattr(os, 'cpu_count', lambda: 1)
    (folder/'c').write_text('bad')
    with pytest.raises(DataError): scan_files('try', folder, 'abc', look)
    looks.clear()
    (folder/'c').write_text('c')
    scan_files('try', folder, 'abc', look)
    assert looks == ['c']


def test_an_index_of_another_format_is_ignored(files):
    folder, look, looks = files
    scan_files('try', folder, 'abc', look)
    path = scan_index_path('try', folder)
    path.write_text(path.read_text().replace(data_files.INDEX_FORMAT, 'faceanon scan 0').replace('"A"', '"old"'))
    assert scan_files('try', folder, 'abc', look)[0]['a'] == 'A' and len(looks) == 6


@pytest.mark.parametrize('content', ['', '{', '[]', '{"format": "faceanon scan 1", "files": {"a": [1]}}', '['*9999,
                                     '{"files": {}}', '{"format": "faceanon scan 1", "files": 3}'])
def test_a_broken_index_is_ignored(files, content):
    folder, look, looks = files
    path = scan_index_path('try', folder)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert scan_files('try', folder, 'abc', look)[0] == dict(a='A', b='B', c='C') and len(looks) == 3


def test_two_folders_have_two_indexes(files, tmp_path):
    paths = [scan_index_path(*given) for given in (('try', tmp_path), ('try', tmp_path/'x'), ('other', tmp_path/'x'))]
    assert len(set(paths)) == 3


def test_outside_a_checkout_nothing_is_kept(files, monkeypatch, tmp_path):
    folder, look, looks = files
    monkeypatch.delenv('FACEANON_OUT')
    monkeypatch.chdir(tmp_path)
    for _ in range(2): assert len(scan_files('try', folder, 'abc', look)[0]) == 3
    assert len(looks) == 6 and [p.name for p in tmp_path.iterdir()] == ['files']


def test_an_index_that_cannot_be_written_costs_a_warning(files, tmp_path):
    folder, look, _ = files
    (tmp_path/'runs').mkdir()
    (tmp_path/'runs/data').write_text('a file in the way')
    (found, _), told = quietly(scan_files, 'try', folder, 'abc', look)
    assert len(found) == 3 and 'cannot keep the scan' in told[0]


@pytest.mark.parametrize('part', [.1, .5, .9, .99])
@pytest.mark.parametrize('ending', ['.jpg', '.png'])
def test_checking_a_picture_finds_what_reading_it_would(tmp_path, part, ending):
    path = tmp_path/f'x{ending}'
    Image.effect_noise((120, 90), 50).convert('RGB').save(path)
    assert image_size(path) == [120, 90]
    path.write_bytes(path.read_bytes()[:int(part*path.stat().st_size)])
    for read in (image_size, read_image):
        with pytest.raises(DataError, match="expected a whole picture"): read(path)


def test_a_picture_that_claims_to_be_gigantic_is_refused(tmp_path):
    path = tmp_path/'x.png'
    Image.new('RGB', (4, 4)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack('>II', 40_000, 40_000)
    data[29:33] = struct.pack('>I', zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="expected a whole picture.*decompression bomb"): image_size(path)


# CASIA-WebFace

def test_casia_answers_in_the_worlds_shape(whole):
    faces = CASIA('train', 48, root=whole)
    assert len(faces) == 48 and len(faces.people) == 16 and faces.skipped == []
    for face, identity in (faces[i] for i in (0, 1, 47)):
        assert face.shape == (3, 48, 48) and face.dtype == torch.uint8 and isinstance(identity, int)
    assert faces[3][1] == 1 and faces[47][1] == 15
    colours = face.float().mean((1, 2)).tolist()
    assert colours == pytest.approx([10*PEOPLE.index(faces.people[15]), 180, 9], abs=3)


@pytest.mark.parametrize('seed', range(5))
def test_nobody_is_on_two_sides(whole, seed):
    sides = {side: CASIA(side, root=whole, seed=seed).people for side in CASIA_SPLITS}
    assert sorted(sum(sides.values(), [])) == PEOPLE and [len(p) for p in sides.values()] == [16, 2, 2]
    assert split_identities(PEOPLE, 'test', seed) == sides['test'] == CASIA('test', root=whole, seed=seed).people
    assert seed == 0 or sides != {side: CASIA(side, root=whole).people for side in CASIA_SPLITS}


@pytest.mark.parametrize('n', [1, 2, 3, 7, 10575])
def test_every_split_covers_everybody_once(n):
    people = [f'{i:07d}' for i in range(n)]
    sides = [split_identities(people, side) for side in CASIA_SPLITS]
    assert sorted(sum(sides, [])) == people and abs(len(sides[0]) - .8*n) <= .5


def test_damage_moves_nobody_to_another_side(broken):
    before = {side: CASIA(side, root=broken).people for side in CASIA_SPLITS}
    for n in (1, 2, 3): (broken/f'casia-webface/{before["train"][0]}/{n:03d}.jpg').write_bytes(b'damaged')
    after, told = quietly(lambda: {side: CASIA(side, root=broken, on_bad='skip').people for side in CASIA_SPLITS})
    assert after == before | {'train': before['train'][1:]}
    assert len(told) == 1 and 'CASIA-WebFace: skipped 3 of 48' in told[0]


@pytest.mark.parametrize('inside', ['CASIA-WebFace', 'archive/casia-webface', 'CASIA-maxpy-clean'])
def test_mirrors_are_read(tmp_path, inside):
    make_casia(tmp_path, 112, '.png', inside)
    (tmp_path/'casia-webface'/inside/'.DS_Store').write_bytes(b'x')
    (tmp_path/'casia-webface'/inside/PEOPLE[0]/'Thumbs.db').write_bytes(b'x')
    faces = CASIA('test', 64, root=tmp_path, points=ARCFACE_POINTS)
    assert len(faces) == 6 and faces[0][0].shape == (3, 64, 64)
    assert faces.landmarks(0)[2].tolist() == pytest.approx([32, 41], abs=1)


def test_casia_landmarks_are_in_the_faces_pixels(whole, broken):
    faces = CASIA('val', 50, root=whole)
    assert faces.landmarks(4).tolist() == [[20, 22], [30, 22], [25, 28], [21, 33], [29, 33]]
    (broken/'casia-webface/casia_landmark.txt').unlink()
    ask = lambda: CASIA('val', root=broken).landmarks(0)
    with pytest.raises(DataError, match="casia_landmark.txt: expected landmarks"): ask()
    (broken/'casia-webface/casia_landmark.txt').write_text('0000045/001.jpg\t0\t1\t2\n')
    with pytest.raises(DataError, match="line 1: expected `str int float"): ask()
    (broken/'casia-webface/casia_landmark.txt').write_text('\t'.join(['0000045/001.jpg', '0', *'123456789', 'nan']))
    with pytest.raises(DataError, match="line 1: expected finite"): ask()
    (broken/'casia-webface/casia_landmark.txt').write_text('\t'.join(['x.jpg', '0', *'1234567890']))
    with pytest.raises(DataError, match="in casia_landmark.txt"): ask()


TRAINED = split_identities(PEOPLE, 'train')[2]
CASIA_FAULTS = {
    'empty folder': (lambda d: [p.unlink() for p in (d/TRAINED).iterdir()], TRAINED, "expected pictures, found none"),
    'no picture': (lambda d: (d/TRAINED/'notes.txt').write_text('x'), f'{TRAINED}/notes.txt', "expected a picture"),
    'a stranger': (lambda d: ((d/'lfw').mkdir(), (d/'lfw/x.jpg').write_text('x')), 'lfw', "a folder named by a number"),
}


@pytest.mark.parametrize('fault', CASIA_FAULTS)
def test_a_wrong_casia_folder_stops_or_is_skipped(broken, fault):
    damage, name, says = CASIA_FAULTS[fault]
    damage(broken/'casia-webface')
    with pytest.raises(DataError) as e: CASIA('train', root=broken)
    assert says in str(e.value) and str(broken/'casia-webface'/name) in str(e.value)
    faces, told = quietly(CASIA, 'train', root=broken, on_bad='skip')
    assert [key for key, _ in faces.skipped] == [name] and says in faces.skipped[0][1] and len(told) == 1
    assert len(faces) == (45 if fault == 'empty folder' else 48)


@pytest.mark.parametrize('damage', [lambda b: b[:len(b)//2], lambda b: b'', lambda b: b'text'])
def test_a_damaged_casia_picture_stops_or_is_skipped(broken, damage):
    path = broken/f'casia-webface/{TRAINED}/002.jpg'
    path.write_bytes(damage(path.read_bytes()))
    faces = CASIA('train', root=broken)
    with pytest.raises(DataError, match=f"{TRAINED}/002.jpg: expected a whole picture"): faces[7]
    rest, told = quietly(CASIA, 'train', root=broken, on_bad='skip', min_pictures=3)
    assert [key for key, _ in rest.skipped] == [f'{TRAINED}/002.jpg'] and 'skipped 1 of 48' in told[0]
    assert len(rest) == 45 and TRAINED not in rest.people and all(len(rest[i]) == 2 for i in range(45))


@pytest.mark.parametrize('make, says', [
    (lambda d: None, "casia-webface: expected casia-webface's folder"),
    (lambda d: (d/'casia-webface').mkdir(), "expected a folder an identity"),
    (lambda d: (d/'casia-webface/a').mkdir(parents=True), "expected a folder an identity"),
    (lambda d: (d/'casia-webface/0000001').mkdir(parents=True), "expected pictures, found none"),
])
def test_a_folder_without_casia_is_named(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(DataError, match=says): CASIA('train', root=tmp_path)


def test_a_listed_tree_is_remembered_until_it_changes(broken, monkeypatch):
    monkeypatch.setattr(data_files, 'MIN_SCAN_SECONDS', 0)
    aged(broken/'casia-webface')
    assert len(CASIA('train', root=broken)) == 48
    real, listed = os.listdir, []
    monkeypatch.setattr(os, 'listdir', lambda path: listed.append(str(path)) or real(path))
    assert len(CASIA('train', root=broken)) == 48 and {*listed} == {str(broken/'casia-webface')}
    shutil.copy(broken/f'casia-webface/{TRAINED}/001.jpg', broken/f'casia-webface/{TRAINED}/004.jpg')
    assert len(CASIA('train', root=broken)) == 49


# LFW

@pytest.mark.parametrize('folder, alignment', [('lfw-funneled', 'funneled'), ('lfw_funneled', 'funneled'),
                                               ('lfw', 'original')])
def test_each_alignment_is_read_with_its_own_faces(broken, folder, alignment):
    lfw = broken/'lfw'
    shutil.copytree(lfw/'lfw-deepfunneled', lfw/folder)
    assert find_lfw_images(lfw)[0] == 'deepfunneled'
    with pytest.raises(DataError, match=f"faces_yunet_{alignment}.csv: expected a table of faces"):
        LFW('train', root=broken, alignment=alignment)
    table = (lfw/'faces_yunet.csv').read_text().replace(',91,120,', ',71,120,')
    (lfw/f'faces_yunet_{alignment}.csv').write_text(table)
    moved, usual = LFW('train', root=broken, alignment=alignment, pad=1), LFW('train', root=broken, pad=1)
    assert moved.crops[0].tolist() == [0, 71, 120, 131, 190] and usual.crops[0].tolist() == [0, 91, 120, 151, 190]
    shutil.rmtree(lfw/'lfw-deepfunneled')
    assert LFW('train', root=broken).alignment == alignment
    with pytest.raises(ValueError, match="alignment must be one of"): LFW('train', root=broken, alignment='mtcnn')


def test_view_2_has_ten_folds(broken):
    lines = ['10\t2']
    for _ in range(10): lines += ['Ann\t1\t2', 'Cleo\t1\t2', 'Ann\t3\tBob\t1', 'Bob\t2\tDan\t1']
    (broken/'lfw/pairs.txt').write_text('\n'.join(lines) + '\n')
    faces = LFW('all', root=broken)
    assert faces.people == ['Ann', 'Bob', 'Cleo', 'Dan']
    pairs = lfw_folds(faces)
    assert type(pairs) is VerificationPairs
    assert pairs.folds.tolist() == [f for f in range(10) for _ in range(4)] and pairs.skipped == []
    ids = torch.tensor([identity for identity, _ in faces.pictures])
    assert torch.equal((ids[pairs.rows[:, 0]] == ids[pairs.rows[:, 1]]).long(), pairs.rows[:, 2])
    (broken/'lfw/pairsDevTrain.txt').write_text('1\nAnn\t1\t2\nAnn\t3\tBob\t1\n')
    assert lfw_folds(LFW('train', root=broken), 'pairsDevTrain.txt').rows.tolist() == [[0, 1, 1], [2, 3, 0]]


@pytest.mark.parametrize('text, says', [
    ('10\t2\nAnn\t1\t2\n', "promises 10 times twice 2 pairs, found 1"), ('many\n', "line 1: expected `int`"),
    ('0\n', "promises 1 times twice 0 pairs"), ('1\nAnn\t1\nAnn\t1\tBob\t1\n', "line 2: expected `str int int`"),
    ('1\nAnn\t1\t9\nAnn\t1\tBob\t1\n', "line 2: .'Ann', 9. is not in the all split"),
])
def test_a_wrong_list_of_pairs_is_named(broken, text, says):
    (broken/'lfw/pairs.txt').write_text(text)
    with pytest.raises(DataError, match=f"pairs.txt.*{says}"): lfw_folds(LFW('all', root=broken))


LFW_BAD = {
    'missing': (lambda d: (d/'lfw-deepfunneled/Cleo/Cleo_0001.jpg').unlink(), "Cleo_0001.jpg: expected a picture, no"),
    'truncated': (lambda d: (d/'lfw-deepfunneled/Cleo/Cleo_0001.jpg').write_bytes(
        (d/'lfw-deepfunneled/Cleo/Cleo_0001.jpg').read_bytes()[:900]), "Cleo_0001.jpg: expected a whole picture"),
    'other size': (lambda d: Image.new('L', (9, 9)).save(d/'lfw-deepfunneled/Cleo/Cleo_0001.jpg'), "expected 250x250"),
    'no face': (lambda d: (d/'faces_yunet.csv').write_text('\n'.join(
        line for line in (d/'faces_yunet.csv').read_text().splitlines() if 'Cleo_0001' not in line)), "expected a row"),
}


@pytest.mark.parametrize('fault', LFW_BAD)
def test_lfw_goes_on_without_bad_pictures_and_says_so(broken, fault):
    damage, says = LFW_BAD[fault]
    damage(broken/'lfw')
    faces, told = quietly(LFW, 'test', root=broken, on_bad='skip')
    assert [key for key, _ in faces.skipped] == ['Cleo/Cleo_0001.jpg'] and says in faces.skipped[0][1]
    assert len(told) == 1 and 'LFW: skipped 1 of 3' in told[0]
    assert faces.people == ['Cleo', 'Dan'] and [faces[i][1] for i in range(2)] == [0, 1]
    pairs, told = quietly(lfw_pairs, faces)
    assert pairs.tolist() == [[0, 1, 0]] and 'pairs of LFW: skipped 1 of 2' in told[0]
    with pytest.raises(DataError, match="whole pictures on the test list, found none"):
        quietly(LFW, 'test', root=broken, on_bad='skip', min_pictures=2)


def test_whole_sets_skip_nothing(whole):
    readers = [(LFW, 'test'), (JHMDB, 'train'), (CASIA, 'val'), (DALY, 'train'), (JHMDBTubes, 'test')]
    for reader, side in readers:
        strict, none = quietly(reader, side, root=whole)
        lax, told = quietly(reader, side, root=whole, on_bad='skip')
        assert len(strict) == len(lax) and strict.skipped == lax.skipped == [] and told == none == []
        with pytest.raises(ValueError, match="on_bad must be 'stop' or 'skip'"): reader(side, root=whole, on_bad='go')


# JHMDB

def test_frames_as_pictures_are_read_like_videos(broken):
    videos, pictures = (JHMDB('test', height=120, root=broken, clips=c) for c in ('ReCompress_Videos', 'Rename_Images'))
    assert len(videos) == len(pictures) == FRAMES and pictures.clips[0].path.is_dir()
    frame, target = pictures[4]
    assert torch.equal(target['boxes'], videos[4][1]['boxes']) and frame[0].float().mean() == pytest.approx(80, abs=1)
    assert torch.equal(pictures.clip(0)[0][4], frame)
    shutil.rmtree(broken/'jhmdb/ReCompress_Videos')
    assert JHMDB('test', root=broken).clips[0].path.is_dir()
    with pytest.raises(ValueError, match="clips must be one of"): JHMDB('test', root=broken, clips='Flows')


CLIP = 'wave/film_7_wave_f_cm_np1_fr_bad_1'
JHMDB_BAD = {
    'video missing': (lambda d: (d/VIDEO).unlink(), "expected a video, no such file"),
    'video damaged': (lambda d: (d/VIDEO).write_bytes(b'text'*99), "expected a whole video"),
    'video short': (lambda d: write_clip(d/VIDEO, np.zeros((3, 240, 320), np.uint8)), "expected at least 6 frames"),
    'mask missing': (lambda d: (d/MASK).unlink(), "expected a whole MATLAB file"),
    'mask damaged': (lambda d: (d/MASK).write_bytes(b'text'), "expected a whole MATLAB file"),
    'mask empty': (lambda d: savemat(d/MASK, dict(part_mask=np.zeros((240, 320, 6)))), "empty mask"),
    'mask huge': (lambda d: savemat(d/MASK, dict(part_mask=np.ones((240, 320, 1100), np.uint8)), do_compression=True),
                  "shape (240, 320, t), got (240, 320, 1100)"),
}


@pytest.mark.parametrize('fault', JHMDB_BAD)
def test_jhmdb_goes_on_without_bad_clips_and_says_so(broken, fault):
    damage, says = JHMDB_BAD[fault]
    (broken/'jhmdb/splits/clap_test_split1.txt').write_text('Show_clap_u_nm_np1_fr_med_0.avi 2\n')
    damage(broken)
    frames, told = quietly(JHMDB, 'test', root=broken, on_bad='skip')
    assert [name for name, _ in frames.skipped] == [CLIP] and says in frames.skipped[0][1]
    assert str(broken) in frames.skipped[0][1] and len(told) == 1 and 'JHMDB: skipped 1 of 2' in told[0]
    assert [clip.action for clip in frames.clips] == ['clap'] and len(frames.clip(0)[0]) == FRAMES == len(frames)


def test_masks_are_read_once(broken, monkeypatch):
    monkeypatch.setattr(data_files, 'MIN_SCAN_SECONDS', 0)
    first = JHMDB('test', root=broken)
    import faceanon.data.jhmdb
    monkeypatch.setattr(faceanon.data.jhmdb, 'loadmat', lambda *a, **k: pytest.fail("read again"))
    again = JHMDB('test', root=broken)
    assert torch.equal(first.clips[0].boxes, again.clips[0].boxes) and again.clips[0].boxes.dtype == torch.float32


@pytest.mark.parametrize('damage, says', [
    (lambda f: (f/'00003.png').unlink(), "expected frames 1, 2, 3, ..., found 5 but no 3"),
    (lambda f: [p.unlink() for p in f.iterdir()], "found 0 but no 1"),
    (lambda f: (f/'00002.png').write_bytes(b'x'), "00002.png: expected a whole picture"),
    (lambda f: Image.new('RGB', (32, 24)).save(f/'00002.png'), "expected frames of one size"),
    (lambda f: [(f/f'0000{n}.png').unlink() for n in (5, 6)], "expected at least 6 frames, as its mask has, got 4"),
])
def test_damaged_frames_are_named(broken, damage, says):
    damage(broken/'jhmdb/Rename_Images'/CLIP)
    with pytest.raises(DataError) as e: JHMDB('test', root=broken, clips='Rename_Images').clip(0)
    assert says in str(e.value)
    with pytest.raises(DataError):
        quietly(JHMDB, 'test', root=broken, clips='Rename_Images', on_bad='skip')  # nothing is left


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    for n in range(1, 12): Image.new('RGB', (2, 2)).save(tmp_path/f'{n}.png')
    assert [int(p.stem) for p in list_frame_files(tmp_path)] == [*range(1, 12)]


@pytest.mark.parametrize('side', ['train', 'test'])
def test_ready_made_boxes_equal_the_masks(whole, side):
    masks, tubes = JHMDB(side, root=whole), JHMDBTubes(side, root=whole)
    assert {c.name for c in masks.clips} == {c.name for c in tubes.clips} and {*masks.left_out} == {*tubes.left_out}
    by_name = {c.name: c.boxes for c in tubes.clips}
    for clip in masks.clips: assert torch.equal(clip.boxes, by_name[clip.name])
    assert tubes[3][1]['labels'].tolist() == [tubes.actions.index(tubes.clips[0].action) + 1]


@pytest.mark.parametrize('change, says', [
    (lambda gt: gt.pop('gttubes'), "expected labels, gttubes, train_videos and test_videos (KeyError: 'gttubes')"),
    (lambda gt: gt['test_videos'][0].append('wave/unknown'), "expected a tube for wave/unknown"),
    (lambda gt: gt['gttubes'][CLIP].update({0: [np.zeros((2, 5))]}), f"expected one tube for {CLIP}, found 2"),
    (lambda gt: gt['gttubes'].update({CLIP: {1: [np.zeros((2, 4))]}}), "expected rows frame, x1, y1, x2, y2"),
    (lambda gt: gt['gttubes'].update({CLIP: {1: [np.array([[2, 0, 0, 1, 1.]])]}}), "frames 1, 2, 3, ..."),
    (lambda gt: gt['gttubes'].update({CLIP: {1: [np.array([[1, 0, 0, np.nan, 1.]])]}}), "expected finite boxes"),
    (lambda gt: gt['gttubes'].update({CLIP: {7: [np.array([[1, 0, 0, 1, 1.]])]}}), "expected a label below 2, got 7"),
    (lambda gt: gt.update(labels=5), "TypeError"),
])
def test_a_wrong_file_of_boxes_is_named(broken, change, says):
    path = broken/'jhmdb/JHMDB-GT.pkl'
    gt = pickle.loads(path.read_bytes())
    change(gt)
    path.write_bytes(pickle.dumps(gt, 2))
    with pytest.raises(DataError) as e: JHMDBTubes('test', root=broken)
    assert says in str(e.value) and str(path) in str(e.value)


# DALY

def test_daly_answers_in_the_worlds_shape(whole):
    frames = DALY('train', height=24, root=whole)
    assert len(frames) == 3 and frames.actions == ['Drinking', 'Phoning']
    for i, n in enumerate((10, 20, 5)):
        frame, target = frames[i]
        assert frame.shape == (3, 24, 32) and frame.dtype == torch.uint8
        assert frame.float().mean() == pytest.approx(4*n, abs=3)
        kinds = {name: (value.dtype, value.shape[1:]) for name, value in target.items()}
        assert kinds == dict(boxes=(torch.float32, (4,)), labels=(torch.int64, ()), faces=(torch.int64, (4,)),
                             landmarks=(torch.float32, (5, 2)), ids=(torch.int64, ()))
    target = frames[0][1]
    assert target['boxes'].tolist() == [[8, 6, 24, 24], [0, 0, 8, 12]] and target['labels'].tolist() == [1, 2]
    assert target['faces'].tolist() == [[16, 6, 24, 14], [30, 20, 32, 24]] and target['ids'].tolist() == [-1, -1]
    assert frames[1][1]['faces'].shape == (0, 4)


def test_dalys_official_split_is_by_video(whole):
    sides = {side: {key.video for key in DALY(side, root=whole).items} for side in ('train', 'test')}
    assert sides == dict(train={'a.mp4', 'c.mp4'}, test={'b.mp4'})
    assert read_daly_annotations(whole/'daly'/DALY_FILE)['test'] == ['b.mp4']


@pytest.mark.parametrize('place', ['frames/a', 'frames/a.mp4', 'DALY_frames/a'])
@pytest.mark.parametrize('name', ['{:05d}.jpg', '{:06d}.png'])
def test_dalys_frames_can_be_pictures(broken, place, name):
    (broken/'daly/videos/a.mp4').unlink()
    (broken/'daly'/place).mkdir(parents=True)
    for n in (11, 21): Image.new('RGB', (64, 48), (10*n, 0, 0)).save(broken/'daly'/place/name.format(n))
    frames = DALY('train', root=broken)
    assert frames[1][0][0].float().mean() == pytest.approx(210, abs=2)
    (broken/'daly'/place/name.format(21)).unlink()
    with pytest.raises(DataError, match="expected a picture of frame 21, such as 00021.jpg"): frames[1]


@pytest.mark.parametrize('damage, says', [
    (lambda d: (d/'videos/a.mp4').unlink(), "a.mp4: expected a video, or its frames in frames/a/"),
    (lambda d: (d/'videos/a.mp4').write_bytes(b'text'*99), "a.mp4: expected a whole video"),
    (lambda d: (d/'videos/a.mp4').write_bytes((d/'videos/a.mp4').read_bytes()[:300]), "a.mp4: expected a whole video"),
    (lambda d: write_video(d/'videos/a.mp4', frames=12), "expected a frame at 0.820 s, the video ends before it"),
])
def test_daly_goes_on_without_bad_videos_and_says_so(broken, damage, says):
    damage(broken/'daly')
    with pytest.raises(DataError, match=says):
        frames = DALY('train', root=broken)
        for i in range(3): frames[i]
    frames, told = quietly(DALY, 'train', root=broken, on_bad='skip')
    assert [video for video, _ in frames.skipped] == ['a.mp4'] and says in frames.skipped[0][1]
    assert len(told) == 1 and 'DALY: skipped 1 of 3' in told[0] and [key.video for key in frames.items] == ['c.mp4']


@pytest.mark.parametrize('box', [[.5, .5, .5, .9], [0, 0, 1.2, 1], [-.5, 0, 1, 1], [0, 0, float('nan'), 1],
                                 [.9, 0, .1, 1]])
def test_an_impossible_box_is_a_fault_of_its_own(broken, box):
    daly = daly_annotations()
    daly['annot']['a.mp4']['annot']['Phoning'][0]['keyframes'][0]['boundingBox'] = np.array([box])
    (broken/'daly'/DALY_FILE).write_bytes(pickle.dumps(daly, 2))
    with pytest.raises(DataError, match="expected boxes with an area.*frame 11 at 0.42 s of a.mp4"):
        DALY('train', root=broken)
    frames, told = quietly(DALY, 'train', root=broken, on_bad='skip')
    assert [name for name, _ in frames.skipped] == ['a.mp4 frame 11'] and len(frames) == 2 and len(told) == 1


def test_a_box_a_little_outside_is_clipped(broken):
    daly = daly_annotations()
    daly['annot']['c.mp4']['annot']['Drinking'][0]['keyframes'][0]['boundingBox'] = np.array([[-.01, 0, 1.01, 1]])
    (broken/'daly'/DALY_FILE).write_bytes(pickle.dumps(daly, 2))
    assert {type(key) for key in DALY('train', root=broken).items} == {KeyFrame}
    assert DALY('train', root=broken).items[2].boxes.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize('change, says', [
    (lambda d: d.pop('annot'), "expected DALY's labels, splits and annot (KeyError: 'annot')"),
    (lambda d: d.update(labels=['Drinking']), "ValueError: 'Phoning'"),
    (lambda d: d.update(splits=[]), "IndexError"),
    (lambda d: d['splits'][0].append('z.mp4'), "expected annotations of z.mp4"),
    (lambda d: d['annot']['a.mp4']['annot']['Drinking'][0].pop('keyframes'), "KeyError: 'keyframes'"),
    (lambda d: d.update(annot=[1]), "AttributeError"),
])
def test_a_wrong_structure_of_daly_is_named(broken, change, says):
    daly = daly_annotations()
    change(daly)
    (broken/'daly'/DALY_FILE).write_bytes(pickle.dumps(daly, 2))
    with pytest.raises(DataError) as e: DALY('train', root=broken)
    assert says in str(e.value) and DALY_FILE in str(e.value)


def test_dalys_pickle_is_opened_once(broken, monkeypatch):
    monkeypatch.setattr(data_files, 'MIN_SCAN_SECONDS', 0)
    first = list_daly_key_frames(broken/'daly')
    monkeypatch.setattr(data_files, '_PlainUnpickler', lambda *a: pytest.fail("opened again"))
    again = list_daly_key_frames(broken/'daly')
    assert [k.frame for k in first[1]['train']] == [k.frame for k in again[1]['train']] == [11, 21, 6]


def test_dalys_pickle_may_lie_where_the_authors_put_it(broken):
    (broken/'daly/annotations').mkdir()
    (broken/'daly'/DALY_FILE).rename(broken/'daly/annotations'/DALY_FILE)
    assert len(DALY('train', root=broken)) == 3
    (broken/'daly/annotations'/DALY_FILE).unlink()
    with pytest.raises(DataError, match="daly1.1.0.pkl: expected a pickle"): DALY('train', root=broken)


def test_every_frame_is_found_by_its_time(tmp_path, monkeypatch):
    "Also in the middle of a group of pictures, at the start and at the end."
    write_video(tmp_path/'v.mp4')
    real, since = daly._frame_before, []
    monkeypatch.setattr(daly, '_frame_before', lambda *given: since.append(given[2]) or real(*given))
    for n in range(50):
        assert read_frame_at(tmp_path/'v.mp4', (n + .5)/25).float().mean() == pytest.approx(4*n, abs=3)
        assert read_frame_at(tmp_path/'v.mp4', n/25).float().mean() == pytest.approx(4*max(n - 1, 0), abs=3)
    assert len(since) == 100  # one seek each, also where an independent frame begins at the very time
    for late in (2.2, 99):
        with pytest.raises(DataError, match="the video ends before it"): read_frame_at(tmp_path/'v.mp4', late)


def test_a_seek_that_lands_too_late_starts_again(tmp_path, monkeypatch):
    "Some containers have an index that is wrong."
    write_video(tmp_path/'v.mp4')
    real, since = daly._frame_before, []

    def late(video, stream, start, time):
        since.append(start)
        return real(video, stream, start + 1 if start else 0, time)
    monkeypatch.setattr(daly, '_frame_before', late)
    assert read_frame_at(tmp_path/'v.mp4', .3).float().mean() == pytest.approx(28, abs=3)
    assert since == [pytest.approx(.2), 0]
    since.clear()
    with pytest.raises(DataError, match="ends before it"): read_frame_at(tmp_path/'v.mp4', 3)
    assert since == [2.9]  # nothing to be won by decoding everything


# What is missing, and tables of faces

def test_counts_stand_beside_the_official_ones(whole):
    rows = {(row['set'], row['what']): row for row in check_data(whole)}
    found = {key: row['found'] for key, row in rows.items()}
    assert found['lfw', 'people'] == 4 and found['lfw', 'pictures'] == 8
    assert found['lfw', 'people on the train list'] == 2
    assert found['jhmdb', 'classes'] == 2 and found['jhmdb', 'clips in ReCompress_Videos'] == 4
    assert found['jhmdb', 'puppet masks'] == 4 and found['jhmdb', 'clips in split 1'] == 4
    assert found['casia-webface', 'people'] == 20 and found['casia-webface', 'pictures'] == 60
    assert found['daly', 'videos'] == 3 and found['daly', 'annotated test videos'] == 1
    assert found['daly', 'key frames'] == 4
    known = {key: row['official'] for key, row in rows.items()}
    assert [known[k] for k in (('lfw', 'pictures'), ('lfw', 'people'), ('jhmdb', 'clips in ReCompress_Videos'))] == \
        [13233, 5749, 928]
    assert [known[k] for k in (('jhmdb', 'classes'), ('casia-webface', 'people'), ('casia-webface', 'pictures'),
                                  ('daly', 'videos'))] == [21, 10575, 494414, 510]
    assert rows['lfw', 'pictures']['missing'] == '13225 pictures'
    assert 'split2' in rows['jhmdb', 'clips in split 2']['missing']
    assert all({*row} == {'set', 'what', 'found', 'official', 'missing'} for row in rows.values())
    json.dumps([*rows.values()])


def test_what_is_damaged_is_named_and_nothing_stops(broken):
    (broken/'lfw/lfw-deepfunneled/Ann/Ann_0002.jpg').unlink()
    shutil.rmtree(broken/f'jhmdb/puppet_mask/{CLIP}')
    (broken/'daly/videos/b.mp4').unlink()
    (broken/'casia-webface/lfw').mkdir()
    (broken/'lfw/pairsDevTest.txt').write_text('9\n')
    rows = {(row['set'], row['what']): row['missing'] for row in check_data(broken)}
    assert 'Ann_0002.jpg' in rows['lfw', 'listed pictures that are not there']
    assert 'promises' in rows['lfw', 'pairs of pairsDevTest.txt']
    assert CLIP in rows['jhmdb', 'clips without a mask'] and 'b.mp4' in rows['daly', 'videos']
    assert 'casia-webface/lfw' in rows['casia-webface', 'things that do not belong there']
    (broken/'daly'/DALY_FILE).write_bytes(b'broken')
    shutil.rmtree(broken/'casia-webface')
    rows = {(row['set'], row['what']): row['missing'] for row in check_data(broken)}
    assert 'expected a whole pickle' in rows['daly', 'folder']
    assert 'expected casia-webface' in rows['casia-webface', 'folder']


@pytest.mark.parametrize('damage', [lambda d: [shutil.rmtree(p) for p in d.iterdir()],
                                    lambda d: [(shutil.rmtree(p), p.mkdir()) for p in [*d.iterdir()]]])
def test_empty_folders_are_counted_too(broken, damage):
    damage(broken)
    rows = check_data(broken)
    assert {row['set'] for row in rows} == {'lfw', 'jhmdb', 'casia-webface', 'daly'}
    assert all(row['found'] == 0 for row in rows) and all(row['missing'] for row in rows if row['official'])


class Finder:
    "One face left of the middle, and one at it; stops at the call given."
    def __init__(self, stop_at=None): self.calls, self.stop_at = 0, stop_at

    def detect(self, frames):
        self.calls += 1
        if self.calls == self.stop_at: raise KeyboardInterrupt
        h, w = frames.shape[2:]
        boxes = torch.tensor([[0, 1, h//2 - 4, 9, h//2 + 4], [0, w//2 - 4, h//2 - 4, w//2 + 4, h//2 + 4]])
        points = torch.stack([boxes[:, None, 1:3].float() + torch.tensor([[2., 2], [6, 2], [4, 4], [2, 6], [6, 6]])])[0]
        return type('Found', (), dict(boxes=boxes, scores=torch.tensor([.9, .8]), landmarks=points))()


@pytest.mark.parametrize('name, key, table', [('lfw', ('image',), 8), ('jhmdb', ('clip', 'frame'), 4*FRAMES),
                                              ('daly', ('video', 'frame'), 4)])
def test_a_reader_reads_the_table_that_was_made(broken, name, key, table):
    path = broken/name/'faces_yunet.csv'
    path.unlink()
    finder = Finder()
    count, skipped = make_face_table(name, finder.detect, broken)
    assert (count, skipped, finder.calls) == (2*table, [], table)
    found = read_face_table(path, key)
    assert len(found) == table and all(len(rows) == 2 for rows in found.values())
    first = next(iter(found.values()))
    assert first[0, 0] > 9 and first[1, 0] == 1  # the face at the middle comes first
    assert (first[:, 4] < first[:, 6]).all()     # left eye as seen first
    reader = dict(lfw=LFW, jhmdb=JHMDB, daly=DALY)[name]('test', root=broken)
    assert len(reader) and sorted(p.name for p in path.parent.glob('faces*')) == ['faces_yunet.csv']


def test_an_interrupted_table_goes_on_where_it_stopped(broken):
    path, finder = broken/'lfw/faces_yunet.csv', Finder(stop_at=4)
    before = path.read_text()
    with pytest.raises(KeyboardInterrupt): make_face_table('lfw', finder.detect, broken)
    assert path.read_text() == before
    journal = path.with_name('faces_yunet.csv.part.jsonl')
    journal.write_text(journal.read_text() + '["Dan/Dan_0001.jpg", [["torn')
    again = Finder()
    count, _ = make_face_table('lfw', again.detect, broken)
    assert (count, again.calls) == (16, 5) and not journal.exists()
    whole = Finder()
    at_once = path.read_text()
    make_face_table('lfw', whole.detect, broken)
    assert whole.calls == 8 and path.read_text() == at_once != before


def test_a_picture_without_a_table_row_is_skipped_with_its_reason(broken):
    (broken/'lfw/lfw-deepfunneled/Ann/Ann_0002.jpg').write_bytes(b'damaged')
    with pytest.raises(DataError, match="Ann_0002.jpg: expected a whole picture"):
        make_face_table('lfw', Finder().detect, broken)
    (count, skipped), told = quietly(make_face_table, 'lfw', Finder().detect, broken, on_bad='skip')
    assert count == 14 and [name for name, _ in skipped] == ['Ann/Ann_0002.jpg'] and 'skipped 1 of 8' in told[0]


def test_a_table_of_no_faces_is_a_table(tmp_path):
    none = type('Found', (), dict(boxes=torch.zeros(0, 5).int(), scores=torch.zeros(0), landmarks=torch.zeros(0, 5, 2)))
    groups = {'x': lambda: [(('x',), torch.zeros(3, 8, 8, dtype=torch.uint8))]}
    assert write_face_table(tmp_path/'faces_yunet.csv', ('image',), groups, lambda frames: none) == (0, [])
    assert read_face_table(tmp_path/'faces_yunet.csv', ('image',)) == {}
    with pytest.raises(ValueError, match="name must be one of"): make_face_table('casia', None, tmp_path)


# The real sets

@pytest.mark.data
def test_the_real_folders_are_counted_and_remembered(tmp_path):
    rows = check_data()
    assert {row['set'] for row in rows} == {'lfw', 'jhmdb', 'casia-webface', 'daly'}
    found = {(row['set'], row['what']): row['found'] for row in rows}
    assert found['lfw', 'pictures'] >= found['lfw', 'people'] > 1000 and found['jhmdb', 'classes'] >= 8
    assert found['jhmdb', 'clips in split 1'] == found['jhmdb', 'puppet masks']
    first = JHMDB('test')
    start = time.time()
    again = JHMDB('test')
    assert time.time() - start < 5 and all(torch.equal(a.boxes, b.boxes) for a, b in zip(first.clips, again.clips))
    assert list((tmp_path/'runs/data').glob('jhmdb-masks-*.json')) or len(first.clips) < 50
