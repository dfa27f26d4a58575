"Runs that are killed, stopped, seeded and fed nonsense."
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from toy_game import CFG, changed, same, seeded, toy_batch, toy_data, toy_nets, weights

from faceanon.config import DECODER_LOSSES, PAPER_OBJECTIVE, seed_everything
from faceanon.data.synthetic_people import ACTIONS
from faceanon.models.action_detector import mobilenet_detector
from faceanon.models.anonymizer import PaperGenerator
from faceanon.models.discriminator import LatentClassifier, PlainCNN, SmallSphereFace, SphereFace20
from faceanon.models.mobilefacenet import AlignedRecognizer, AlignedSphereFace, MobileFaceNet
from faceanon.training import checkpoints
from faceanon.training.adversarial import adversarial_steps, frozen, make_optimizers, reset_network, update_d, update_ma
from faceanon.training.checkpoints import load_checkpoint, read_checkpoint, read_log, run_training, save_checkpoint
from faceanon.training.players import TrainData, sample_batch
from faceanon.training.supervised import finetune_a, train_identity_classifier, warm_up_a


def equal_checkpoints(one, other):
    (mine, my_meta), (theirs, their_meta) = read_checkpoint(one), read_checkpoint(other)
    assert mine.keys() == theirs.keys()
    assert same(mine.values(), [theirs[k] for k in mine])
    assert my_meta == their_meta


# --- killed and stopped ---

def test_a_killed_run_ends_like_one_that_was_not(tmp_path):
    cfg = replace(CFG, steps=8)
    killed, whole = tmp_path/'killed', tmp_path/'whole'
    child = subprocess.Popen([sys.executable, Path(__file__).with_name('toy_game.py'), killed, str(cfg.steps)],
                             stdout=subprocess.PIPE, text=True)
    try: assert child.stdout.readline() == 'killed here\n'
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    begun = int(read_checkpoint(killed/'last.safetensors')[1]['step'])
    assert 0 < begun < cfg.steps

    rest = list(run_training(killed, toy_nets(replace(cfg, seed=5)), toy_data(), cfg))
    rows = list(run_training(whole, toy_nets(cfg), toy_data(), cfg))
    assert [row['step'] for row in rest] == list(range(begun, cfg.steps))
    assert rest == rows[begun:]
    equal_checkpoints(killed/'last.safetensors', whole/'last.safetensors')
    assert (killed/'log.jsonl').read_text() == (whole/'log.jsonl').read_text()
    assert [row['step'] for row in read_log(killed/'log.jsonl')] == list(range(cfg.steps))


AS_IN_THE_PAPER = dict(objective='negative', decoder='plays', r_steps=0, code_adv_weight=0., rate_weight=0.)


@pytest.mark.parametrize('changes', [{}, AS_IN_THE_PAPER | dict(d_warmup=2, d_steps=2, d_restart=2)],
                         ids=['ours', 'paper'])
@pytest.mark.parametrize('stop', [1, 2, 3])
def test_a_run_stopped_anywhere_goes_on_to_the_same_end(tmp_path, stop, changes):
    cfg = replace(CFG, steps=4, **changes)
    rows = list(run_training(tmp_path/'whole', toy_nets(cfg), toy_data(), cfg))
    for row in run_training(tmp_path/'stopped', toy_nets(cfg), toy_data(), cfg):
        if row['step'] + 1 == stop: break
    seed_everything(cfg.seed if stop < cfg.checkpoint_every else 99)  # without a checkpoint it begins anew
    nets = toy_nets(cfg if stop < cfg.checkpoint_every else replace(cfg, seed=99))
    list(run_training(tmp_path/'stopped', nets, toy_data(), cfg))
    equal_checkpoints(tmp_path/'whole'/'last.safetensors', tmp_path/'stopped'/'last.safetensors')
    assert read_log(tmp_path/'stopped'/'log.jsonl') == rows


@pytest.mark.parametrize('changes', [{}, AS_IN_THE_PAPER | dict(d_steps=2, d_restart=5)], ids=['ours', 'paper'])
@pytest.mark.parametrize('lr_drop_step', [2, 9], ids=['drop before', 'drop after'])
def test_a_longer_run_is_the_run_that_was_longer_from_the_start(tmp_path, changes, lr_drop_step):
    cfg = replace(CFG, steps=12, lr_drop_step=lr_drop_step, checkpoint_every=3, **changes)
    whole = list(run_training(tmp_path/'whole', toy_nets(cfg), toy_data(), cfg))
    rows = [row for steps in (6, 12)
            for row in run_training(tmp_path/'extended', toy_nets(cfg), toy_data(), replace(cfg, steps=steps))]
    assert rows == whole
    equal_checkpoints(tmp_path/'whole'/'last.safetensors', tmp_path/'extended'/'last.safetensors')


