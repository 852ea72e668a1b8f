"""Controls during a run: when they act, on which branches, how much, and that several add up."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.control.apply import Control, controlled, controlled_together, fitted_hint
from models.control.controlnet import softened
from models.control.model import ControlModel, load_control
from models.inpaint.engine import InpaintEngine
from models.memory import Residency
from models.sampling.areas import Area
from models.sampling.conditions import NEGATIVE, POSITIVE, Frame, prepare, share_controls
from models.sampling.denoiser import Guidance, GuidedDenoiser
from models.sampling.parameterization import discrete
from models.sampling.run import sample
from models.sampling.schedules import denoise_schedule
from models.sampling.stem import WithStem
from models.sdxl import Model, load_checkpoint
from models.unet import Injections
from tests.parity.control_reference import random_control
from tests.parity.random_sdxl import TINY, write_checkpoint
from tests.unit.models.sampling.stand_in import normal

EPS = discrete()
SIDE = 8
X = normal(3, (1, 4, SIDE, SIDE))
WIDTHS = TINY.text_l[0] + TINY.text_g[0], TINY.text_g[0]


class Recorder:
    """A real UNet that remembers what was added to each call."""

    def __init__(self, unet: Any) -> None:
        self.unet, self.prepare = unet, unet.prepare
        self.calls: list[tuple[tuple[Any, ...], Injections | None]] = []

    def __call__(self, *args: Any, freeu: Any = None, injections: Injections | None = None) -> Tensor:
        self.calls.append((args, injections))
        return self.unet(*args, injections=injections)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, ControlModel]:
    folder: Path = tmp_path_factory.mktemp("control")
    write_checkpoint(folder / "base.safetensors", TINY)
    save_file(random_control(TINY), folder / "control.safetensors")
    residency = Residency()
    return load_checkpoint(folder / "base.safetensors", residency)[0], load_control(
        folder / "control.safetensors", residency
    )


@pytest.fixture
def recorder(loaded: tuple[Model, ControlModel]) -> Iterator[Recorder]:
    with torch.inference_mode(), loaded[0].use() as unet:
        yield Recorder(unet)


def conditioning(seed: int) -> list[list[Any]]:
    return [[normal(seed, (1, 77, WIDTHS[0])), {"pooled_output": normal(seed + 1, (1, WIDTHS[1]))}]]


def picture(seed: int) -> Tensor:
    return torch.rand(1, 8 * SIDE, 8 * SIDE, 3, generator=torch.Generator().manual_seed(seed))


def denoiser(loaded: tuple[Model, ControlModel], network: Any, positive: list, negative: list) -> GuidedDenoiser:
    adm = loaded[0].unet.sizes.adm_channels
    frame = Frame(SIDE, SIDE, adm, EPS, torch.device("cpu"), torch.float32)
    first, second = prepare(POSITIVE, positive, frame, None), prepare(NEGATIVE, negative, frame, None)
    second = share_controls(second, first, Area(SIDE, SIDE, 0, 0))
    return GuidedDenoiser(network, EPS, second + first, Guidance(4.0), model=loaded[0])


def test_softness_reduces_the_finest_outputs_most_and_leaves_the_middle_alone() -> None:
    expected = [0.75, 0.77778, 0.80556, 0.83333, 0.86111, 0.88889, 0.91667, 0.94444, 0.97222, 1]
    assert [softened(i, 9, 0.25) for i in range(10)] == pytest.approx(expected, abs=1e-5)
    assert [softened(i, 9, 0.0) for i in range(10)] == [1.0] * 10


def test_a_control_acts_until_its_share_of_the_run_has_passed(loaded, recorder: Recorder) -> None:
    """30 Karras steps, stop 0.5: 14 steps (Fooocus behaviour §11.3)."""
    control = Control(loaded[1], picture(1), 1.0, end=0.5)
    positive, negative = controlled_together((conditioning(10), conditioning(20)), control)
    guided = denoiser(loaded, recorder, positive, negative)
    for sigma in denoise_schedule("karras", EPS, 30)[:-1]:
        guided(X, sigma)
    acts = [injections is not None for _, injections in recorder.calls]
    assert acts == [True] * 14 + [False] * 16


def test_both_branches_share_one_call_and_get_what_the_network_says(loaded, recorder: Recorder) -> None:
    control = Control(loaded[1], picture(1), 0.7, softness=0.25)
    positive, negative = controlled_together((conditioning(10), conditioning(20)), control)
    denoiser(loaded, recorder, positive, negative)(X, 2.0)
    ((x, timesteps, _, y), injections) = recorder.calls[0]
    assert len(recorder.calls) == 1
    assert injections is not None
    context = torch.cat((negative[0][0], positive[0][0]))
    with loaded[1].network(loaded[0]).use() as network:
        features = network.read_hint(picture(1).movedim(-1, 1))
        outputs, middle = network(x, timesteps, context, y, features)
    for index, output in enumerate(outputs):
        torch.testing.assert_close(injections.skips[index], output * 0.7 * (1 - 0.25 * (1 - index / 9)))
    torch.testing.assert_close(injections.middle, middle * 0.7)


def test_controls_that_are_added_one_after_another_sum_up(loaded, recorder: Recorder) -> None:
    found = []
    for seeds in ((1,), (2,), (1, 2)):
        both = [conditioning(10), conditioning(20)]
        for seed in seeds:
            both = controlled_together(both, Control(loaded[1], picture(seed), 1.0))
        denoiser(loaded, recorder, *both)(X, 2.0)
        injections = recorder.calls[-1][1]
        assert injections is not None
        found.append(injections)
    first, second, sum_ = found
    for a, b, c in zip(first.skips, second.skips, sum_.skips, strict=True):
        assert a is not None
        torch.testing.assert_close(c, a + b)
    torch.testing.assert_close(sum_.middle, first.middle + second.middle)
    assert len(recorder.calls) == 3


def test_a_control_of_the_positive_prompt_may_steer_the_negative_one_too(loaded, recorder: Recorder) -> None:
    control = Control(loaded[1], picture(1), 1.0)
    for both_branches, steered in ((True, [True]), (False, [False, True])):
        recorder.calls.clear()
        positive = controlled(conditioning(10), control, both_branches)
        denoiser(loaded, recorder, positive, conditioning(20))(X, 2.0)
        assert [injections is not None for _, injections in recorder.calls] == steered


def test_a_negative_prompt_with_a_control_of_its_own_keeps_it(loaded) -> None:
    frame = Frame(SIDE, SIDE, loaded[0].unet.sizes.adm_channels, EPS, torch.device("cpu"), torch.float32)
    own = Control(loaded[1], picture(2), 1.0)
    positive = prepare(POSITIVE, controlled(conditioning(10), Control(loaded[1], picture(1), 1.0), True), frame, None)
    negative = prepare(NEGATIVE, controlled(conditioning(20), own, False), frame, None)
    assert share_controls(negative, positive, Area(SIDE, SIDE, 0, 0))[0].control is negative[0].control


def test_an_inpaint_stem_and_a_control_act_together(loaded, recorder: Recorder) -> None:
    stem = normal(5, (1, TINY.width, SIDE, SIDE))
    recorder.sizes, recorder.emb_weight = recorder.unet.sizes, recorder.unet.emb_weight  # type: ignore[attr-defined]
    positive = controlled(conditioning(10), Control(loaded[1], picture(1), 1.0), True)
    denoiser(loaded, WithStem(recorder, stem), positive, conditioning(20))(X, 2.0)
    injections = recorder.calls[0][1]
    assert injections is not None
    assert torch.equal(injections.stem, stem)
    assert len(injections.skips) == 9


def test_a_run_follows_its_control_picture_and_its_weight(loaded) -> None:
    model, net = loaded
    latent = {"samples": torch.zeros(2, 4, SIDE, SIDE)}
    settings: dict[str, Any] = {"seed": 1, "steps": 3, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}

    def run(control: Control | None) -> Tensor:
        both = [conditioning(10), conditioning(20)]
        both = both if control is None else controlled_together(both, control)
        return sample(model, *both, latent, **settings)["samples"]

    plain = run(None)
    moved = [(run(Control(net, picture(1), weight)) - plain).norm() for weight in (0.0, 0.1, 0.4)]
    assert moved[0] == 0
    assert 0 < moved[1] < moved[2]
    assert not torch.equal(run(Control(net, picture(1), 0.4)), run(Control(net, picture(2), 0.4)))
    two = run(Control(net, torch.cat((picture(1), picture(2))), 0.4))
    torch.testing.assert_close(two[0], run(Control(net, picture(1), 0.4))[0], rtol=0, atol=1e-3)
    torch.testing.assert_close(two[1], run(Control(net, picture(2), 0.4))[1], rtol=0, atol=1e-3)


@dataclass(frozen=True)
class NoChange:
    """An inpaint engine's patch that changes no weight."""

    key: str = "none"
    strength: float = 1.0

    def deltas(self, part: str) -> dict[str, Any]:
        return {}


