"The smallest game that still plays: a step takes a tenth of a second. Run as a script it trains until it is killed."
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from faceanon.config import get_preset, seed_everything
from faceanon.data.synthetic import make_face, make_frame
from faceanon.data.synthetic_people import ACTIONS, PEOPLE
from faceanon.models.action_detector import small_detector
from faceanon.models.anonymizer import Anonymizer
from faceanon.models.discriminator import LatentClassifier, SmallSphereFace
from faceanon.training import players
from faceanon.training.checkpoints import run_training

CFG = get_preset('toy', face_size=32, frame_size=96, steps=3, d_pool=2, d_restart=5, r_steps=1, checkpoint_every=2)


@cache
def toy_data(cfg=CFG):
    people = PEOPLE['train'][:cfg.people]
    frames, targets = zip(*[make_frame(people, i, cfg.frame_size) for i in range(8)])
    faces = [make_face(p, i, cfg.face_size) for p in people for i in range(cfg.faces_per_person)]
    ids = torch.arange(cfg.people).repeat_interleave(cfg.faces_per_person)
    return players.TrainData(torch.stack(faces), ids, torch.stack(frames), list(targets))


def toy_nets(cfg=CFG, loudness=1.):
    "`loudness` turns up the code of M, which is silent at first."
    seed_everything(cfg.seed)
    nets = players.Networks(
        Anonymizer(cfg.m_width, blocks=1, noise=cfg.m_noise),
        nn.ModuleList(SmallSphereFace(cfg.people, cfg.d_width) for _ in range(cfg.d_pool)),
        small_detector(len(ACTIONS), cfg.frame_size, 8), LatentClassifier(cfg.people, width=16))
    with torch.no_grad(): nets.M.to_code.weight *= loudness
    return nets


def seeded(seed): return torch.Generator().manual_seed(seed)


def toy_batch(cfg=CFG, seed=0): return players.sample_batch(toy_data(), cfg, seeded(seed))


def weights(nets): return {name: [p.detach().clone() for p in net.parameters()] for name, net in vars(nets).items()}


def same(mine, theirs): return all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def changed(nets, before): return ''.join(name for name, now in weights(nets).items() if not same(now, before[name]))


if __name__ == '__main__':
    torch.set_num_threads(1)
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    cfg = replace(CFG, steps=steps)
    kept = False
    for _ in run_training(folder, toy_nets(cfg), toy_data(), cfg):
        if kept:  # a step further than the checkpoint
            print('killed here', flush=True)
            time.sleep(3600)
        kept = (folder/'last.safetensors').exists()
