"""A GPU that is not there: tensors that say they are on `cuda:0`, with their values in main memory.

`PretendedGpu` is a torch function mode. Every torch function that is given tensors of both kinds, or layers of two
precisions, raises `MixedDevices`, as a GPU would; so does reading a value where numpy would. Everything else is
computed on the CPU, in the precision that the runtime chooses for a GPU. What a real one computes is the subject of
`tests/parity/test_cuda.py`.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda:0")
ONE_PRECISION = ("linear", "conv2d", "group_norm", "layer_norm", "batch_norm", "scaled_dot_product_attention", "matmul")
FREE = ("copy_", "__getitem__")  # may be given tensors of both kinds


class MixedDevices(RuntimeError):
    """What a GPU would refuse."""


class OnGpu(Tensor):
    """A tensor that says it is on the GPU. values: what it holds."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "OnGpu":
        layout = {"strides": values.stride(), "storage_offset": values.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, values.size(), **layout, dtype=values.dtype, device=GPU)
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise MixedDevices(f"{function} came past the pretended GPU")


def is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def bare(value: Any) -> Any:
    return value.values if isinstance(value, OnGpu) else value


class PretendedGpu(TorchFunctionMode):
    """Computes for tensors that say they are on the GPU, and refuses what a GPU would refuse. moved: how many came."""

    moved = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        if name == "__get__" and isinstance(args[0], OnGpu):
            return self._attribute(function, *args)
        if name in ("to", "cpu"):
            return self._moved(*args, **({"device": "cpu"} if name == "cpu" else kwargs))
        if kwargs.pop("pin_memory", False) or name == "pin_memory":  # a GPU's affair
            return args[0] if name == "pin_memory" else function(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
        if not there and not is_gpu(kwargs.get("device")):
            return function(*args, **kwargs)
        self._check(name, tensors, there, args)
        if is_gpu(kwargs.get("device")):
            kwargs["device"] = "cpu"
        out = function(*tree_map(bare, args), **tree_map(bare, kwargs))
        same = {id(tensor.values): tensor for tensor in there}  # what changes in place stays the same tensor

        def wrapped(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return same[id(value)] if id(value) in same else OnGpu(value)

        return tree_map(wrapped, out)

    def _check(self, name: str, tensors: list[Tensor], there: list[OnGpu], args: Any) -> None:
        here = [tensor for tensor in tensors if not isinstance(tensor, OnGpu) and tensor.dim()]
        if name in ("numpy", "__array__") or (name == "__getitem__" and not isinstance(args[0], OnGpu)):
            raise MixedDevices(f"{name} of main memory and the GPU")
        if here and there and name not in FREE:
            raise MixedDevices(
                f"{name} of {[tuple(t.shape) for t in there]} there, {[tuple(t.shape) for t in here]} here"
            )
        if name in ONE_PRECISION and len({t.dtype for t in tensors if t.is_floating_point()}) > 1:
            raise MixedDevices(f"{name} of {[t.dtype for t in tensors]}")

    def _moved(self, tensor: Tensor, *where: Any, **more: Any) -> Tensor:
        device, dtype = more.pop("device", None), more.pop("dtype", None)
        more.pop("non_blocking", None)
        for value in where:
            if isinstance(value, Tensor):
                device, dtype = (GPU if isinstance(value, OnGpu) else value.device), value.dtype
            elif isinstance(value, torch.dtype):
                dtype = value
            else:
                device = value
        was = isinstance(tensor, OnGpu)
        goes = was if device is None else is_gpu(device)
        if was != goes:
            more["copy"] = True
            self.moved += goes
        own = bare(tensor)
        out = own.to(device=None if goes or was else device, dtype=dtype or own.dtype, **more)
        return tensor if out is own else OnGpu(out) if goes else out

    def _attribute(self, function: Any, tensor: OnGpu, *more: Any) -> Any:
        what = getattr(getattr(function, "__self__", None), "__name__", "")
        if what in ("is_cuda", "is_cpu", "device"):
            return {"is_cuda": True, "is_cpu": False, "device": GPU}[what]
        value = function(tensor.values if what in ("T", "mT", "real", "nbytes") else tensor, *more)
        return OnGpu(value) if isinstance(value, Tensor) and not isinstance(value, OnGpu) else value


class _Nothing:
    """A stream or an event, of which there are none."""

    def __init__(self, *_: Any) -> None: ...
    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *_: object) -> None: ...
    def wait_stream(self, other: Any) -> None: ...
    def record(self, stream: Any = None) -> None: ...
    def query(self) -> bool:
        return True


def pretend(patch: pytest.MonkeyPatch, memory_bytes: int = 8 * 2**30) -> None:
    """Let torch answer as if there were a GPU of this size, and draw its noise from the CPU's generators."""
    from torchsde._brownian import brownian_interval

    from models.sampling import noise

    def drawn(size: Any, dtype: Any, device: Any, seed: int) -> Tensor:
        values = torch.randn(size, dtype=dtype, generator=torch.Generator().manual_seed(int(seed)))
        return OnGpu(values) if is_gpu(device) else values

    generator = noise.generator
    patch.setattr(noise, "generator", lambda seed, device="cpu": generator(seed + is_gpu(device)))
    patch.setattr(brownian_interval, "_randn", drawn)
    patch.setattr(OnGpu, "record_stream", lambda self, stream: None, raising=False)
    answers = {
        "_lazy_init": None,
        "mem_get_info": (memory_bytes, memory_bytes),
        "get_device_capability": (8, 6),
        "empty_cache": None,
        "current_stream": _Nothing(),
        "stream": _Nothing(),
    }
    for name, answer in answers.items():
        patch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    patch.setattr(torch.cuda, "Stream", _Nothing)
    patch.setattr(torch.cuda, "Event", _Nothing)
