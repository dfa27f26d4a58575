"Files from strangers: weights, pickles and lists of faces that ask for the impossible are refused at once."
import io
import json
import pickle
import time
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from faceanon.models.action_detector import build_mobilenet, mobilenet_features
from faceanon.models.anonymizer import Anonymizer, PaperGenerator, load_anonymizer, save_anonymizer
from faceanon.models.finder_calls import MAX_FACES
from faceanon.models.mobilefacenet import MobileFaceNet, load_mobilefacenet
from faceanon.models.recognizer_graph import load_recognizer
from faceanon.models.weight_files import _as_array, _StorageName, _TensorPlace, read_state_dict, read_weight_arrays
from faceanon.video import commands, face_list
from faceanon.video.face_list import read_sidecar, write_sidecar
from faceanon.video.tracking import FrameFaces, TrackedFace


@contextmanager
def at_once(seconds=5):
    start = time.process_time()  # of this process alone: other work does not count
    yield
    assert time.process_time() - start < seconds


@pytest.fixture
def small(tmp_path): return save_anonymizer(tmp_path/'m.safetensors', Anonymizer(8, 2, 1), config={})


def rewritten(path, **metadata):
    about = dict(kind='Anonymizer', arguments=json.dumps(dict(width=8, code_channels=2, blocks=1)), notes='{}')
    save_file(load_file(path), path, about | metadata)
    return path


@pytest.mark.parametrize('arguments', [dict(blocks=10_000_000), dict(blocks=10**30), dict(blocks=-1), dict(blocks=1e9),
                                       dict(width=8*10**6), dict(width=8*10**30), dict(code_channels=10**12),
                                       dict(blocks='9'*99), dict(other=1), [], 'text', 7, None])
@pytest.mark.parametrize('kind', ['Anonymizer', 'PaperGenerator'])
def test_a_header_that_asks_for_more_than_the_file_holds(small, kind, arguments):
    rewritten(small, kind=kind, arguments=json.dumps(arguments))
    with at_once(), pytest.raises(ValueError, match='does not fit the'): load_anonymizer(small)


def test_deep_metadata_are_refused(small):
    rewritten(small, notes='['*100_000)
    with at_once(), pytest.raises(ValueError, match='unreadable metadata'): load_anonymizer(small)