def test_the_rates_drop_where_they_are_told_to():
    nets, cfg = toy_nets(), replace(CFG, steps=4, lr_m=1e-3, lr_a=1e-4, lr_drop=.5, lr_drop_step=3)
    opts, seen = make_optimizers(nets, cfg), []
    opts[1].register_step_pre_hook(lambda opt, *_: seen.append([group['lr'] for group in opt.param_groups]))
    list(adversarial_steps(nets, toy_data(), cfg, opts))
    assert seen == [[1e-3, 1e-4]]*3 + [[5e-4, 5e-5]]


def test_another_drop_is_refused_and_an_old_checkpoint_has_the_drop_of_its_length(kept):
    path, nets, opts = kept
    with pytest.raises(ValueError, match=r"'lr_drop_step': \(9, 2\)"):
        load_checkpoint(path, nets, opts, seeded(0), replace(CFG, lr_drop_step=9))
    tensors, meta = read_checkpoint(path)
    config = json.loads(meta['config'])
    assert config.pop('lr_drop_step') == 2 and config['steps'] == 3
    save_file(tensors, path, metadata=meta | dict(config=json.dumps(config)))
    assert load_checkpoint(path, nets, opts, seeded(0), replace(CFG, steps=9)) == 3
    with pytest.raises(ValueError, match='lr_drop_step'):
        load_checkpoint(path, nets, opts, seeded(0), replace(CFG, lr_drop_step=9))


def real_nets(cfg):
    "The players of the preset `real`, with random weights in place of those that others trained."
    nets = toy_nets(cfg)
    nets.D = nn.ModuleList([AlignedRecognizer(MobileFaceNet(), cfg.people, cfg.d_frozen)])
    nets.A = mobilenet_detector(len(ACTIONS), cfg.frame_size)
    return nets


def paper_nets(cfg):
    nets = toy_nets(cfg)
    nets.M, nets.D = PaperGenerator(8, 2), nn.ModuleList([AlignedSphereFace(cfg.people)])
    nets.R = LatentClassifier(cfg.people, nets.M.mean_code(torch.zeros(1, 3, 16, 16)).shape[1])
    return nets


@pytest.mark.parametrize('make, changes', [(real_nets, dict(d_frozen=4)), (paper_nets, PAPER_OBJECTIVE)])
def test_the_larger_players_go_on_to_the_same_end(tmp_path, make, changes):
    cfg = replace(CFG, steps=2, checkpoint_every=1, d_pool=1, d_restart=0, **changes)
    rows = list(run_training(tmp_path/'whole', make(cfg), toy_data(), cfg))
    for _ in run_training(tmp_path/'stopped', make(cfg), toy_data(), replace(cfg, steps=1)): pass
    for _ in run_training(tmp_path/'stopped', make(replace(cfg, seed=99)), toy_data(), cfg): pass
    equal_checkpoints(tmp_path/'whole'/'last.safetensors', tmp_path/'stopped'/'last.safetensors')
    assert read_log(tmp_path/'stopped'/'log.jsonl') == rows


def test_a_checkpoint_that_could_not_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    path, nets = tmp_path/'last.safetensors', toy_nets()
    opts = make_optimizers(nets, CFG)
    save_checkpoint(path, nets, opts, seeded(0), CFG, 1)
    before = path.read_bytes()
    def disk_full(tensors, to, metadata):
        Path(to).write_bytes(b'half')
        raise OSError("no space left on device")
    monkeypatch.setattr(checkpoints, 'save_file', disk_full)
    with pytest.raises(OSError, match='no space'): save_checkpoint(path, nets, opts, seeded(0), CFG, 2)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ['last.safetensors']
    assert load_checkpoint(path, nets, opts, seeded(0), CFG) == 1


def test_a_log_without_its_last_words_is_still_read(tmp_path):
    log = tmp_path/'log.jsonl'
    assert read_log(log) == []
    log.write_text('{"step": 0}\n{"step": 1}\n{"ste')
    assert read_log(log) == [dict(step=0), dict(step=1)]


# --- checkpoints refused ---

@pytest.fixture
def kept(tmp_path):
    nets = toy_nets()
    opts = make_optimizers(nets, CFG)
    for step in range(2): update_d(nets, opts[0], *toy_batch().d_batches[0], CFG, step)
    save_checkpoint(tmp_path/'last.safetensors', nets, opts, seeded(0), CFG, 3)
    return tmp_path/'last.safetensors', nets, opts


@pytest.mark.parametrize('changes', [dict(seed=3), dict(objective='negative'), dict(adv_weight=.5), dict(d_pool=3),
                                     dict(preset='small', lr_m=1e-5)], ids=lambda c: '-'.join(c))
