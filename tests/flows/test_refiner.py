"""Refiners through the real path with the tiny models. measure_refiner.py measures more pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from models.sdxl import load_checkpoint
from tests.flows.darkroom import Darkroom
from tests.flows.measure_refiner import SD15, WAYS, XL, figures

FEW = {"prompt": "a red circle on a cyan background", "overwrite_step": 6, "seed": 3}


def values(room: Darkroom, **asked: Any) -> np.ndarray:
    return np.asarray(room.make(**FEW | asked)[0].convert("RGB"), dtype=int)


@contextmanager
def counted(room: Darkroom) -> Iterator[dict[str, int]]:
    """Count the calls of the UNets of both checkpoints."""
    calls: dict[str, int] = {}
    removed = []
    for name in ("focal-tiny-sdxl.safetensors", XL, SD15):
        model = load_checkpoint(room.bench.runtime.folders.path("checkpoints", name), room.bench.runtime.residency)[0]
        calls[name] = 0
        with model.use() as unet:

            def count(*_: Any, name: str = name) -> None:
                calls[name] += 1

            removed.append(unet.register_forward_pre_hook(count))
    yield calls
    for hook in removed:
        hook.remove()


def test_a_refined_picture_shows_what_was_asked_and_differs_in_detail(room: Darkroom) -> None:
    report = figures(room, 2, {name: WAYS[name] for name in ("no refiner", "joint")})
    assert (report["joint"].background, report["joint"].colour) == (1.0, 1.0)
    assert 0.5 < report["joint"].changed < 20
    assert report["joint"].psnr_to_drawing > report["no refiner"].psnr_to_drawing - 1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, (6, 0, 0)),
        ({"refiner_model": XL, "overwrite_switch": 2}, (3, 3, 0)),
        ({"refiner_model": XL, "overwrite_switch": 2, "refiner_swap_method": "separate"}, (2, 4, 0)),
        ({"refiner_model": XL, "overwrite_switch": 2, "refiner_swap_method": "vae"}, (2, 4, 0)),
        ({"refiner_model": SD15, "overwrite_switch": 4}, (4, 0, 2)),
        ({"refiner_model": XL, "refiner_switch": 0.1}, (4, 2, 0)),  # 3 of the mode's 30 steps, although 6 are made
        ({"refiner_model": XL, "overwrite_switch": 6}, (6, 0, 0)),
    ],
)
def test_the_switch_is_at_the_exact_step(room: Darkroom, asked: dict[str, Any], expected: tuple[int, ...]) -> None:
    """With guidance 1 there is one call per evaluation; no other picture has these seeds."""
    with counted(room) as calls:
        values(room, guidance_scale=1.0, seed=1000 + len(str(asked)), **asked)
    assert tuple(calls.values()) == expected


def test_switch_1_is_no_refiner_bit_by_bit(room: Darkroom) -> None:
    plain = values(room)
    assert np.array_equal(values(room, refiner_model=XL, refiner_switch=1.0), plain)
    assert not np.array_equal(values(room, refiner_model=XL, overwrite_switch=3), plain)
