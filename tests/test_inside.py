"Looking inside M shows M itself, and a difference shows what was changed and not the noise."
import numpy as np
import pytest
import torch

from faceanon.data.synthetic import make_face
from faceanon.data.synthetic_people import ACTIONS, FAR_ACTIONS, NEAR_ACTIONS, PEOPLE
from faceanon.faces import to_float
from faceanon.interactive import inside, inside_widgets
from faceanon.models.anonymizer import Anonymizer, PaperGenerator
from faceanon.models.baselines import blur8, mask, no_change

FACES = to_float(torch.stack([make_face(person, 0) for person in PEOPLE['val_unseen'][:6]]))


@pytest.fixture(scope='module')
def nets():
    names = ('learned-0', 'learned-1', 'paper_objective-0')
    return {name: Anonymizer.from_pretrained(f'small-{name}') for name in names}


@pytest.mark.parametrize('name', ['learned-0', 'paper_objective-0'])
@pytest.mark.parametrize('faces', [FACES, torch.rand(2, 3, 24, 52)], ids=['faces', 'another size'])
def test_the_walk_is_m_bit_for_bit(nets, name, faces):
    M, before = nets[name], torch.get_rng_state()
    stages = inside.layer_stages(M, faces, 7)
    assert torch.equal(torch.get_rng_state(), before), "a look inside must not shift anybody's noise"
    torch.manual_seed(7)
    with torch.no_grad():
        assert stages['M(f)'].equal(M(faces))
        assert stages['code'].equal(M.mean_code(faces))
        assert M.decode(stages['code + noise']).equal(stages['M(f)'])
        x = stages['in 5']
        for i, layer in enumerate(M.encoder[3:], 4): x = layer(stages[f'in {i - 1}'])
    assert x.equal(stages['in 5'])