def test_other_settings_are_refused_by_name(kept, changes):
    path, nets, opts = kept
    with pytest.raises(ValueError, match='other settings') as error:
        load_checkpoint(path, nets, opts, seeded(0), replace(CFG, **changes))
    for name, asked in changes.items(): assert f"'{name}': ({asked!r}, {getattr(CFG, name)!r})" in str(error.value)


def test_a_setting_that_was_stored_under_an_earlier_name_is_known(kept):
    path, nets, opts = kept
    tensors, meta = read_checkpoint(path)
    def stored(weight):
        config = json.loads(meta['config'])
        config['read_weight'] = weight(config.pop('code_adv_weight'))
        save_file(tensors, path, metadata=meta | dict(config=json.dumps(config)))
    stored(lambda weight: weight)
    assert load_checkpoint(path, nets, opts, seeded(0), CFG) == 3
    stored(lambda weight: weight + 1)
    with pytest.raises(ValueError, match="other settings.*'code_adv_weight'"):
        load_checkpoint(path, nets, opts, seeded(0), CFG)


def test_length_and_saving_are_free(kept):
    assert load_checkpoint(*kept, seeded(0), replace(CFG, steps=77, checkpoint_every=9)) == 3


@pytest.mark.parametrize('keep', [0, 7, 100, 5000, -1])
def test_a_damaged_checkpoint_is_refused_and_changes_nothing(kept, keep):
    path, nets, opts = kept
    path.write_bytes(path.read_bytes()[:keep])
    before = weights(nets)
    with pytest.raises(ValueError, match='last.safetensors is damaged'):
        load_checkpoint(path, nets, opts, seeded(0), CFG)
    assert changed(nets, before) == ''


def test_foreign_files_are_refused_by_name(kept, tmp_path):
    _, nets, opts = kept
    def load(path): return load_checkpoint(path, nets, opts, seeded(0), CFG)
    save_file(dict(x=torch.zeros(1)), tmp_path/'other', metadata=dict(format='pt'))
    (tmp_path/'text').write_text("no tensors in here, only words and more words")
    with pytest.raises(ValueError, match="other is no checkpoint of faceanon: its format is 'pt'"):
        load(tmp_path/'other')
    with pytest.raises(ValueError, match='text is damaged or not safetensors'): load(tmp_path/'text')
    with pytest.raises(FileNotFoundError, match='none'): load(tmp_path/'none')
    with pytest.raises(FileNotFoundError): load(tmp_path)


@pytest.mark.parametrize('letter, net', [('R', LatentClassifier(5, width=16)), ('M', PaperGenerator(8, 1)),
                                         ('D', nn.ModuleList([SmallSphereFace(8, 16)]))], ids=lambda x: str(x)[:1])
def test_a_checkpoint_of_other_networks_is_refused(kept, letter, net):
    path, nets, opts = kept
    with pytest.raises(ValueError, match='written for other networks'):
        load_checkpoint(path, replace(nets, **{letter: net}), opts, seeded(0), CFG)


# --- seeds ---

def test_draws_obey_the_generator_and_nothing_else():
    first = toy_batch()
    torch.manual_seed(123)
    second, third = toy_batch(), toy_batch(seed=1)
    assert torch.equal(first.faces, second.faces) and torch.equal(first.frames, second.frames)
    assert torch.equal(first.boxes, second.boxes)
    assert not torch.equal(first.faces, third.faces)


def test_rows_obey_both_seeds():
    def rows(draws, noise):
        nets = toy_nets()
        seed_everything(noise)
        return list(adversarial_steps(nets, toy_data(), replace(CFG, steps=1), generator=seeded(draws)))
    assert rows(0, 0) == rows(0, 0)
    assert rows(0, 0) != rows(1, 0)
    assert rows(0, 0) != rows(0, 1)


@pytest.mark.parametrize('learn', [
    lambda nets, cfg: warm_up_a(nets.A, toy_data(), cfg), lambda nets,
    cfg: train_identity_classifier(nets.D[0], toy_data(), cfg), lambda nets,
    cfg: finetune_a(nets.A, toy_data().frames, toy_data().targets, cfg, cfg.seed)],
    ids=['warm_up_a', 'train_identity', 'finetune_a'])
def test_learning_alone_obeys_its_seed(learn):
    short = replace(CFG, a_warmup=3, finetune_steps=2, attack_steps=2)
    def rows(seed): return list(learn(toy_nets(), replace(short, seed=seed)))
    assert rows(0) == rows(0)
    assert rows(0) != rows(1)


# --- nonsense ---

def test_a_broken_m_stops_the_run_before_anything_is_saved(tmp_path):
    nets = toy_nets()
    with torch.no_grad(): next(nets.M.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match='d=nan'): list(run_training(tmp_path, nets, toy_data(), CFG))
    assert not (tmp_path/'last.safetensors').exists()
    assert (tmp_path/'log.jsonl').read_text() == ''


