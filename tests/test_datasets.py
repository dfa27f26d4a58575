"Readers on small folders in the official layouts, whole and damaged, and on the real ones where there are any."
import shutil

import av
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from faceanon.data.files import FACE_COLUMNS, DataError, data_folder, read_face_table
from faceanon.data.jhmdb import (
    JHMDB,
    Clip,
    boxes_from_masks,
    clip_source,
    drop_shared_sources,
    read_jhmdb_split,
    read_video,
)
from faceanon.data.lfw import LFW, lfw_pairs
from faceanon.faces import crop_faces, enlarge_boxes, to_float

PEOPLE = dict(train=dict(Ann=3, Bob=2), test=dict(Cleo=2, Dan=1))
CLIPS = {'Show_clap_u_nm_np1_fr_med_0': ('clap', 1), 'Film_2_clap_u_nm_np1_fr_med_3': ('clap', 1),
         'film_7_wave_f_cm_np1_fr_bad_1': ('wave', 2), 'Home_wave_u_nm_np1_le_goo_0': ('wave', 1)}
FRAMES = 6


def face_row(box, key):
    "A row of the table: `box` is [x1, y1, x2, y2]; the landmarks stand at fixed places of it."
    x1, y1, x2, y2 = box
    at = ((.3, .35), (.7, .35), (.5, .6), (.35, .8), (.65, .8))
    points = [v for x, y in at for v in (x1 + x*(x2 - x1), y1 + y*(y2 - y1))]
    return ','.join(map(str, (*key, x1, y1, x2 - x1, y2 - y1, *points, 0.9)))


def make_lfw(root):
    table = [','.join(('image', *FACE_COLUMNS, 'score'))]
    x = torch.arange(250, dtype=torch.uint8).repeat(250, 1)
    for side, people in PEOPLE.items():
        for name, count in people.items():
            (root/'lfw/lfw-deepfunneled'/name).mkdir(parents=True)
            for i in range(1, count + 1):
                key = f'{name}/{name}_{i:04d}.jpg'
                picture = torch.stack([x, x.T, torch.full_like(x, 20*i + ord(name[0]))], 2)
                Image.fromarray(picture.numpy()).save(root/'lfw/lfw-deepfunneled'/key, quality=95)
                table.append(face_row((90 + i, 120, 150 + i, 190), (key,)))
        lines = [str(len(people)), *(f'{name}\t{n}' for name, n in people.items())]
        (root/f'lfw/peopleDev{side.capitalize()}.txt').write_text('\n'.join(lines) + '\n')
    (root/'lfw/faces_yunet.csv').write_text('\n'.join(table) + '\n')
    (root/'lfw/pairsDevTest.txt').write_text('1\nCleo\t1\t2\nCleo\t2\tDan\t1\n')


def write_clip(path, masks):
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, 'yuv420p', 4_000_000
        for mask in masks:
            picture = np.repeat(40 + 180*mask[:, :, None], 3, 2)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        out.mux(stream.encode())


def make_jhmdb(root):
    table = [','.join(('clip', 'frame', *FACE_COLUMNS, 'score'))]
    (root/'jhmdb/splits').mkdir(parents=True)
    for clip, (action, side) in CLIPS.items():
        video, mat = root/f'jhmdb/ReCompress_Videos/{action}', root/f'jhmdb/puppet_mask/{action}/{clip}'
        video.mkdir(parents=True, exist_ok=True)
        mat.mkdir(parents=True)
        masks = np.zeros((FRAMES, 240, 320), np.uint8)
        for t in range(FRAMES): masks[t, 60:180, 40+20*t:120+20*t] = 1
        savemat(mat/'puppet_mask.mat', dict(part_mask=masks.transpose(1, 2, 0)), do_compression=True)
        write_clip(video/f'{clip}.avi', masks)
        for t in range(1, FRAMES): table.append(face_row((60 + 20*t, 70, 100 + 20*t, 110), (f'{action}/{clip}', t)))
        with open(root/f'jhmdb/splits/{action}_test_split1.txt', 'a') as f: f.write(f'{clip}.avi {side} \n')
    table.append(face_row((300.5, -8.2, 340, 20), ('wave/film_7_wave_f_cm_np1_fr_bad_1', 2)))
    table.append(face_row((330, 10, 350, 30), ('wave/film_7_wave_f_cm_np1_fr_bad_1', 2)))
    (root/'jhmdb/faces_yunet.csv').write_text('\n'.join(table) + '\n')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    make_lfw(root)
    make_jhmdb(root)
    return root