def test_the_walk_through_the_m_that_draws_is_m_bit_for_bit():
    M, before = Anonymizer.from_pretrained('world-drawn-0'), torch.get_rng_state()
    stages = inside.layer_stages(M, FACES, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    with torch.no_grad(): assert stages['M(f)'].equal(M(FACES))
    told = torch.cat([stages[name].flatten(1) for name in ('whole', 'map')], 1)
    assert told.equal(M.mean_code(FACES)[:, M.who:].detach())
    assert stages['who'].flatten(1).shape[1] == M.who and abs(stages['who'].std() - 1) < .2


def test_one_noise_for_all_and_another_for_another_seed(nets):
    M = nets['learned-0']
    alike = inside.anonymize_same_noise(M, FACES[[0, 0, 0]], 3)
    assert alike[0].equal(alike[1]) and alike[0].equal(alike[2])
    assert not alike.equal(inside.anonymize_same_noise(M, FACES[[0, 0, 0]], 4))
    each = inside.layer_stages(M, FACES[[0, 0]], 3)['M(f)']
    assert (each[0] - each[1]).abs().mean() > .01, "in use every face has its own noise"


def test_the_mean_over_faces_takes_no_noise_along(nets):
    "What is subtracted must not be the noise itself, or the channel would look quiet."
    plain, noisy = (next(v for v in inside.layer_views(inside.layer_stages(nets['learned-0'], FACES, 1), 0, True)
                         if v['name'] == name)['colours'] for name in ('code', 'code + noise'))
    assert abs(plain - noisy).mean() > .05


def test_ends_of_a_path_are_the_two_nets(nets):
    start, end = nets['learned-0'], nets['paper_objective-0']
    for position, whole in ((0, start), (1, end)):
        M = inside.interpolate(start, end, position)
        assert M.noise == whole.noise
        assert all(torch.equal(v, whole.state_dict()[k]) for k, v in M.state_dict().items())
        assert inside.anonymize_same_noise(M, FACES).equal(inside.anonymize_same_noise(whole, FACES))
    half = inside.interpolate(start, end, .5)
    for k, v in half.state_dict().items():
        torch.testing.assert_close(v, (start.state_dict()[k] + end.state_dict()[k])/2)
    with torch.no_grad(): half.to_code.weight.zero_()
    assert start.to_code.weight.abs().sum() > 0, "the ends are not written to"


@pytest.mark.parametrize('other, position, error, text', [
    (Anonymizer(16), .5, ValueError, r"other shapes \(start, end\): \{'width': \(24, 16\)\}"),
    (Anonymizer(blocks=1), .5, ValueError, r"\{'blocks': \(2, 1\)\}"),
    (PaperGenerator(8, 1), .5, TypeError, "got PaperGenerator"),
    (Anonymizer(), -.1, ValueError, r"in \[0, 1\], got -0.1"),
    (Anonymizer(), float('nan'), ValueError, "got nan"),
])
def test_what_has_no_path_is_refused(other, position, error, text):
    with pytest.raises(error, match=text): inside.interpolate(Anonymizer(), other, position)


def test_half_way_between_strangers_is_worse_than_either(nets):
    made = inside.interpolation_pictures(nets['learned-0'], nets['learned-1'], FACES, [0, .5, 1])
    start, middle, end = ((made[:, i] - FACES).abs().mean().item() for i in range(3))
    assert middle > 1.2*max(start, end)


def test_painting_nothing_changes_nothing_and_paint_stays_in_its_box(nets):
    M = nets['learned-0']
    for same in (inside.paint_square(FACES, .5, .5, 0, (1, 0, 0)), inside.swap_region(FACES, FACES, 'eyes')):
        assert same.equal(FACES)
        assert inside.anonymize_same_noise(M, same).equal(inside.anonymize_same_noise(M, FACES))
    painted = inside.paint_square(FACES, .25, .5, .25, (1, 0, 0))
    changed = (painted != FACES).any(1)
    assert changed[:, 15:25, 5:15].all() and changed.sum() == len(FACES)*100
    assert torch.equal(painted[:, :, 15:25, 5:15], torch.tensor([1., 0, 0])[:, None, None].expand(6, 3, 10, 10))
    made = inside.anonymize_same_noise(M, torch.cat([FACES[:1], painted[:1]]))
    assert 0 < inside.share_inside(made[:1], made[1:], (5, 15, 15, 25)) < 1


def test_occlusion_finds_the_only_place_a_method_looks_at():
    class Corner(torch.nn.Module):
        "Paints the whole picture in the mean colour of the upper right corner."
        def mean_code(self, faces): return faces
        def add_noise(self, code): return code
        def decode(self, code): return code[:, :, :8, -8:].mean((2, 3), keepdim=True).expand_as(code)
    seen = inside.occlusion(Corner(), FACES[0], side=.2, steps=5)
    assert seen.shape == (5, 5) and seen[0, 4] > 0
    assert np.count_nonzero(seen) == 1


@pytest.mark.parametrize('action', NEAR_ACTIONS)
def test_what_survives(action):
    pair = inside.object_pair(PEOPLE['val_unseen'][0], action)
    def left(method):
        return inside.object_survival(pair,
                                      inside.apply_with_seed(lambda f: method(f, inside.full_image_boxes(f)), pair))
    original, hidden, dim, blurred = left(no_change), left(mask), left(lambda f, _: .5*f), left(blur8)
    assert original['kept'] == pytest.approx(1) == original['alike']
    assert original['contrast'] == original['contrast_after'] > .05
    assert hidden['kept'] == hidden['alike'] == hidden['contrast_after'] == 0
    assert dim['kept'] == pytest.approx(.5) and dim['alike'] == pytest.approx(1)
    assert 0 < blurred['kept'] < blurred['alike'] < 1
    turned = inside.object_survival(pair, 1 - pair)
    assert turned['kept'] == pytest.approx(-1), "an object in opposite colours has not survived"


def test_only_the_object_differs_within_a_pair():
    for action in NEAR_ACTIONS:
        for person in PEOPLE['val_unseen'][:4]:
            empty, full = inside.object_pair(person, action)
            assert .005 < (empty != full).any(0).float().mean() < .5
            other = inside.object_pair(person, NEAR_ACTIONS[0])[0]
            assert empty.equal(other), "an empty hand looks alike whatever it held"
    for action in FAR_ACTIONS:
        with pytest.raises(ValueError, match='action must be one of'): inside.object_pair(0, action)
    assert {make_face(2, 0, action=a).numpy().tobytes() for a in ACTIONS} >= {make_face(2, 0).numpy().tobytes()}


def test_a_probe_finds_what_is_linear_and_nothing_in_noise():
    labels = torch.arange(8).repeat(60)
    clear = torch.randn(8, 30)[labels] + .3*torch.randn(480, 30)
    for features, low, high in ((clear, .95, 1), (torch.randn(480, 30), 0, .3)):
        parts = [(features[part], labels[part]) for part in (slice(240), slice(240, 320), slice(320, 480))]
        assert low <= (inside.linear_probe(parts) == labels[320:]).float().mean() <= high


def widgets(nets):
    methods = {'learned': nets['learned-0'], 'mask': lambda f: mask(f, inside.full_image_boxes(f))}
    pairs = {'seeds': (('0', nets['learned-0']), ('1', nets['learned-1'])),
             'objectives': (('ours', nets['learned-0']), ("paper's", nets['paper_objective-0']))}
    M = nets['learned-0']
    return dict(layers=inside_widgets.layers_widget(M, FACES), paint=inside_widgets.paint_widget(M, FACES),
                swap=inside_widgets.swap_widget(M, FACES), blend=inside_widgets.blend_widget(pairs, FACES),
                survival=inside_widgets.survival_widget(methods))


def other_value(control):
    if hasattr(control, 'options'): return next(v for _, v in control._options_full if v != control.value)
    if isinstance(control.value, bool): return not control.value
    return control.min if control.value != control.min else control.min + 2*control.step


@pytest.mark.parametrize('name', ['layers', 'paint', 'swap', 'blend', 'survival'])
def test_every_control_changes_what_is_shown_and_back(nets, name):
    controls, image = widgets(nets)[name].children
    for control in controls.children:
        before, value = image.value, control.value
        control.value = other_value(control)
        assert image.value != before, control.description
        control.value = value
        assert image.value == before, f"{control.description}: the same values must give the same picture"
