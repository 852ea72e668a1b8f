"""An inpaint engine on a model: the patched weights, the stem's features, and the model alone at the end."""

from contextlib import contextmanager
from typing import Any

import pytest
import torch

from models.errors import BadModelFile
from models.inpaint.engine import apply_engine, stem_features, without_engine
from models.memory import Residency
from models.sampling.refine import Refiner
from models.sampling.run import sample
from models.sampling.stem import WrongStemSize
from models.sdxl import Model, load_checkpoint
from tests.parity.random_sdxl import TINY, write_checkpoint
from tests.unit.models.sampling.stand_in import StandInUNet, conditioning, normal


def test_the_head_gives_the_recorded_features():
    """Fooocus behaviour §11.5."""
    mask_and_latent = normal(6, (1, 5, 12, 16))
    out = stem_features(normal(5, (320, 5, 3, 3)), mask_and_latent[:, 1:], mask_and_latent[:, :1])
    assert out.flatten()[:4].tolist() == pytest.approx([-9.070455, 5.734341, -0.350883, -3.375868], rel=1e-4)
    assert float(out.std()) == pytest.approx(6.5361565, rel=1e-4)


def patch_entry(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, ...]:
    values = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return values, torch.tensor(-0.02), torch.tensor(0.03)


# 1 × 1 convolutions, which published checkpoints and patches store as (out, in, 1, 1).
POINTWISE = {"input_blocks.4.0.skip_connection.weight", "output_blocks.0.0.skip_connection.weight"}


