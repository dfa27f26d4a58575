"A stored result is reused only if every setting that can change it is the same."
import json
from contextlib import contextmanager
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from faceanon.config import TrainConfig, get_preset, runs_dir, write_json
from faceanon.evaluation import experiment, networks, photo_experiment, splits
from faceanon.evaluation.networks import (
    FREE_FIELDS,
    SHARED_FIELDS,
    shared_weights_path,
    train_anonymizer,
    train_fixed_verifier,
    train_initial_detector,
)
from faceanon.evaluation.splits import (
    DATA_FIELDS,
    FACE_ROLES,
    TRAIN_DATA_FIELDS,
    cached,
    faces_for_role,
    frames_for_role,
    read_row,
    stored_settings,
)

CFG = get_preset('toy', attack_faces=2, test_faces=2, frames=6, attack_steps=2, finetune_steps=1, a_warmup=2, steps=2)
FIELDS = [field.name for field in fields(TrainConfig)]
OTHER = dict(preset='other', source='real', backbone='mobilenet', d_start='verifier', objective='negative',
             decoder='plays')
MAKERS = [('detector', train_initial_detector), ('verifier', train_fixed_verifier)]


class MadeAgain(Exception): pass


def make_again(*_, **__): raise MadeAgain


def changed(name, cfg=CFG):
    "The same configuration with another valid value of one field."
    step = dict(face_size=4, frame_size=32).get(name, 1)
    return replace(cfg, **{name: OTHER[name] if name in OTHER else getattr(cfg, name) + step})


def change_all(names):
    "The same configuration with another value of each of these fields."
    cfg = CFG
    for name in names: cfg = changed(name, cfg)
    return cfg


def forget_data():
    "What this process has read is read again."
    splits._load_faces.cache_clear()
    splits._load_frames.cache_clear()


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    "One folder for all, so that pictures and networks are made once."
    return tmp_path_factory.mktemp('out')


@pytest.fixture(autouse=True)
def out(shared, monkeypatch):
    monkeypatch.setenv('FACEANON_OUT', str(shared))
    forget_data()


@contextmanager
def nothing_is_made(monkeypatch):
    "Inside, whatever would draw or train raises."
    with monkeypatch.context() as patch:
        for name in ('build_action_detector', 'build_discriminator', 'build_networks', 'load_train_data'):
            patch.setattr(networks, name, make_again)
        for name in ('synthetic_faces', 'synthetic_frames', 'lfw_faces', 'jhmdb_frames'):
            patch.setattr(splits, name, make_again)
        yield


def test_every_field_can_be_changed():
    assert all(getattr(changed(name), name) != getattr(CFG, name) for name in FIELDS)
    assert {*DATA_FIELDS, *FREE_FIELDS, *SHARED_FIELDS['detector'], *SHARED_FIELDS['verifier']} <= {*FIELDS}


def test_a_file_that_does_not_say_its_settings_is_made_again(tmp_path):
    make = lambda: dict(x=torch.ones(2))
    path = cached(tmp_path, 'some', dict(a=1), make)
    for wrong in (None, dict(settings='{"a": 2}')):
        save_file(dict(x=torch.zeros(2)), path, wrong)
        assert load_file(cached(tmp_path, 'some', dict(a=1), make))['x'].tolist() == [1, 1]
        assert stored_settings(path) == dict(a=1)
    write_json(tmp_path/'row.json', dict(method='mask', budget={}))
    assert read_row(tmp_path/'row.json', dict(a=1)) is None


@pytest.mark.parametrize('name', FIELDS)
def test_pictures_are_drawn_again_when_a_setting_that_can_change_them_differs(name, monkeypatch):
    asks = [(faces_for_role, role) for role in FACE_ROLES] + [(frames_for_role, role) for role in ('train', 'test')]
    for ask, role in asks: ask(CFG, role, 'val')
    forget_data()
    with nothing_is_made(monkeypatch):
        for ask, role in asks:
            if name not in ('preset', *(TRAIN_DATA_FIELDS if role == 'train' else DATA_FIELDS)):
                ask(changed(name), role, 'val')
            else:
                with pytest.raises(MadeAgain): ask(changed(name), role, 'val')


@pytest.mark.parametrize('kind,make', MAKERS)
@pytest.mark.parametrize('name', FIELDS)
def test_a_shared_network_is_trained_again_when_a_setting_that_can_change_it_differs(kind, make, name, monkeypatch):
    made = make(CFG)
    with nothing_is_made(monkeypatch):
        assert make(CFG) == made
        if name not in ('preset', *SHARED_FIELDS[kind]): assert make(changed(name)) == made
        else:
            with pytest.raises(MadeAgain): make(changed(name))
            assert shared_weights_path(changed(name), kind) is None


