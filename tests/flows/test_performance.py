"""Distilled modes and the style LoRA through the real path. Full counts: measure_performance.py, measure_lora.py."""

import pytest

from graphs.known_files import KNOWN_FILES
from graphs.performance import PERFORMANCES
from models.tiny.train_lora import MODES as RECIPES
from tests.flows.darkroom import Darkroom
from tests.flows.measure_lora import lora_figures
from tests.flows.measure_performance import MODES, asked_without, share

COUNT = 3


@pytest.mark.parametrize("mode", MODES)
def test_a_distilled_mode_shows_what_was_asked_for_in_its_few_steps(room: Darkroom, mode: str):
    figures = share(room, COUNT, 31, {"performance": mode})
    assert figures["right"] >= 2 / 3, figures


def test_lightning_without_its_lora_is_less_clean(room: Darkroom):
    given, without = (share(room, COUNT, 31, asked) for asked in ({"performance": MODES[1]}, asked_without(MODES[1])))
    assert given["fine"] > without["fine"], (given, without)


def test_the_style_grows_with_its_weight_and_is_gone_at_zero(room: Darkroom):
    figures = lora_figures(room, 2, weights=(0.0, 0.5, 1.0), overwrite_step=10)
    none, half, all_of_it = figures.values()
    assert none["largest change"] == 0.0
    assert none["saturation"] > 1.5 * half["saturation"] > 1.5 * 1.2 * all_of_it["saturation"], figures
    assert 0.0 < half["mean change"] < all_of_it["mean change"], figures


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipe_trains_for_the_sampling_that_the_mode_forces(recipe: str):
    (mode,) = [
        mode for mode in PERFORMANCES.values() if mode.distilled and recipe in KNOWN_FILES[mode.distilled.role].tiny
    ]
    trained = RECIPES[recipe]
    assert (trained.scheduler, trained.steps, trained.weight) == (
        mode.distilled.scheduler,
        mode.steps,
        mode.distilled.weight,
    )
    assert trained.middle == (mode.distilled.sampler == "dpmpp_sde_gpu")
    assert trained.stochastic == (mode.distilled.sampler != "euler")