def as_published(name: str, entry: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    values, low, high = entry
    if name.removeprefix("diffusion_model.") not in POINTWISE:
        return entry
    return values[..., None, None], low.reshape(1, 1, 1, 1), high


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    path = tmp_path_factory.mktemp("engine") / "random.safetensors"
    write_checkpoint(path, TINY)
    return load_checkpoint(path, Residency("cpu"))[0]


@pytest.fixture
def files(model, tmp_path):
    """A head and a patch of every second weight, made for the random checkpoint."""
    shapes = {name: place.shape for name, place in model.unet.arena.places.items()}
    patch = {
        f"diffusion_model.{name}": patch_entry(shape, i) for i, (name, shape) in enumerate(shapes.items()) if i % 2
    }
    patch |= {f"diffusion_model.{name}": patch_entry(shapes[name], 5) for name in shapes if name in POINTWISE}
    published = {name: as_published(name, entry) for name, entry in patch.items()}
    torch.save(published, tmp_path / "p.fooocus.patch")
    torch.save({"head": normal(7, (model.unet.sizes.model_channels, 5, 3, 3)) / 10}, tmp_path / "head.pth")
    return tmp_path / "head.pth", tmp_path / "p.fooocus.patch", patch


def inputs(model):
    sizes = model.unet.sizes
    return (
        normal(1, (2, 4, 12, 16)),
        torch.tensor([500.0, 500.0]),
        normal(2, (2, 77, sizes.context_dim)),
        normal(3, (2, sizes.adm_channels)),
    )


def test_weights_get_exactly_the_change_and_come_back_bit_for_bit(model, files):
    head, path, patch = files
    with model.use() as unet:
        before = {name: p.clone() for name, p in unet.named_parameters()}
    engined = apply_engine(model, head, path, torch.zeros(1, 4, 12, 16), torch.zeros(1, 1, 12, 16))
    with torch.inference_mode(), engined.use() as unet:
        for name, parameter in unet.named_parameters():
            expected = before[name].double()
            if entry := patch.get(f"diffusion_model.{name}"):
                expected = expected + entry[0].double() / 255 * 0.05 - 0.02
            torch.testing.assert_close(parameter.double(), expected, rtol=1e-5, atol=1e-6)
    with torch.inference_mode(), without_engine(engined).use() as unet:
        assert all(torch.equal(before[name], p) for name, p in unet.named_parameters())


def test_a_whole_run_equals_one_with_changes_made_by_hand(model, files):
    """Five steps: the engine is taken away after the first evaluation of step 4, which is the last one."""
    head, path, patch = files
    hidden, cells = normal(8, (1, 4, 12, 16)), torch.zeros(1, 1, 12, 16)
    cells[..., 3:9, 4:12] = 1
    sizes = model.unet.sizes

    def words(seed: int) -> list:
        pooled = normal(seed + 1, (1, sizes.adm_channels - 6 * 32))
        return [[normal(seed, (1, 77, sizes.context_dim)), {"pooled_output": pooled}]]

    settings = {"seed": 5, "steps": 5, "cfg": 3.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
    latent = {"samples": normal(9, (1, 4, 12, 16)), "noise_mask": cells}
    ours = sample(apply_engine(model, head, path, hidden, cells), words(1), words(3), latent, **settings)["samples"]

    features = stem_features(torch.load(head)["head"], hidden * 0.13025, cells)
    with model.use() as unet:
        changed = {name: p for name, p in unet.named_parameters() if f"diffusion_model.{name}" in patch}
        kept = {name: p.clone() for name, p in changed.items()}

        def add(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
            return out + features

        handle = unet.input_blocks[0][0].register_forward_hook(add)
        with torch.inference_mode():
            for name, parameter in changed.items():
                values, low, high = patch[f"diffusion_model.{name}"]
                parameter.add_(values.float() / 255 * (high - low) + low)
        by_hand = sample(model, words(1), words(3), latent, **settings)["samples"]
        handle.remove()
        with torch.inference_mode():
            for name, parameter in changed.items():
                parameter.copy_(kept[name])
    torch.testing.assert_close(ours, by_hand, rtol=1e-4, atol=1e-4)
    plain = sample(model, words(1), words(3), latent, **settings)["samples"]
    assert (ours - plain).abs().max() > 0.01


class Recorder(StandInUNet):
    """Remembers for each call whether features were added."""

    def __init__(self) -> None:
        super().__init__()
        self.had_stem: list[bool] = []

    def __call__(self, x: Any, *args: Any, injections: Any = None, **options: Any) -> Any:
        self.had_stem.append(injections is not None)
        return super().__call__(x, *args, **options)


class RecordingResident:
    """Remembers the patches of each use."""

    def __init__(self, network: Recorder) -> None:
        self.network, self.sizes, self.dtype = network, network.sizes, torch.float32
        self.uses: list[int] = []

    @contextmanager
    def use(self, loras: Any = (), working_bytes: int = 0) -> Any:
        self.uses.append(len(loras))
        yield self.network


@pytest.mark.parametrize(("sampler", "evaluations"), [("euler", [1] * 9 + [0]), ("heun", [1] * 17 + [0, 0])])
def test_the_last_fifth_of_the_steps_runs_without_the_engine(model, files, sampler, evaluations):
    """Ten steps: the engine makes the first evaluation of step 8, counted from 0, and none after it."""
    head, path, _ = files
    engine = apply_engine(model, head, path, torch.zeros(1, 4, 12, 16), torch.ones(1, 1, 12, 16)).options.inpaint
    network = Recorder()
    resident = RecordingResident(network)
    stood_in = Model(resident, loras=(engine.patch,)).patched(inpaint=engine)  # type: ignore[arg-type]
    latent = {"samples": torch.zeros(1, 4, 12, 16)}
    sample(
        stood_in, conditioning(1), conditioning(2), latent,
        seed=1, steps=10, cfg=1.0, sampler_name=sampler, scheduler="karras",
    )  # fmt: skip
    assert network.had_stem == [bool(flag) for flag in evaluations]
    assert resident.uses == [1, 0]


@pytest.mark.parametrize("method", ["separate", "vae"])
def test_before_a_refiner_s_own_run_the_engine_makes_every_evaluation(model, files, method):
    head, path, _ = files
    engine = apply_engine(model, head, path, torch.zeros(1, 4, 12, 16), torch.ones(1, 1, 12, 16)).options.inpaint
    first, second = RecordingResident(Recorder()), RecordingResident(Recorder())
    stood_in = Model(first, loras=(engine.patch,)).patched(inpaint=engine)  # type: ignore[arg-type]
    words = conditioning(1), conditioning(2)
    refiner = Refiner(Model(second), *words, switch=7, method=method)  # type: ignore[arg-type]
    sample(
        stood_in, *words, {"samples": torch.zeros(1, 4, 12, 16)}, refiner=refiner,
        seed=1, steps=10, cfg=1.0, sampler_name="euler", scheduler="karras",
    )  # fmt: skip
    assert first.network.had_stem == [True] * 7
    assert second.network.had_stem == [False] * 3


def test_a_latent_of_another_size_is_refused(model, files):
    head, path, _ = files
    engined = apply_engine(model, head, path, torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 8, 8))
    sizes = model.unet.sizes
    words = [[normal(1, (1, 77, sizes.context_dim)), {"pooled_output": normal(2, (1, sizes.adm_channels - 6 * 32))}]]
    with pytest.raises(WrongStemSize):
        sample(
            engined, words, words, {"samples": torch.zeros(1, 4, 12, 16)},
            seed=1, steps=2, cfg=1.0, sampler_name="euler", scheduler="karras",
        )  # fmt: skip


def test_files_for_another_unet_are_refused(model, files, tmp_path):
    head, path, _ = files
    torch.save({"head": torch.zeros(320, 5, 3, 3)}, tmp_path / "wide.pth")
    with pytest.raises(BadModelFile, match="320 channels"):
        apply_engine(model, tmp_path / "wide.pth", path, torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 8, 8))
    strange = {f"diffusion_model.x.{i}": patch_entry((2,), i) for i in range(13)}
    torch.save(strange, tmp_path / "strange.fooocus.patch")
    with pytest.raises(BadModelFile, match="13 weights"):
        apply_engine(model, head, tmp_path / "strange.fooocus.patch", torch.zeros(1, 4, 8, 8), torch.ones(1, 1, 8, 8))