def test_controls_end_where_the_inpaint_engine_ends(loaded) -> None:
    """Euler remembers nothing: six steps with engine and control up to step 3 are four such steps, then two plain."""
    model, net = loaded
    patch, stem = NoChange(), normal(5, (1, TINY.width, SIDE, SIDE))

    def engined(until: float) -> Model:
        return model.patched(loras=(patch,), inpaint=InpaintEngine(stem, patch, until))

    plain = [conditioning(10), conditioning(20)]
    steered = controlled_together(plain, Control(net, picture(1), 0.4))
    settings: dict[str, Any] = {"seed": 1, "steps": 6, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
    latent = {"samples": torch.zeros(1, 4, SIDE, SIDE)}
    whole = sample(engined(0.5), *steered, latent, **settings)["samples"]
    begun = sample(engined(1.0), *steered, latent, **settings, end_step=4, force_full_denoise=False)
    rest = {**settings, "start_step": 4, "add_noise": False}
    torch.testing.assert_close(whole, sample(model, *plain, begun, **rest)["samples"], rtol=0, atol=1e-4)
    assert not torch.allclose(whole, sample(model, *steered, begun, **rest)["samples"], atol=1e-2)


def test_the_picture_is_cropped_around_its_centre_and_gets_no_new_values() -> None:
    columns = torch.arange(48.0)[None, None, :, None].expand(1, 16, 48, 3)
    fitted = fitted_hint(columns, 2, 2)  # 16 × 48 cut to 16 × 16: columns 16 … 31
    assert fitted.shape == (1, 3, 16, 16)
    assert fitted[0, 0, 0].tolist() == list(range(16, 32))
    assert fitted_hint(columns, 1, 1)[0, 0, 0].tolist() == [17, 19, 21, 23, 25, 27, 29, 31]