@pytest.fixture
def broken(whole, tmp_path):
    "A copy to damage."
    return shutil.copytree(whole, tmp_path/'copy')


def test_lfw_answers_in_the_worlds_shape(whole):
    faces = LFW('train', 48, root=whole)
    assert len(faces) == 5 and faces.people == ['Ann', 'Bob']
    assert [faces[i][1] for i in range(5)] == [0, 0, 0, 1, 1]
    for face, identity in (faces[i] for i in range(len(faces))):
        assert face.shape == (3, 48, 48) and face.dtype == torch.uint8 and isinstance(identity, int)


@pytest.mark.parametrize('pad', [1., 2.2, 9.])
def test_an_lfw_face_is_the_enlarged_box(whole, pad):
    "Red is x and green is y, so the crop's edges say where it was cut."
    faces = LFW('train', 50, pad, root=whole)
    box = enlarge_boxes(torch.tensor([[0, 91, 120, 151, 190]]), pad, 250, 250)[0, 1:].tolist()
    face = faces[0][0].float()
    edges = [face[0, 25, 0], face[1, 0, 25], face[0, 25, -1], face[1, -1, 25]]
    assert torch.stack(edges).tolist() == pytest.approx(box, abs=5)
    if pad == 9: assert box == [0, 0, 250, 250]


def test_lfw_landmarks_are_in_the_crops_pixels(whole):
    "The picture's colour at a landmark is the landmark's place in the picture."
    faces = LFW('test', 64, root=whole)
    for i in range(len(faces)):
        face, _ = faces[i]
        for (x, y), original in zip(faces.landmarks(i).tolist(), faces.points[i].tolist()):
            assert face[:2, int(y), int(x)].tolist() == pytest.approx(original, abs=5)
        eyes = faces.landmarks(i)[:2]
        assert eyes[0, 0] < eyes[1, 0]  # left as seen in the picture comes first


def test_people_of_one_side_are_not_on_the_other(whole, broken):
    assert not {*LFW('train', root=whole).people} & {*LFW('test', root=whole).people}
    (broken/'lfw/peopleDevTest.txt').write_text('2\nCleo\t2\nBob\t2\n')
    with pytest.raises(DataError, match="on both lists, Bob"): LFW('train', root=broken)


def test_people_with_few_pictures_can_be_left_out(whole):
    faces = LFW('train', min_pictures=3, root=whole)
    assert (faces.people, len(faces)) == (['Ann'], 3)
    with pytest.raises(DataError, match="nobody .* has 4 pictures"): LFW('train', min_pictures=4, root=whole)


def test_lfw_pairs_name_items(whole):
    faces = LFW('test', root=whole)
    i, j, same = lfw_pairs(faces).T.tolist()
    ids = [identity for identity, _ in faces.pictures]
    assert [int(ids[a] == ids[b]) for a, b in zip(i, j)] == same == [1, 0]
    with pytest.raises(DataError, match="line 3: .'Dan', 1. is not in the test split"):
        lfw_pairs(LFW('test', min_pictures=2, root=whole))


def test_jhmdb_answers_in_the_worlds_shape(whole):
    frames = JHMDB('test', root=whole)
    assert len(frames) == FRAMES and frames.actions == ['clap', 'wave']
    for t in range(FRAMES):
        frame, target = frames[t]
        assert frame.shape == (3, 240, 320) and frame.dtype == torch.uint8
        kinds = {name: (value.dtype, value.shape[1:]) for name, value in target.items()}
        assert kinds == dict(boxes=(torch.float32, (4,)), labels=(torch.int64, ()), faces=(torch.int64, (4,)),
                             landmarks=(torch.float32, (5, 2)), ids=(torch.int64, ()))
        assert target['boxes'].tolist() == [[40 + 20*t, 60, 120 + 20*t, 180]] and target['labels'].tolist() == [2]
        assert len(target['faces']) == len(target['landmarks']) == len(target['ids'])
    x1, y1, x2, y2 = map(int, frames[3][1]['boxes'][0])
    picture = frames[3][0].float()
    assert picture[:, y1+3:y2-3, x1+3:x2-3].mean() > 200 and picture[:, :, x2+6:].mean() < 60


