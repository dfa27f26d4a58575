"The fast forms of M and of cropping equal the plain ones; Triton's kernels run on the CPU in its interpreter."
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from faceanon.faces import crop_faces, paste_faces, to_float, to_uint8
from faceanon.models.anonymizer import Anonymizer, PaperGenerator
from faceanon.models.batched_crops import crop_batch, paste_batch
from faceanon.models.fast_generator import fast_anonymizer, fast_paper_generator, normalize_plain

ROOT = Path(__file__).resolve().parents[1]

# cells of (side, channels), border of the next layer, ReLU or the sum of a block
KERNELS = [(1, 64, 'mirror', False), (1, 128, 'mirror', True), (2, 64, 'after', True), (4, 16, 'none', True),
           (2, 16, 'cells', True)]
COMPARE = '''
import json, sys, torch
from faceanon.models.fast_generator import normalize_plain, normalize_triton
torch.manual_seed(0)
for side, channels, border, relu in json.loads(sys.argv[1]):
    y = 3 + 2*torch.randn(2, 8, 12, side*side*channels)
    plus = torch.randn(2, 8*side + 2, 12*side + 2, channels) if border == 'mirror' else None
    want = normalize_plain(y, channels, side, relu, plus, border)
    got = normalize_triton(y, channels, side, relu, plus, border, rows=32, loop=2)
    print((got - want).abs().max().item(), got.shape == want.shape)
'''


@pytest.mark.skipif(find_spec('triton') is None, reason="triton is not installed")
def test_kernels_equal_the_plain_form():
    env = os.environ | dict(TRITON_INTERPRET='1', CUDA_VISIBLE_DEVICES='')
    done = subprocess.run([sys.executable, '-c', COMPARE, json.dumps(KERNELS)], cwd=ROOT, env=env, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == len(KERNELS)
    assert all(float(apart) < 1e-4 and same == 'True' for apart, same in rows), rows


@pytest.mark.parametrize('blocks', [0, 1, 3])
@pytest.mark.parametrize('size', [(16, 16), (32, 20)])
@torch.no_grad()
def test_the_fast_paper_generator_draws_the_same(blocks, size):
    M, faces = PaperGenerator(8, blocks).eval(), torch.rand(2, 3, *size)
    before = {k: v.clone() for k, v in M.state_dict().items()}
    apart = (fast_paper_generator(M, torch.float32)(faces) - M(faces)).abs().max()
    assert apart < 1e-4
    assert all(torch.equal(v, before[k]) for k, v in M.state_dict().items())


@pytest.mark.parametrize('shape', [(2, 3, 30, 32), (2, 1, 32, 32), (3, 32, 32), (1, 3, 4, 4)])
def test_faces_of_another_shape_are_refused(shape):
    draw = fast_paper_generator(PaperGenerator(8, 1))
    with pytest.raises(ValueError, match=r'must be \(n, 3, h, w\)'): draw(torch.rand(shape))


def test_an_unknown_border_is_refused():
    with pytest.raises(KeyError): normalize_plain(torch.rand(1, 4, 4, 8), 8, border='wrapped')


@torch.no_grad()
def test_the_fast_anonymizer_takes_its_noise():
    M, faces = Anonymizer(8, 4).eval(), torch.rand(2, 3, 40, 40)
    torch.nn.init.normal_(M.to_code.weight, 0, .2)
    mean = M.mean_code(faces)
    noise = torch.randn_like(mean)
    want, draw = M.decode(mean + M.noise*noise), fast_anonymizer(M, torch.float32)
    assert (draw(faces, noise) - want).abs().max() < 1e-5
    assert (draw(faces, -noise) - want).abs().max() > 1e-3


@pytest.mark.parametrize('seed', range(3))
def test_batched_crops_equal_those_one_by_one(seed):
    g = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (3, 3, 50, 70), generator=g, dtype=torch.uint8)
    corner = torch.stack([torch.randint(0, limit, (9,), generator=g) for limit in (3, 40, 20)], 1)
    sides = torch.randint(2, 30, (9, 2), generator=g)  # on a CPU torch resizes a picture one pixel wide wrongly
    boxes = torch.cat([corner, corner[:, 1:] + sides], 1)
    size = (8, 24, 41)[seed]
    faces = crop_batch(frames, boxes, size, 32)
    assert (faces - crop_faces(to_float(frames), boxes, size)).abs().max() < 1e-5
    drawn = torch.rand(9, 3, size, size, generator=g)
    got, want = paste_batch(frames, drawn, boxes, 32), to_uint8(paste_faces(to_float(frames), drawn, boxes))
    assert (got.int() - want.int()).abs().max() <= 1


def test_the_committed_rows_stand_beside_their_ceiling():
    found = json.loads((ROOT/'figures'/'data'/'gpu.json').read_text(encoding='utf-8'))
    rows = {(r['part'], r['form']): r for r in found['rows']}
    ceiling = rows['ceiling', 'matmul']['tflops']
    for (part, _), row in rows.items():
        if 'share_of_ceiling' not in row: continue
        flops = rows[part.removesuffix('_compiled'), 'size']['gflops_a_face']/1e3
        assert row['share_of_ceiling'] == pytest.approx(row['images_per_s']*flops/ceiling, rel=1e-9)
        assert row['images_per_s'] == pytest.approx(1000*row['batch']/row['ms'], rel=1e-9)
    assert not rows.keys() & {(b['part'], b['form']) for b in found['blanks']}
    assert all(b['reason'] for b in found['blanks'])