@pytest.mark.parametrize('model', [Anonymizer(8, 2, 1), PaperGenerator(4, 2)])
def test_what_was_saved_is_loaded(tmp_path, model):
    back = load_anonymizer(save_anonymizer(tmp_path/'m.safetensors', model))
    assert back.arguments == model.arguments
    assert all(torch.equal(v, back.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize('config', [dict(face_size=10**9), dict(face_size=0), dict(face_size=33), dict(face_size='64'),
                                    dict(face_size=True), dict(pad=1e9), dict(pad=0), dict(pad='2'), 'text', [1]])
def test_sizes_that_no_anonymizer_was_trained_for(small, config):
    rewritten(small, notes=json.dumps(dict(config=config)))
    with at_once(), pytest.raises(ValueError, match='must be'): commands.method_from_option(str(small))


def nested(opening):
    "A tuple with a tuple twice, sixty times over, as the key of a dict: 2**60 leaves to be hashed."
    body = b')' + b''.join(opening(i) for i in range(60))
    return b'\x80\x02}' + body + b'K\x01s.'


def zipped(pickled, compress=zipfile.ZIP_STORED, more=()):
    held = io.BytesIO()
    with zipfile.ZipFile(held, 'w', compress) as archive:
        archive.writestr('archive/data.pkl', pickled)
        archive.writestr('archive/version', '3')
        for name, data in more: archive.writestr(name, data)
    return held.getvalue()


def legacy(pickled): return b''.join(pickle.dumps(v, 2) for v in (0x1950a86a20f9469cfc6c, 1001, {})) + pickled


BOMBS = {
    'by memory': nested(lambda i: b'q%ch%c\x86' % (i, i)),
    'twice on the stack': nested(lambda i: b'2\x86'),
    'behind a mark': nested(lambda i: b'(uq%ch%c\x86' % (i, i)),  # an empty SETITEMS hides that a tuple is on top
    'memory': b'\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.',
    'call': pickle.dumps(print, 2),
    'protocol 4': pickle.dumps({'a': (1, 2)}, 4),
    'cut': pickle.dumps({'a': 1}, 2)[:-1],
    'long text': b'\x80\x02X\xff\xff\xff\x7fa.',
    'no end of operations': b'\x80\x02' + b']'*1_100_000 + b'.',
}


@pytest.mark.parametrize('name', BOMBS)
@pytest.mark.parametrize('form', [bytes, legacy, zipped])
def test_pickles_that_hang_or_do_more_than_load(tmp_path, name, form):
    path = tmp_path/'weights.pth'
    path.write_bytes(form(BOMBS[name]))
    for read in (read_state_dict, read_weight_arrays, load_mobilefacenet, load_recognizer, mobilenet_features):
        with at_once(10), pytest.raises(ValueError, match='weights.pth'): read(path)


def test_an_archive_that_unfolds_is_refused(tmp_path):
    path = tmp_path/'weights.pth'
    path.write_bytes(zipped(pickle.dumps({}, 2), zipfile.ZIP_DEFLATED, [('archive/data/0', bytes(10**7))]))
    with at_once(), pytest.raises(ValueError, match='compressed or overlap'): read_state_dict(path)
    with at_once(), pytest.raises(ValueError, match='compressed or overlap'): read_weight_arrays(path)


@pytest.mark.parametrize('new', [True, False])
def test_weights_in_both_forms_are_read(tmp_path, new):
    path, net = tmp_path/'weights.pth', MobileFaceNet().eval()
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=new)
    faces = torch.rand(1, 3, 112, 112)
    assert torch.equal(load_mobilefacenet(path).embed(faces), net.embed(faces))
    features = build_mobilenet(True)
    torch.save({f'features.{k}': v for k, v in features.state_dict().items()}, path,
               _use_new_zipfile_serialization=new)
    assert torch.equal(mobilenet_features(path)[0][0].weight, features[0][0].weight)
    odd = dict(half=torch.ones(2).half(), whole=torch.arange(3), brain=torch.ones(1, dtype=torch.bfloat16),
               yes=torch.tensor([True]), learned=torch.nn.Parameter(torch.ones(2, 2)), shared=faces, again=faces)
    torch.save(odd, path, _use_new_zipfile_serialization=new)
    assert all(torch.equal(v, odd[k]) for k, v in read_state_dict(path).items())
    assert all(np.array_equal(v, odd[k].detach().float()) for k, v in read_weight_arrays(path).items())


@pytest.mark.parametrize('first, shape, strides', [
    (3, (2,), (1,)), (0, (2,), (4,)), (0, (5,), (0,)), (0, (10**9, 0, 7), (1, 1, 1)), (-1, (2,), (1,)),
    (1, (-2,), (1,)), (1, (2,), (-2,)), (0, (2, 2), (1,)), (2**62, (1,), (1,)), (0, (1.,), (1,))])
def test_a_tensor_reaches_no_further_than_its_storage(first, shape, strides):
    four = np.arange(4, dtype=np.float32)
    place = _TensorPlace(_StorageName('Float', '0', 4), first, shape, strides)
    if 0 in shape: assert _as_array(place, four.tobytes()).size == 0
    else:
        with pytest.raises((ValueError, TypeError, OverflowError)): _as_array(place, four.tobytes())
    for count in (5, -1, 2**40):
        place = _TensorPlace(_StorageName('Float', '0', count), 0, (2,), (1,))
        with pytest.raises(ValueError): _as_array(place, four.tobytes())


def test_a_file_that_ends_as_an_archive_is_what_it_begins_as(tmp_path):
    path, kept = tmp_path/'weights.pth', torch.arange(3.)
    torch.save(dict(kept=kept), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes() + zipped(BOMBS['by memory']))
    assert zipfile.is_zipfile(path)
    with at_once(): assert read_weight_arrays(path)['kept'].tolist() == kept.tolist()


def test_the_state_of_an_object_is_not_set(tmp_path):
    "`collections OrderedDict`, its state set to a dict: its class is shared by all."
    path = tmp_path/'weights.pth'
    path.write_bytes(zipped(b'\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aK\x01sb.'))
    assert read_weight_arrays(path) == {}
    path.write_bytes(zipped(b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.'))
    with pytest.raises(ValueError, match='weights.pth'): read_weight_arrays(path)


ABOUT = dict(video='v.mp4', width=640, height=360, detector='d', enlarge=1.)


def faces(count): return tuple(TrackedFace(i, (i % 600, 1, i % 600 + 9, 9), 1., 'found') for i in range(count))


def test_a_frame_has_no_hundred_thousand_faces(tmp_path):
    path, most = tmp_path/'v.faces.jsonl', MAX_FACES
    write_sidecar(path, ABOUT, [FrameFaces(0, 0, faces(most))])
    header, rows = read_sidecar(path)
    assert len(next(rows).faces) == most
    with at_once(), pytest.raises(ValueError, match=f'a frame may have {most} faces'):
        write_sidecar(path, ABOUT, [FrameFaces(0, 0, faces(most + 1))])
    crowd = face_list.format_frame(FrameFaces(0, 0, faces(most + 1)))
    path.write_text(json.dumps(header) + '\n' + crowd + '\n')
    with at_once(), pytest.raises(ValueError, match=f'line 2: a frame may have {most} faces, got {most + 1}'):
        read_sidecar(path)
    path.write_text(json.dumps(header) + '\n' + face_list.format_frame(FrameFaces(0, 0, faces(100_000))) + '\n')
    with at_once(), pytest.raises(ValueError, match='line 2: a line may have'): read_sidecar(path)
    path.write_bytes(b' '*(face_list._MAX_LINE_BYTES + 1))
    with at_once(), pytest.raises(ValueError, match='line 1: a line may have'): read_sidecar(path)