@pytest.mark.parametrize('kind,make', MAKERS)
def test_settings_that_are_not_listed_have_no_effect_on_a_shared_network(kind, make, tmp_path, monkeypatch):
    here = make(CFG)
    other = change_all(name for name in FIELDS if name not in ('preset', *SHARED_FIELDS[kind]))
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    there = make(other)
    assert tmp_path in there.parents and there.read_bytes() == here.read_bytes()


@pytest.mark.parametrize('kind', ['detector', 'verifier'])
@pytest.mark.parametrize('name', FIELDS)
def test_a_released_network_is_used_for_the_settings_of_its_preset(kind, name, tmp_path, monkeypatch):
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    small = get_preset('small')
    assert shared_weights_path(small, kind).name == f'small-{kind}.safetensors'
    asked = shared_weights_path(changed(name, small), kind)
    assert (asked is None) == (name in ('preset', *SHARED_FIELDS[kind]))


@pytest.fixture(scope='module')
def trained(shared):
    "An M of two steps."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('FACEANON_OUT', str(shared))
        return train_anonymizer(CFG, 'small')


@pytest.mark.parametrize('name', FIELDS)
def test_an_m_is_refused_when_a_setting_that_can_change_it_differs(name, trained, monkeypatch):
    with nothing_is_made(monkeypatch):
        if name in FREE_FIELDS: assert train_anonymizer(changed(name), 'small') == trained
        elif name in ('preset', 'seed', 'steps'):  # two other folders, and a longer run, which goes on
            with pytest.raises(MadeAgain): train_anonymizer(changed(name), 'small')
        else:
            says = rf"small.anonymizer.safetensors was trained with other settings .*'{name}'"
            with pytest.raises(ValueError, match=says): train_anonymizer(changed(name), 'small')


def test_settings_that_are_not_compared_have_no_effect_on_an_m(trained, tmp_path, monkeypatch):
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    there = train_anonymizer(change_all(FREE_FIELDS), 'small')
    here, there = load_file(trained), load_file(there)
    assert all(torch.equal(value, there[key]) for key, value in here.items())


def test_a_run_goes_on_when_it_is_made_longer_and_is_not_cut_short(tmp_path, monkeypatch):
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    path = train_anonymizer(CFG)
    before = load_file(path)
    train_anonymizer(replace(CFG, steps=3))
    assert not all(torch.equal(before[key], value) for key, value in load_file(path).items())
    assert [json.loads(line)['step'] for line in (path.parent/'log.jsonl').read_text().splitlines()] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"'steps': \(2, 3\)"): train_anonymizer(CFG)


ROWS = [(experiment, 'evaluate_utility', lambda cfg: experiment.evaluate_method('mask', cfg, 'val', ('cnn',))),
        (photo_experiment, 'evaluate_photo_utility', lambda cfg: photo_experiment.evaluate_photo_method('mask', cfg))]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    "Stands for every network that a row is measured with."
    path = tmp_path/'weights'
    path.write_bytes(b'the same for all')
    for module in (experiment, photo_experiment): monkeypatch.setattr(module, 'shared_weights_path', lambda *_: path)
    monkeypatch.setattr(photo_experiment, 'mobilefacenet_path', lambda: path)
    monkeypatch.setattr(photo_experiment, 'shipped_face_detectors', dict)
    monkeypatch.setenv('FACEANON_OUT', str(tmp_path))
    return path


def stored_row(module, measure, make, monkeypatch):
    "Store a row of CFG without measuring anything."
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(module, 'read_row', lambda *given: asked.append(given))
        with pytest.raises(MadeAgain): make(CFG)
    (path, settings), = asked
    write_json(path, dict(settings=settings, faces={}, attacks=[]))
    return path


@pytest.mark.parametrize('module,measure,make', ROWS, ids=['world', 'photographs'])
@pytest.mark.parametrize('name', FIELDS)
def test_a_row_is_measured_again_when_a_setting_differs(module, measure, make, name, weights, monkeypatch):
    monkeypatch.setattr(module, measure, make_again)
    stored_row(module, measure, make, monkeypatch)
    assert make(CFG)['attacks'] == []
    if name == 'checkpoint_every': assert make(changed(name))['attacks'] == []  # says only when to write
    else:
        with pytest.raises(MadeAgain): make(changed(name))


@pytest.mark.parametrize('module,measure,make', ROWS, ids=['world', 'photographs'])
def test_a_row_is_measured_again_with_other_weights(module, measure, make, weights, monkeypatch):
    monkeypatch.setattr(module, measure, make_again)
    path = stored_row(module, measure, make, monkeypatch)
    assert runs_dir() in path.parents and make(CFG)['attacks'] == []
    weights.write_bytes(b'other weights')
    with pytest.raises(MadeAgain): make(CFG)