@pytest.mark.parametrize('name', ['adv_weight', 'code_adv_weight', 'l1_weight', 'rate_weight'])
def test_a_term_that_is_not_finite_stops_the_run_before_it_is_saved_and_all_are_named(tmp_path, name):
    nets, cfg = toy_nets(loudness=50), replace(CFG, checkpoint_every=1, **{name: torch.inf})
    with pytest.raises(FloatingPointError, match='at step 0: .*=inf') as error:
        list(run_training(tmp_path, nets, toy_data(), cfg))
    assert [term for term in ('loss_det', 'loss_adv', 'loss_code', 'loss_l1',
                              'loss_rate') if f'{term}=' not in str(error.value)] == []
    assert [path.name for path in tmp_path.iterdir()] == ['log.jsonl'] and not read_log(tmp_path/'log.jsonl')
    assert all(p.requires_grad for p in nets.D.parameters())


def test_a_person_that_d_does_not_know_is_an_error():
    data = replace(toy_data(), ids=toy_data().ids + 3)
    with pytest.raises(ValueError, match=r'ids must be in \[0, 8\)'): list(adversarial_steps(toy_nets(), data, CFG))


@pytest.mark.parametrize('change, wrong', [(lambda faces: faces.float()/255, TypeError),
                                           (lambda faces: faces[:, :1], ValueError)], ids=['float', 'grey'])
def test_pictures_of_another_kind_are_an_error(change, wrong):
    data = replace(toy_data(), faces=change(toy_data().faces))
    with pytest.raises(wrong): list(adversarial_steps(toy_nets(), data, CFG))


def test_nothing_to_train_on_is_an_error():
    data = toy_data()
    with pytest.raises(ValueError, match='no faces or no frames'): TrainData(data.faces, data.ids, data.frames[:0], [])


def test_frames_without_faces_are_used_as_they_are():
    data = toy_data()
    nobody = [dict(t, faces=t['faces'][:0]) for t in data.targets]
    batch = sample_batch(replace(data, targets=nobody), CFG, seeded(0))
    assert batch.boxes.shape == (0, 5)
    nets, seen = toy_nets(), []
    nets.A.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    row = update_ma(nets, make_optimizers(nets, CFG)[1], batch, CFG, 0)
    assert torch.equal(seen[0], batch.frames)
    assert all(map(torch.isfinite, row.values()))


# --- players ---

@pytest.mark.parametrize('decoder', DECODER_LOSSES)
def test_the_papers_generator_plays_too(decoder):
    cfg = replace(CFG, decoder=decoder, rate_weight=0., d_pool=1)
    nets = replace(toy_nets(cfg), M=PaperGenerator(8, 1), R=LatentClassifier(8, channels=32, width=16))
    before = weights(nets)
    rows = list(adversarial_steps(nets, toy_data(), replace(cfg, steps=1)))
    assert changed(nets, before) == 'MDAR'
    assert set(rows[0]) == {'step', 'loss_d', 'rank1', 'loss_r', 'rank1_code', 'loss_det', 'loss_adv', 'loss_l1',
                            'loss_code'}


def test_layers_that_are_frozen_for_good_do_not_stop_the_game():
    nets = toy_nets()
    stem = nets.A.net.backbone.layers[0].requires_grad_(False)
    before, kept = weights(nets), stem.weight.clone()
    update_ma(nets, make_optimizers(nets, CFG)[1], toy_batch(), CFG, 0)
    assert changed(nets, before) == 'MA'
    assert torch.equal(stem.weight, kept)


@pytest.mark.parametrize('make', [lambda: SmallSphereFace(4, 8), lambda: PlainCNN(4, 8), lambda: SphereFace20(4),
                                  lambda: LatentClassifier(4, width=16)],
                                  ids=['small', 'plain', 'sphereface', 'reader'])
def test_a_restart_forgets_every_weight(make):
    net = make()
    with torch.no_grad():
        for p in net.parameters(): p.fill_(7.)
    reset_network(net, torch.optim.Adam(net.parameters()))
    assert [name for name, p in net.named_parameters() if (p == 7).any()] == []


def test_frozen_holds_only_inside():
    net = nn.Linear(2, 2)
    with frozen(net): net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert net.weight.grad is None
    net(torch.ones(1, 2)).sum().backward()
    assert net.weight.grad is not None


def test_a_log_is_plain_json(tmp_path):
    list(run_training(tmp_path, toy_nets(), toy_data(), replace(CFG, steps=1)))
    [row] = [json.loads(line) for line in (tmp_path/'log.jsonl').read_text().splitlines()]
    assert list(row) == ['step', 'loss_d', 'rank1', 'loss_r', 'rank1_code', 'loss_det', 'loss_adv', 'loss_l1',
                         'loss_code', 'loss_rate']
