"M, D and A against second, plainer writings of themselves, and at the edges of what they promise."
import hashlib
import io

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torchvision.models import resnet50

from faceanon.faces import bf16_autocast
from faceanon.models import anonymizer
from faceanon.models.action_detector import resnet_detector, small_detector, train_mode
from faceanon.models.anonymizer import (
    Anonymizer,
    PaperGenerator,
    load_anonymizer,
    read_weights_metadata,
    save_anonymizer,
)
from faceanon.models.discriminator import PlainCNN, SmallSphereFace, SphereFace20, cosine_similarity
from faceanon.models.mobilefacenet import AlignedSphereFace
from faceanon.models.released import released_anonymizers


def no_boxes(): return dict(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))


def a_box(label=1): return dict(boxes=torch.tensor([[20., 20, 70, 80]]), labels=torch.tensor([label]))


# --- M ---

def paper_generator_again(state, x):
    "The authors' network written out with functions; takes the tensors in the order in which they are stored."
    tensors = iter(state.values())

    def conv(x, stride=1, pad=0, reflect=0, up=False):
        weight, bias = next(tensors), next(tensors)
        if up: return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
        return F.conv2d(F.pad(x, [reflect]*4, mode='reflect') if reflect else x, weight, bias, stride, pad)

    def norm(x): return (x - x.mean((2, 3), keepdim=True))/(x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()

    x = norm(conv(2*x - 1, reflect=3)).relu()
    for _ in range(2): x = norm(conv(x, stride=2, pad=1)).relu()
    for _ in range((len(state) - 12)//4): x = x + norm(conv(norm(conv(x, reflect=1)).relu(), reflect=1))
    for _ in range(2): x = norm(conv(x, up=True)).relu()
    return (conv(x, reflect=3).tanh() + 1)/2


@torch.no_grad()
def test_paper_generator_equals_its_second_writing():
    net, faces = PaperGenerator(), torch.rand(2, 3, 24, 32)
    assert sum(p.numel() for p in net.parameters()) == 11_378_179
    assert len(net.state_dict()) == 2*(3 + 2*9 + 3)
    for p in net.parameters():  # zero biases would hide a bias that is not added
        if p.ndim == 1: p.normal_(0, .1)
    torch.testing.assert_close(net(faces), paper_generator_again(net.state_dict(), faces), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('net', [PaperGenerator(8, 1), Anonymizer(16, 4, 1)], ids=lambda net: type(net).__name__)
@pytest.mark.parametrize('shape', [(2, 3, 8, 8), (1, 3, 40, 40), (3, 3, 36, 60), (0, 3, 40, 40)])
def test_anonymizers_keep_shape_and_range(net, shape):
    faces = torch.rand(shape, requires_grad=True)
    out = net(faces)
    assert out.shape == faces.shape
    assert bool(((out >= 0) & (out <= 1)).all())
    out.sum().backward()
    assert bool((faces.grad.abs().sum((1, 2, 3)) > 0).all())


@pytest.mark.parametrize('net', [PaperGenerator(8, 1), Anonymizer(16, 4, 1)], ids=lambda net: type(net).__name__)
@pytest.mark.parametrize('faces, error, says', [
    (torch.zeros(1, 3, 40, 40, dtype=torch.uint8), TypeError, 'torch.uint8'),
    (torch.zeros(1, 1, 40, 40), ValueError, r'\(1, 1, 40, 40\)'),
    (torch.zeros(3, 40, 40), ValueError, r'\(3, 40, 40\)'),
    (torch.zeros(1, 3, 1, 1), ValueError, 'got 1x1'),
    (torch.zeros(1, 3, 4, 40), ValueError, 'got 4x40'),
    (torch.zeros(1, 3, 40, 41), ValueError, 'got 40x41'),
    (torch.full((1, 3, 8, 8), -1.), ValueError, 'from -1 to -1'),
    (torch.full((1, 3, 8, 8), 255.), ValueError, 'from 255 to 255'),
    (torch.full((1, 3, 8, 8), torch.nan), ValueError, 'nan'),
])
def test_anonymizers_refuse_bad_faces(net, faces, error, says):
    with pytest.raises(error, match=says): net(faces)


@torch.no_grad()
def test_nothing_goes_around_the_code(monkeypatch):
    net, code = Anonymizer(16, 4, 1), torch.randn(2, 4, 5, 5)
    monkeypatch.setattr(net, 'encode', lambda faces: code)
    assert torch.equal(net(torch.zeros(2, 3, 20, 20)), net(torch.rand(2, 3, 20, 20)))
    assert torch.equal(net(torch.zeros(2, 3, 20, 20)), net.decode(code))


@torch.no_grad()
@pytest.mark.parametrize('training', [True, False])
def test_the_channel_is_noisy_in_every_mode(training):
    net, faces = Anonymizer(16, 16, 1, noise=.25).train(training), torch.rand(1, 3, 20, 20)
    noise = torch.cat([net.encode(faces) for _ in range(200)]) - net.mean_code(faces)
    assert noise.std(0).mean().item() == pytest.approx(.25, abs=.01)      # fresh at every call
    assert noise.mean(0).abs().mean().item() < .03
    assert noise.std((1, 2, 3)).min().item() > .2                         # and at every place


def test_the_code_is_unbounded_differentiable_and_starts_almost_silent():
    net, faces = Anonymizer(), torch.rand(4, 3, 40, 40, requires_grad=True)
    assert net.mean_code(faces).square().mean() < .1*net.noise**2
    net.encode(faces).sum().backward()
    assert faces.grad.abs().sum() > 0
    for p in net.to_code.parameters(): p.data *= 1000
    assert net.mean_code(faces).abs().max() > 10


@torch.no_grad()
@pytest.mark.parametrize('net', [PaperGenerator(8, 1), Anonymizer(16, 4, 1)], ids=lambda net: type(net).__name__)
def test_three_steps_make_one_picture(net):
    faces = torch.rand(2, 3, 24, 40)
    mean = net.mean_code(faces)
    assert mean.shape[2:] == (6, 10)
    torch.manual_seed(1)
    stepwise = net.decode(net.add_noise(mean))
    torch.manual_seed(1)
    assert torch.equal(net(faces), stepwise)
    torch.manual_seed(1)
    assert torch.equal(net.decode(net.encode(faces)), stepwise)
    assert torch.equal(net.add_noise(mean), mean) == isinstance(net, PaperGenerator)
    with pytest.raises(ValueError, match=r'code must be .* got \(2, 9, 6, 10\)'): net.decode(torch.zeros(2, 9, 6, 10))


@pytest.mark.parametrize('net', [PaperGenerator(8, 1), Anonymizer(16, 4, 1)], ids=lambda net: type(net).__name__)
def test_half_precision_changes_little_and_gives_float32(net):
    faces = torch.rand(4, 3, 24, 40, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        mean = net.mean_code(faces)
        out = net.decode(mean)
    assert mean.dtype == out.dtype == net.add_noise(mean).dtype == torch.float32
    assert bool(((out >= 0) & (out <= 1)).all())
    torch.testing.assert_close(out, net.decode(net.mean_code(faces)), atol=.05, rtol=0)
    out.sum().backward()
    assert bool(faces.grad.isfinite().all())


@torch.no_grad()
def test_noise_is_not_rounded_to_the_grid_of_half_precision():
    net = Anonymizer(16, 4, 1)
    sent = net.add_noise(torch.full((1, 4, 30, 30), 2., dtype=torch.bfloat16))
    assert len(sent.unique()) > 3500


@torch.no_grad()
def test_place_draws_where_the_code_is_silent():
    net = Anonymizer(16, 4, 1)
    net.place[:, :, 5:] = 3*torch.randn(64, 1, 1)
    for h, w in ((10, 10), (6, 15)):
        drawn = net.decode(torch.zeros(1, 4, h, w))
        assert drawn.shape == (1, 3, 4*h, 4*w)
        upper, lower = drawn[:, :, :2*h].mean((0, 2, 3)), drawn[:, :, 2*h:].mean((0, 2, 3))
        assert (upper - lower).abs().max() > .01, "the map does not tell up from down"


def test_saving_keeps_arguments_notes_and_weights(tmp_path):
    net = Anonymizer(width=16, code_channels=5, blocks=2, noise=.125)
    path = save_anonymizer(tmp_path/'a.safetensors', net, preset='toy', seed=3, rate=.5)
    assert read_weights_metadata(path) == dict(kind='Anonymizer', notes=dict(preset='toy', seed=3, rate=.5),
                                               arguments=dict(
        width=16, code_channels=5, blocks=2, noise=.125))
    restored = load_anonymizer(path)
    assert restored.noise == .125 and not restored.training
    assert all(torch.equal(v, restored.state_dict()[k]) for k, v in net.state_dict().items())


def test_a_failed_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = save_anonymizer(tmp_path/'a.safetensors', Anonymizer(16, 4, 0))
    before = path.read_bytes()

    def dies_half_way(state, to, metadata):
        to.write_bytes(b'half')
        raise OSError("disk full")
    monkeypatch.setattr(anonymizer, 'save_file', dies_half_way)
    with pytest.raises(OSError, match="disk full"): save_anonymizer(path, Anonymizer(16, 4, 1))
    assert [p.name for p in tmp_path.iterdir()] == ['a.safetensors']
    assert path.read_bytes() == before


def spoil(path, change):
    "Rewrite a file of weights with `change(state, metadata)` done to it."
    state, about = load_file(path), read_weights_metadata(path)
    metadata = dict(kind=about['kind'], arguments='{"width": 16, "code_channels": 4, "blocks": 0}', notes='{}')
    change(state, metadata)
    save_file(state, path, metadata)


@pytest.mark.parametrize('change, says', [
    (lambda state, metadata: state.pop('to_code.bias'), 'to_code.bias'),
    (lambda state, metadata: state.update(extra=torch.zeros(1)), 'extra'),
    (lambda state, metadata: state['to_code.bias'].fill_(torch.nan), 'not finite'),
    (lambda state, metadata: metadata.update(arguments='{"width": 32}'), 'does not fit'),
    (lambda state, metadata: metadata.update(arguments='{"width": 17}'), 'multiple of 8, got 17'),
    (lambda state, metadata: metadata.update(arguments='[1]'), 'its arguments are'),
    (lambda state, metadata: metadata.update(arguments='{'), 'unreadable'),
    (lambda state, metadata: metadata.update(kind='Linear'), 'not written by save_anonymizer'),
    (lambda state, metadata: metadata.pop('notes'), 'not written by save_anonymizer'),
])
def test_foreign_files_are_refused(tmp_path, change, says):
    path = save_anonymizer(tmp_path/'a.safetensors', Anonymizer(16, 4, 0))
    spoil(path, lambda state, metadata: None)
    load_anonymizer(path)
    spoil(path, change)
    with pytest.raises(ValueError, match=says): load_anonymizer(path)


@pytest.mark.parametrize('content', [b'', b'not weights', b'\xff'*64], ids=['empty', 'text', 'ff'])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path/'a.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='damaged'): Anonymizer.from_pretrained(path)


def test_released_names_are_checked_by_hash(tmp_path):
    for name, net in dict(small=Anonymizer(16, 4, 0), paper=PaperGenerator(8, 1)).items():
        save_anonymizer(tmp_path/f'{name}.safetensors', net)
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in tmp_path.glob('*.safetensors')}
    (tmp_path/'SHA256SUMS').write_text(''.join(f'{digest}  {name}\n' for name, digest in sums.items()))
    assert type(Anonymizer.from_pretrained('small', tmp_path)) is Anonymizer
    assert type(Anonymizer.from_pretrained('paper', tmp_path)) is PaperGenerator
    with pytest.raises(ValueError, match=r"released: \['paper', 'small'\]"):
        Anonymizer.from_pretrained('none such', tmp_path)
    save_anonymizer(tmp_path/'small.safetensors', Anonymizer(16, 4, 0))
    with pytest.raises(ValueError, match='not the file released'): Anonymizer.from_pretrained('small', tmp_path)
    (tmp_path/'paper.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match='has no file'): Anonymizer.from_pretrained('paper', tmp_path)


def test_every_anonymizer_in_the_package_can_be_restored():
    for name in released_anonymizers():
        with torch.no_grad(): out = Anonymizer.from_pretrained(name)(torch.rand(2, 3, 40, 40))
        assert bool(out.isfinite().all()), name


# --- D ---

def sphereface_again(state, faces):
    "sphere20a written out with functions, on BGR bytes as OpenCV reads them; tensors in the published order."
    tensors = iter(state.values())
    x = (faces.flip(1)*255 - 127.5)/128

    def conv(x, stride): return F.prelu(F.conv2d(x, next(tensors), next(tensors), stride, 1), next(tensors))
    for units in (1, 2, 4, 1):
        x = conv(x, 2)
        for _ in range(units): x = x + conv(conv(x, 1), 1)
    x = F.linear(x.flatten(1), next(tensors), next(tensors))
    w = next(tensors)
    cos = F.cosine_similarity(x[:, :, None], w[None], dim=1)
    return x, x.norm(dim=1, keepdim=True)*cos


@torch.no_grad()
def test_sphereface_equals_its_second_writing():
    net, faces = SphereFace20(7), torch.rand(2, 3, 112, 96)
    embeddings, logits = sphereface_again(net.state_dict(), faces)
    torch.testing.assert_close(net.embed(faces), embeddings, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(net(faces), logits, atol=1e-4, rtol=1e-4)


RECOGNISERS = {'SphereFace20': (SphereFace20, (112, 96)), 'SmallSphereFace': (SmallSphereFace, (40, 40)),
               'PlainCNN': (PlainCNN, (40, 40))}
ALL_SIZES = {'AlignedSphereFace': (AlignedSphereFace, (64, 64))}  # it warps, so no size is wrong


@pytest.mark.parametrize('name', RECOGNISERS | ALL_SIZES)
def test_every_recogniser_answers_alike(name):
    make, size = (RECOGNISERS | ALL_SIZES)[name]
    net, faces = make(5).eval(), torch.rand(3, 3, *size, requires_grad=True)
    embeddings = net.embed(faces)
    assert embeddings.ndim == 2 and len(embeddings) == 3
    torch.testing.assert_close(net(faces), net.classify(embeddings))
    assert net(faces).shape == (3, 5)
    torch.testing.assert_close(net(faces[1:2]), net(faces)[1:2], atol=1e-4, rtol=1e-4)
    net(faces).sum().backward()
    assert bool((faces.grad.abs().sum((1, 2, 3)) > 0).all())
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize('name', RECOGNISERS)
@pytest.mark.parametrize('faces, error, says', [
    (torch.zeros(1, 3, 112, 96, dtype=torch.uint8), TypeError, 'torch.uint8'),
    (torch.zeros(1, 1, 112, 96), ValueError, r'\(1, 1, 112, 96\)'),
    (torch.zeros(1, 3, 8, 8), ValueError, 'got 8x8'),
])
def test_recognisers_refuse_bad_faces(name, faces, error, says):
    with pytest.raises(error, match=says): RECOGNISERS[name][0](5)(faces)
    with pytest.raises(ValueError, match="at least 1, got 0"): RECOGNISERS[name][0](0)


def test_small_sphereface_treats_a_face_alike_in_every_batch_and_mode():
    net, faces = SmallSphereFace(5), torch.rand(3, 3, 40, 40)
    alone = net.train()(faces[:1])
    torch.testing.assert_close(net(torch.cat([faces[:1], faces*.1]))[:1], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net.eval()(faces)[:1], alone, atol=1e-5, rtol=1e-4)


def test_cosine_similarity_knows_no_length():
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    torch.testing.assert_close(cosine_similarity(a, b), cosine_similarity(7*a, b/3))
    torch.testing.assert_close(cosine_similarity(a, a), torch.ones(4))
    with pytest.raises(ValueError, match=r"\(4, 8\) and \(8,\)"): cosine_similarity(a, b[0])


# --- A ---

def test_losses_and_boxes_are_torchvisions_own():
    "The methods only name the question: the answers are those of torchvision's two modes."
    A, frames = small_detector(3, 96), torch.rand(2, 3, 96, 96)
    targets = [a_box(2), no_boxes()]
    torch.manual_seed(1)
    theirs = A.net.train()(list(frames), targets)
    torch.manual_seed(1)
    assert {k: v.item() for k, v in A.eval()(frames, targets).items()} == {k: v.item() for k, v in theirs.items()}
    with torch.no_grad(): theirs = A.net.eval()(list(frames))
    for mine, other in zip(A.train().detect(frames), theirs):
        assert all(torch.equal(mine[k], other[k]) for k in ('boxes', 'labels', 'scores'))


@pytest.mark.parametrize('targets', [[a_box(), a_box(3)], [a_box(), no_boxes()], [no_boxes(), no_boxes()]])
def test_losses_are_finite_and_reach_every_frame(targets):
    A, frames = small_detector(3, 96), torch.rand(2, 3, 96, 96, requires_grad=True)
    losses = A(frames, targets)
    assert sorted(losses) == ['loss_box_reg', 'loss_classifier', 'loss_objectness', 'loss_rpn_box_reg']
    assert all(v.ndim == 0 and v.isfinite() for v in losses.values())
    sum(losses.values()).backward()
    assert bool((frames.grad.abs().sum((1, 2, 3)) > 0).all())


@pytest.mark.parametrize('size', [64, 160])
def test_small_frames_are_not_resized(size):
    A, frames = small_detector(3, size), torch.rand(2, 3, size, size)
    inside, _ = A.net.transform(list(frames))
    assert inside.image_sizes == [(size, size)]*2
    torch.testing.assert_close(inside.tensors*.25 + .5, frames, atol=1e-6, rtol=1e-6)


def test_boxes_of_other_frames_come_back_in_their_own_pixels():
    A = small_detector(3, 96)
    for found in A.detect(torch.rand(2, 3, 120, 192)):
        assert len(found['boxes']) > 0
        assert found['boxes'].min() >= 0 and found['boxes'][:, 2].max() <= 192 and found['boxes'][:, 3].max() <= 120
        assert found['labels'].min() >= 1 and found['labels'].max() <= 3
        assert bool((found['scores'].diff() <= 0).all())
    assert found['boxes'][:, 2].max() > 96, "boxes were left in the pixels of the scaled frame"


NAMING = dict(small=lambda: small_detector(3, 96), resnet=lambda: resnet_detector(3, 50, 64))


@torch.no_grad()
@pytest.mark.parametrize('name', NAMING)
@pytest.mark.parametrize('size', [(96, 96), (120, 192)])
def test_naming_boxes_is_the_way_from_proposals_to_logits(name, size):
    A, frames, heard = NAMING[name]().eval(), torch.rand(2, 3, *size), {}
    inside, _ = A.net.transform(list(frames))
    hooks = [A.net.roi_heads.register_forward_pre_hook(lambda m, args: heard.update(proposals=args[1])),
             A.net.roi_heads.box_predictor.register_forward_hook(lambda m, args, out: heard.update(logits=out[0]))]
    A.detect(frames)
    for hook in hooks: hook.remove()
    back = [rows*rows.new_tensor([size[1]/w, size[0]/h]*2)
            for rows, (h, w) in zip(heard['proposals'], inside.image_sizes)]
    torch.testing.assert_close(A.classify_boxes(frames, back), heard['logits'], atol=1e-3, rtol=1e-3)


def test_naming_boxes_carries_gradient_and_takes_frames_without_boxes():
    A, frames = small_detector(3, 64), torch.rand(3, 3, 64, 64, requires_grad=True)
    box = torch.tensor([[10., 10, 40, 50]])
    modes, before = [m.training for m in A.modules()], box.clone()
    logits = A.classify_boxes(frames, [box, box[:0], box.repeat(2, 1)])
    assert logits.shape == (3, 4) and torch.equal(box, before)
    F.cross_entropy(logits, torch.tensor([1, 2, 3])).backward()
    assert (frames.grad.abs().sum((1, 2, 3)) > 0).tolist() == [True, False, True]
    assert [m.training for m in A.modules()] == modes
    assert A.classify_boxes(frames, [box[:0]]*3).shape == (0, 4)
    with pytest.raises(ValueError, match='3 frames need as many sets of boxes, got 1'): A.classify_boxes(frames, [box])
    with pytest.raises(ValueError, match='boxes 2 must be finite'): A.classify_boxes(frames, [box, box, box*torch.nan])


@torch.no_grad()
@pytest.mark.parametrize('device, cpu, fast', [('cpu', 'AVX512', True), ('cpu', 'AVX2', False), ('cuda', 'AVX2', True)])
def test_half_precision_is_for_devices_that_are_fast_in_it(monkeypatch, device, cpu, fast):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: cpu)
    monkeypatch.setattr(torch, 'autocast', lambda *args, enabled: (*args, enabled))
    assert bf16_autocast(device) == (device, torch.bfloat16, fast)


@torch.no_grad()
def test_half_precision_stays_inside_the_backbone(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX512')
    backbone, frames = small_detector(3, 64).net.backbone, torch.randn(2, 3, 64, 64)
    features = backbone(frames)
    assert features.dtype == torch.float32 and features.shape == (2, 128, 8, 8)
    plain = backbone.layers(frames)
    assert 0 < (features - plain).abs().mean() < .02*plain.abs().mean()


def test_modes_survive_calls_and_errors():
    A, frames = small_detector(3, 64).eval(), torch.rand(1, 3, 64, 64)
    A.net.roi_heads.train()
    modes = [m.training for m in A.modules()]
    A(frames, [no_boxes()])
    assert not A.detect(frames.requires_grad_())[0]['boxes'].requires_grad
    with pytest.raises(ValueError): A(frames, [a_box(4)])
    with pytest.raises(KeyError), train_mode(list(A.modules()), True): raise KeyError
    assert [m.training for m in A.modules()] == modes
    assert torch.is_grad_enabled()


@pytest.mark.parametrize('target, says', [
    (a_box(4), r'1..3, got torch.int64 \[4\]'), (a_box(0), r'got torch.int64 \[0\]'), (a_box(-1), r'\[-1\]'),
    (a_box() | dict(boxes=torch.tensor([[0., 0, torch.nan, 9]])), 'finite'),
    (a_box() | dict(boxes=torch.tensor([[0., 0, torch.inf, 9]])), 'finite'),
    (a_box() | dict(boxes=torch.tensor([[9., 0, 9, 9]])), 'x1 < x2'),
    (a_box() | dict(boxes=torch.zeros(1, 5)), r'\(k, 4\), got \(1, 5\)'),
    (a_box() | dict(boxes=torch.tensor([[0, 0, 9, 9]])), 'float'),
    (a_box() | dict(labels=torch.tensor([1, 1])), r'1 boxes and labels of shape \(2,\)'),
    (a_box() | dict(labels=torch.tensor([1.])), 'float32'),
    (dict(labels=torch.tensor([1])), r"lacks \['boxes'\]"),
])
def test_poisonous_targets_are_refused(target, says):
    with pytest.raises(ValueError, match=says): small_detector(3, 64)(torch.rand(1, 3, 64, 64), [target])


@pytest.mark.parametrize('frames, error, says', [
    (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, 'torch.uint8'),
    (torch.zeros(3, 64, 64), ValueError, r'\(3, 64, 64\)'),
    (torch.zeros(0, 3, 64, 64), ValueError, r'\(0, 3, 64, 64\)'),
    (torch.full((1, 3, 64, 64), 255.), ValueError, 'from 255 to 255'),
    (torch.full((1, 3, 64, 64), torch.nan), ValueError, 'nan'),
])
def test_bad_frames_are_refused(frames, error, says):
    A = small_detector(3, 64)
    with pytest.raises(error, match=says): A.detect(frames)
    with pytest.raises(error, match=says): A(frames, [no_boxes()]*len(frames))


def test_resnet_takes_imagenet_weights_and_freezes_the_first_stage(tmp_path):
    state = resnet50(weights=None).state_dict()
    torch.save(state, tmp_path/'resnet50.pth')
    A = resnet_detector(21, 50, 64, tmp_path/'resnet50.pth')
    body = A.net.backbone.body
    assert torch.equal(body.layer4[0].conv1.weight, state['layer4.0.conv1.weight'])
    trained = {name.split('.')[0] for name, p in body.named_parameters() if p.requires_grad}
    assert trained == {'layer2', 'layer3', 'layer4'}
    before = {k: v.clone() for k, v in A.state_dict().items()}
    A(torch.rand(1, 3, 64, 96), [a_box(21)])
    assert all(torch.equal(v, before[k]) for k, v in A.state_dict().items()), "a loss changed BatchNorm"
    with pytest.raises(ValueError, match='does not hold a ResNet-101'):
        resnet_detector(21, 101, 64, tmp_path/'resnet50.pth')


def test_resnet_weights_run_no_code(tmp_path):
    class Harm:
        def __reduce__(self): return (tmp_path.joinpath('harm').touch, ())
    torch.save(dict(weight=Harm()), tmp_path/'harmful.pth')
    with pytest.raises(ValueError, match='does not hold a ResNet-50'):
        resnet_detector(21, 50, 64, tmp_path/'harmful.pth')
    assert not (tmp_path/'harm').exists()


# --- all three ---

@pytest.mark.parametrize('make', [
    lambda: Anonymizer(16, 4, 1), lambda: PaperGenerator(8, 1), lambda: SmallSphereFace(5), lambda: PlainCNN(5),
    lambda: small_detector(3, 64)])
def test_weights_survive_a_checkpoint_and_the_seed_decides_them(make):
    torch.manual_seed(3)
    first = make()
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    torch.manual_seed(3)
    again = make().state_dict()
    other = make()
    assert all(torch.equal(v, again[k]) for k, v in first.state_dict().items())
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in first.state_dict().items())
