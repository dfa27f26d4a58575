"A device that computes on the CPU, is as far away as a GPU, and counts how often the host waits for it."
import contextlib
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import faceanon

DEVICE = torch.device('meta')  # torch lets its tensors be imitated where no GPU is
SOURCES = {name: str(Path(module.__file__).parent)
           for name, module in dict(ours=faceanon, torchvision=torchvision).items()}
# their answer, or its size, is known to the host only when the device has come so far
WAITING = {'aten::_local_scalar_dense', 'aten::nonzero', 'aten::nonzero_numpy', 'aten::masked_select', 'aten::equal',
           'aten::_unique2', 'aten::unique_dim', 'aten::unique_consecutive', 'aten::bincount',
           'aten::repeat_interleave', 'torchvision::nms'}


class Far(torch.Tensor):
    "A tensor on the device."
    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, strides=held.stride(), dtype=held.dtype,
                                                   device=DEVICE)

    def __init__(self, held): self.held = held

    def __repr__(self): return f'Far({self.held})'

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        raise RuntimeError(f"{op} outside of `counting_waits`")


def far(value):
    "Tensors, and tensors in containers, on the device."
    return tree_map(lambda t: Far(t) if isinstance(t, torch.Tensor) and not isinstance(t, Far) else t, value)


def near(value): return tree_map(lambda t: t.held if isinstance(t, Far) else t, value)


def move(net):
    "The network is on the device."
    for layer in net.modules():
        for name, p in layer._parameters.items():
            if p is not None: layer._parameters[name] = nn.Parameter(Far(p.detach()), p.requires_grad)
        for name, b in layer._buffers.items():
            if b is not None: layer._buffers[name] = Far(b)
    return net


def caller():
    "Whose line asked for what is happening: `ours` or `torchvision`, and the line."
    frame = sys._getframe(1)
    while frame := frame.f_back:
        for name, folder in SOURCES.items():
            if frame.f_code.co_filename.startswith(folder):
                return name, f'{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{frame.f_lineno}'
    return 'others', ''


@dataclass
class Waits:
    "Who waited, and in which line."
    lines: Counter = field(default_factory=Counter)

    def note(self, what): self.lines[(*caller(), what)] += 1

    def of(self, name): return sum(count for (whose, *_), count in self.lines.items() if whose == name)


class _Device(TorchDispatchMode):
    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = op._schema.name
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        away = [isinstance(t, Far) for t in tensors]
        asked = kwargs.get('device')
        if not any(away) and asked != DEVICE: return op(*args, **kwargs)
        if asked == DEVICE: kwargs['device'] = torch.device('cpu')
        if name == 'aten::_to_copy' and asked is not None and (asked == DEVICE) != away[0]:
            if asked != DEVICE or not kwargs.get('non_blocking'): self.waits.note('copy')
            made = op(*near(args), **near(kwargs))
            made = made.clone() if made is near(args[0]) else made
            return Far(made) if asked == DEVICE else made
        if name == 'aten::copy_' and away[0] != away[1]:
            if not (away[0] and (kwargs.get('non_blocking') or len(args) > 2 and args[2])): self.waits.note('copy')
            op(*near(args), **near(kwargs))
            return args[0]
        self._check(name, args, tensors, away)
        made = op(*near(args), **near(kwargs))
        if name.endswith('_') and isinstance(args[0], Far): return args[0]
        return far(made)

    def _check(self, name, args, tensors, away):
        if name in WAITING: self.waits.note(name)
        indices = args[1] if name.startswith('aten::index') and isinstance(args[1], (list, tuple)) else ()
        indices = [i for i in indices if i is not None]
        for index in indices:
            if not isinstance(index, Far): self.waits.note('index from the host')
        one = name.startswith('aten::index_put') and args[2].numel() == 1  # filled by a mask
        if any(i.dtype in (torch.bool, torch.uint8) for i in indices) and not one: self.waits.note('index by a mask')
        apart = [t for t, there in zip(tensors, away) if not there and t.ndim and not any(t is i for i in indices)]
        if apart: raise RuntimeError(f"{name}: tensors on two devices")


class _Literals(TorchFunctionMode):
    "Numbers of the host become tensors of the device: a copy."
    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.new_tensor and isinstance(args[0], Far):
            kwargs = dict(dtype=args[0].dtype) | kwargs | dict(device=DEVICE)
            function, args = torch.tensor, args[1:]
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get('device') or 'cpu') == DEVICE:
            if not isinstance(args[0], Far):
                self.waits.note('number from the host')
                return Far(function(*args, **kwargs | dict(device='cpu')))
        if function is torch.Tensor.tolist and isinstance(args[0], Far):
            self.waits.note('tolist')
            return args[0].held.tolist()
        return function(*args, **kwargs)


@contextlib.contextmanager
def counting_waits():
    "Inside, the device works; what is yielded counts. Without autocast, which torch has for real devices only."
    waits = Waits()
    plain = mock.patch.object(torch, 'autocast', lambda *args, **options: contextlib.nullcontext())
    with plain, _Literals(waits), _Device(waits): yield waits