def test_faces_are_clipped_to_the_frame_and_those_outside_are_dropped(whole):
    target = JHMDB('test', root=whole)[2][1]
    assert target['faces'].tolist() == [[100, 70, 140, 110], [300, 0, 320, 20]]
    assert target['ids'].tolist() == [-1, -1] and target['landmarks'].shape == (2, 5, 2)
    first = JHMDB('test', root=whole)[0][1]
    assert first['faces'].shape == (0, 4) and first['landmarks'].shape == (0, 5, 2)


@pytest.mark.parametrize('height', [60, 120, 480])
def test_boxes_and_landmarks_scale_with_the_frame(whole, height):
    full, scaled = JHMDB('test', root=whole)[4], JHMDB('test', height=height, root=whole)[4]
    assert scaled[0].shape == (3, height, height*4//3)
    for name in ('boxes', 'faces'):
        assert torch.allclose(scaled[1][name].float(), full[1][name]*height/240, atol=1 if name == 'faces' else 1e-4)
    assert torch.allclose(scaled[1]['landmarks'], full[1]['landmarks']*height/240)


def test_stride_takes_every_nth_frame_of_each_clip(whole):
    all_frames, some = JHMDB('train', root=whole), JHMDB('train', stride=4, root=whole)
    assert some.items == [(0, 0), (0, 4), (1, 0), (1, 4)]
    assert torch.equal(some[3][0], all_frames[FRAMES + 4][0])


def test_a_clip_is_its_items(whole):
    frames = JHMDB('train', height=120, stride=3, root=whole)
    pictures, targets = frames.clip(1)
    assert len(pictures) == len(targets) == FRAMES
    at = frames.items.index((1, 3))
    assert torch.equal(pictures[3], frames[at][0]) and torch.equal(targets[3]['boxes'], frames[at][1]['boxes'])


def test_no_source_is_on_both_sides(whole):
    train, test = JHMDB('train', root=whole), JHMDB('test', root=whole)
    assert {type(clip) for clip in (*train.clips, *test.clips)} == {Clip}
    sources = [{clip_source(c.name, c.action) for c in side.clips} for side in (train, test)]
    assert sources == [{'show', 'home'}, {'film'}]
    assert train.left_out == [('clap', 'Film_2_clap_u_nm_np1_fr_med_3')] and test.left_out == []


def test_a_source_that_begins_with_another_is_the_same_where_it_is_long():
    name = lambda source: ('sit', f'{source}_sit_u_nm_np1_fr_med_0')
    kept = drop_shared_sources([*map(name, ('Long_Film_Name_Part', 'Show_Two', 'Other'))],
                               [*map(name, ('LongFilmName', 'Show'))])
    assert kept == [name('Show_Two'), name('Other')]


def test_frames_hold_where_crops_are_cut(whole):
    "The two shapes fit `faces`: a tight box of a frame can be enlarged and cut."
    frame, target = JHMDB('test', height=120, root=whole)[2]
    boxes = torch.cat([torch.zeros(2, 1, dtype=torch.int64), target['faces']], 1)
    assert crop_faces(to_float(frame)[None], enlarge_boxes(boxes, 2.2, 120, 160), 32).shape == (2, 3, 32, 32)


LFW_FAULTS = {
    'no folder': (lambda d: shutil.rmtree(d/'lfw'), "lfw: expected lfw's folder"),
    'empty folder': (lambda d: (shutil.rmtree(d/'lfw'), (d/'lfw').mkdir()), "peopleDevTrain.txt: expected a list"),
    'a folder too many': (lambda d: (d/'lfw').rename(d/'x') and (d/'lfw').mkdir() or (d/'x').rename(d/'lfw/lfw'),
                          "peopleDevTrain.txt: expected a list"),
    'empty list': (lambda d: (d/'lfw/peopleDevTrain.txt').write_text(''), "the file is empty"),
    'short list': (lambda d: (d/'lfw/peopleDevTrain.txt').write_text('5\nAnn\t3\n'), "promises 5 people, found 1"),
    'no number': (lambda d: (d/'lfw/peopleDevTrain.txt').write_text('1\nAnn\tmany\n'), "line 2: expected `str int`"),
    'picture missing': (lambda d: (d/'lfw/lfw-deepfunneled/Ann/Ann_0002.jpg').unlink(), "Ann_0002.jpg: expected a pic"),
    'no faces': (lambda d: (d/'lfw/faces_yunet.csv').unlink(), "faces_yunet.csv: expected a table of faces"),
    'no column': (lambda d: (d/'lfw/faces_yunet.csv').write_text('image,x\n'), "expected columns ['h', "),
    'no row': (lambda d: (d/'lfw/faces_yunet.csv').write_text(','.join(('image', *FACE_COLUMNS))), "a row for Ann"),
    'not text': (lambda d: (d/'lfw/peopleDevTest.txt').write_bytes(b'\xff\xfe\x00'), "peopleDevTest.txt: expected"),
}


@pytest.mark.parametrize('fault', LFW_FAULTS)
def test_a_damaged_lfw_says_what_was_expected(broken, fault):
    damage, says = LFW_FAULTS[fault]
    damage(broken)
    with pytest.raises(DataError) as e: LFW('train', root=broken)
    assert says in str(e.value) and str(broken) in str(e.value)


@pytest.mark.parametrize('damage', [lambda b: b[:len(b)//2], lambda b: b[:20], lambda b: b'', lambda b: b'text'])
def test_a_damaged_picture_is_no_grey_picture(broken, damage):
    path = broken/'lfw/lfw-deepfunneled/Ann/Ann_0001.jpg'
    path.write_bytes(damage(path.read_bytes()))
    faces = LFW('train', root=broken)
    with pytest.raises(DataError, match="Ann_0001.jpg: expected a whole picture"): faces[0]
    faces[1]


def test_a_picture_of_another_size_is_refused(broken):
    Image.new('RGB', (100, 128)).save(broken/'lfw/lfw-deepfunneled/Ann/Ann_0001.jpg')
    with pytest.raises(DataError, match="expected 250x250 pixels, got 100x128"): LFW('train', root=broken)[0]


@pytest.mark.parametrize('row, says', [
    ('a,1,2,3,4', "line 2: expected numbers"),
    ('a,' + ','.join(['x']*14), "line 2: expected numbers"),
    ('a,' + ','.join(['1', '1', '0', '9'] + ['1']*10), "line 2: expected a box with an area"),
    ('a,' + ','.join(['1', '1', '9', 'nan'] + ['1']*10), "line 2: expected a box with an area"),
])
def test_a_wrong_row_of_faces_is_named(tmp_path, row, says):
    path = tmp_path/'faces.csv'
    path.write_text(','.join(('image', *FACE_COLUMNS)) + '\n' + row + '\n')
    with pytest.raises(DataError) as e: read_face_table(path, ('image',))
    assert says in str(e.value)


VIDEO, MASK = 'jhmdb/ReCompress_Videos/wave/film_7_wave_f_cm_np1_fr_bad_1.avi', \
    'jhmdb/puppet_mask/wave/film_7_wave_f_cm_np1_fr_bad_1/puppet_mask.mat'
JHMDB_FAULTS = {
    'empty folder': (lambda d: (shutil.rmtree(d/'jhmdb'), (d/'jhmdb').mkdir()), "expected files CLASS_test_split1.txt"),
    'wrong side': (lambda d: (d/'jhmdb/splits/wave_test_split1.txt').write_text('a.avi 3\n'), "expected side 0, 1 or"),
    'no side': (lambda d: (d/'jhmdb/splits/wave_test_split1.txt').write_text('a.avi\n'), "line 1: expected `str int`"),
    'nobody to test on': (lambda d: (d/'jhmdb/splits/wave_test_split1.txt').unlink(), "expected clips to test on"),
    'video missing': (lambda d: (d/VIDEO).unlink(), "bad_1.avi: expected a video, no such file"),
    'mask missing': (lambda d: (d/MASK).unlink(), "puppet_mask.mat: expected a whole MATLAB file"),
    'mask truncated': (lambda d: (d/MASK).write_bytes((d/MASK).read_bytes()[:300]),
                       "mask.mat: expected a whole MATLAB file"),
    'mask is text': (lambda d: (d/MASK).write_text('mask'), "puppet_mask.mat: expected a whole MATLAB file"),
    'other variable': (lambda d: savemat(d/MASK, dict(mask=np.ones((240, 320, 2)))), "expected a variable part_mask"),
    'other shape': (lambda d: savemat(d/MASK, dict(part_mask=np.ones((320, 240, 2)))), "got (320, 240, 2)"),
    'empty mask': (lambda d: savemat(d/MASK, dict(part_mask=np.zeros((240, 320, 2)))), "frame 0 has an empty mask"),
}


@pytest.mark.parametrize('fault', JHMDB_FAULTS)
def test_a_damaged_jhmdb_says_what_was_expected(broken, fault):
    damage, says = JHMDB_FAULTS[fault]
    damage(broken)
    with pytest.raises(DataError) as e: JHMDB('test', root=broken)
    assert says in str(e.value) and str(broken) in str(e.value)


@pytest.mark.parametrize('damage', [lambda b: b[:300], lambda b: b'', lambda b: b'text'*99])
def test_a_damaged_video_is_named(broken, damage):
    (broken/VIDEO).write_bytes(damage((broken/VIDEO).read_bytes()))
    with pytest.raises(DataError, match="bad_1.avi: expected a"): JHMDB('test', root=broken)[0]


def test_a_video_shorter_than_its_mask_is_refused(broken):
    write_clip(broken/VIDEO, np.zeros((3, 240, 320), np.uint8))
    frames = JHMDB('test', root=broken)
    assert frames[2][0].shape == (3, 240, 320)
    with pytest.raises(DataError, match="expected at least 4 frames, as its mask has, got 3"): frames[3]
    with pytest.raises(DataError, match="expected at least 6 frames"): frames.clip(0)


def test_a_mask_of_a_single_frame_is_read(tmp_path):
    mask = np.zeros((240, 320), np.uint8)
    mask[239, 319] = 1
    savemat(tmp_path/'m.mat', dict(part_mask=mask))
    assert boxes_from_masks(tmp_path/'m.mat').tolist() == [[319, 239, 320, 240]]


@pytest.mark.parametrize('value', [None, ''])
def test_without_the_variable_the_error_names_it(monkeypatch, value):
    if value is None: monkeypatch.delenv('FACEANON_DATA', raising=False)
    else: monkeypatch.setenv('FACEANON_DATA', value)
    for reader in (LFW, JHMDB):
        with pytest.raises(DataError, match="FACEANON_DATA is not set"): reader('test')


def test_the_variable_names_the_folder(monkeypatch, whole):
    monkeypatch.setenv('FACEANON_DATA', str(whole))
    assert data_folder('lfw') == whole/'lfw' and len(LFW('test')) == 3


@pytest.mark.parametrize('call', [
    lambda root: LFW('valid', root=root), lambda root: JHMDB('valid', root=root),
    lambda root: JHMDB('test', fold=4, root=root), lambda root: JHMDB('test', stride=0, root=root),
])
def test_a_wrong_choice_is_no_damage(whole, call):
    with pytest.raises(ValueError, match="must be") as e: call(whole)
    assert e.type is ValueError


@pytest.mark.data
def test_the_real_lfw():
    train, test = LFW('train', 64), LFW('test', 64)
    assert not {*train.people} & {*test.people}
    pairs = lfw_pairs(test)
    ids = torch.tensor([identity for identity, _ in test.pictures])
    assert torch.equal((ids[pairs[:, 0]] == ids[pairs[:, 1]]).long(), pairs[:, 2])
    assert pairs[:, 2].float().mean() == 0.5
    some = range(0, len(train), 800)
    for face, identity in (train[i] for i in some):
        assert face.shape == (3, 64, 64) and face.float().std() > 5 and 0 <= identity < len(train.people)
    points = torch.stack([train.landmarks(i) for i in range(len(train))])
    assert (points[:, 0, 0] < points[:, 1, 0]).float().mean() > 0.95  # left eye as seen first; some look sideways
    assert (points[:, :2, 1].mean(1) < points[:, 3:, 1].mean(1)).all()
    assert points[:, 2].mean(0).tolist() == pytest.approx([32, 36], abs=6)


@pytest.mark.data
def test_the_real_jhmdb():
    train, test = JHMDB('train', height=120, stride=3), JHMDB('test', stride=4)
    sources = [{clip_source(c.name, c.action) for c in side.clips} for side in (train, test)]
    assert not sources[0] & sources[1]
    actions, sides = read_jhmdb_split(data_folder('jhmdb'), 1)
    assert len(train.clips) + len(train.left_out) == len(sides[1]) and len(test.clips) == len(sides[2])
    assert {c.action for c in train.clips} == {c.action for c in test.clips} == {*actions}
    for index in range(0, len(train), 400):
        frame, target = train[index]
        assert frame.shape == (3, 120, 160) and frame.float().std() > 3
        assert (target['boxes'] >= 0).all() and (target['boxes'] <= torch.tensor([160., 120.]).repeat(2)).all()
    frames, targets = test.clip(0)
    assert len(frames) == len(targets) == len(test.clips[0].boxes)
    faces = sum(len(test.target(c, t)['faces']) for c, t in test.items)
    assert faces > 0.5*len(test)
    for clip in test.clips[::20]: assert len(read_video(clip.path)) == len(clip.boxes)
