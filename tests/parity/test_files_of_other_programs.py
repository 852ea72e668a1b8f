"""Files as other programs write them: save_pretrained of diffusers, transformers and peft, training runs, torch.save.

What is in them is random; the program that wrote a file, or a plain file of the same weights, says what must come out.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    GPT2Config,
    GPT2LMHeadModel,
)

from models.control.model import load_control
from models.describe.formats import open_captioner, plan_blip
from models.errors import BadModelFile
from models.expansion import plan_gpt2
from models.formats.pickled import open_either
from models.formats.plan import check_plan, plan_shapes
from models.lora import load_lora
from models.memory import Residency
from models.safety import load_safety_checker
from models.sdxl import Model, add_lora, encode_tokens, load_checkpoint, load_vae
from models.upscale.upscaler import load_upscaler
from models.vision.clip_vision import DEVIATION, MEAN, load_clip_vision
from tests.parity.control_reference import diffusers_control, random_control
from tests.parity.diffusers_sdxl import diffusers_unet, diffusers_vae
from tests.parity.random_sdxl import SD15, TINY, Plan, write_checkpoint
from tests.parity.rrdb_reference import named, random_weights
from tests.parity.test_unet import inputs, ours

TOLERANCE = 1e-4
VISION = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1}
VISION |= {"image_size": 56, "patch_size": 14, "projection_dim": 40}
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    path = tmp_path_factory.mktemp("sdxl") / "plain.safetensors"
    return path, write_checkpoint(path)


@pytest.fixture(scope="module")
def plain(checkpoint: tuple[Path, State]) -> State:
    return parameters(checkpoint[0])


# ---------------------------------------------------------------------------------------------- checkpoints


def parameters(path: Path) -> State:
    """All weights of a checkpoint as they are loaded."""
    model, clip, vae = load_checkpoint(path, Residency(), vae_norm_groups=32)
    parts = {"unet": model.unet, "vae": vae.module, **dict(clip.encoders.items())}
    found: State = {}
    for part, resident in parts.items():
        with resident.use() as module:
            found |= {f"{part}.{name}": value.clone() for name, value in module.named_parameters()}
    return found


def moving_averages(state: State) -> State:
    """The moving averages that a training run keeps beside the weights, in CompVis' names."""
    unet = {name: t for name, t in state.items() if name.startswith("model.diffusion_model.")}
    averages = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": t + 1 for name, t in unet.items()}
    counters = {"decay": torch.tensor(0.9999), "num_updates": torch.tensor(7, dtype=torch.int32)}
    return averages | {f"model_ema.{name}": value for name, value in counters.items()}


def schedule() -> State:
    names = ("betas", "alphas_cumprod", "sqrt_alphas_cumprod", "denoiser.sigmas", "logvar")
    return {name: torch.linspace(0, 1, 1000, dtype=torch.float64) for name in names}


def other_parts() -> State:
    return {
        "embedding_manager.embedder.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "embedding_manager.string_to_param_dict.*": torch.randn(1, 32),
        "first_stage_model.loss.logvar": torch.zeros(()),
        "conditioner.embedders.1.model.attn_mask": torch.zeros(77, 77),
        "conditioner.embedders.0.transformer.text_projection.weight": torch.eye(32),
    }


@pytest.mark.parametrize("plan", [TINY, SD15], ids=["sdxl", "sd1"])
def test_what_training_leaves_in_a_checkpoint_changes_nothing(plan: Plan, tmp_path: Path) -> None:
    state = write_checkpoint(tmp_path / "plain.safetensors", plan)
    more = {**moving_averages(state), **schedule(), **other_parts()}
    more = {name: t for name, t in more.items() if plan is TINY or not name.startswith("conditioner.")}
    save_file({**more, **state}, tmp_path / "trained.safetensors")
    trained = load_checkpoint(tmp_path / "trained.safetensors", Residency(), vae_norm_groups=32)
    assert trained[0].family == ("sdxl" if plan is TINY else "sd1")
    plain, found = parameters(tmp_path / "plain.safetensors"), parameters(tmp_path / "trained.safetensors")
    assert plain.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in plain.items())


@pytest.mark.parametrize("metadata", [None, {"format": "pt", "modelspec.title": "Ünïcode", "ss_tag_frequency": "{}"}])
def test_parts_in_different_precisions_without_metadata_or_with_a_trainer_s(
    checkpoint: tuple[Path, State], plain: State, metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    kinds = {"model.": torch.bfloat16, "first_stage_model.": torch.float32, "conditioner.": torch.float16}
    state = {
        name: t.to(next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), t.dtype))
        if t.is_floating_point()
        else t
        for name, t in checkpoint[1].items()
    }
    save_file(state, tmp_path / "mixed.safetensors", metadata=metadata)
    mixed = parameters(tmp_path / "mixed.safetensors")
    for name, value in plain.items():
        part = name.partition(".")[0]
        kind = {"unet": torch.bfloat16, "vae": torch.float32}.get(part, torch.float16)
        assert torch.equal(mixed[name], value.to(kind).float()), name


def test_a_checkpoint_without_the_ids_that_old_transformers_wrote(
    checkpoint: tuple[Path, State], plain: State, tmp_path: Path
) -> None:
    kept = {name: t for name, t in checkpoint[1].items() if not name.endswith(("position_ids", "logit_scale"))}
    assert len(kept) == len(checkpoint[1]) - 2
    save_file(kept, tmp_path / "pruned.safetensors")
    pruned = parameters(tmp_path / "pruned.safetensors")
    assert all(torch.equal(pruned[name], value) for name, value in plain.items())


@pytest.mark.parametrize("plan", [TINY, SD15], ids=["sdxl", "sd1"])
def test_clip_s_names_without_text_model(plan: Plan, tmp_path: Path) -> None:
    """As some old files of SD 1.x have them, and modules of transformers from 5.6 on."""
    state = write_checkpoint(tmp_path / "plain.safetensors", plan)
    named_so = {name.replace(".transformer.text_model.", ".transformer."): tensor for name, tensor in state.items()}
    assert named_so.keys() != state.keys()
    save_file(named_so, tmp_path / "bare.safetensors")
    usual, bare = (load_checkpoint(tmp_path / f"{name}.safetensors", Residency())[1] for name in ("plain", "bare"))
    ids = torch.randint(1, plan.vocabulary, (1, 77), generator=torch.Generator().manual_seed(1))
    assert torch.equal(encode_tokens(bare, ids, "l").hidden, encode_tokens(usual, ids, "l").hidden)


def test_a_vae_that_diffusers_saved(checkpoint: tuple[Path, State], tmp_path: Path) -> None:
    vae = load_checkpoint(checkpoint[0], Residency())[2]
    diffusers_vae(checkpoint[1], vae.module.sizes).save_pretrained(tmp_path)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    read = load_vae(tmp_path / "diffusion_pytorch_model.safetensors", Residency())
    assert torch.equal(read.decode(latents), vae.decode(latents))


# -------------------------------------------------------------------------------------------------- control


def control_parameters(path: Path, model: Model, residency: Residency) -> State:
    with load_control(path, residency).network(model).use() as network:
        return {name: value.clone() for name, value in network.named_parameters()}


def diffusers_saved(folder: Path, model: Model, state: State, **options: Any) -> Path:
    diffusers_control(state, model.unet.sizes, TINY).save_pretrained(folder, **options)
    return next(file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))


def wrapped(path: Path, state: State, **more: Any) -> Path:
    content = {f"control_model.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": content, **more} if more else content, path)
    return path


CONTROLS: dict[str, Callable[[Path, Model, State], Path]] = {
    "diffusers' safetensors": diffusers_saved,
    "diffusers' pickle": partial(diffusers_saved, safe_serialization=False),
    "diffusers' variant": partial(diffusers_saved, variant="fp16"),
    "bare table": lambda folder, model, state: wrapped(folder / "control.pth", state),
    "training run": lambda folder, model, state: wrapped(
        folder / "control.ckpt", state, epoch=3, global_step=12_000, hyper_parameters={"lr": 1e-5}, optimizer_states=[]
    ),
}


@pytest.mark.parametrize("program", CONTROLS)
def test_a_controlnet_has_the_same_weights_from_every_program(
    program: str, checkpoint: tuple[Path, State], tmp_path: Path
) -> None:
    residency = Residency()
    model = load_checkpoint(checkpoint[0], residency)[0]
    state = random_control(TINY)
    save_file(state, tmp_path / "plain.safetensors")
    (tmp_path / "saved").mkdir()
    found = control_parameters(CONTROLS[program](tmp_path / "saved", model, state), model, residency)
    plain = control_parameters(tmp_path / "plain.safetensors", model, residency)
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], value) for name, value in plain.items())


# ---------------------------------------------------------------------------------------------------- LoRAs


def trained_unet(checkpoint: tuple[Path, State], alpha: int) -> tuple[Model, peft.PeftModel]:
    model = load_checkpoint(checkpoint[0], Residency())[0]
    unet = diffusers_unet(checkpoint[1], model.unet.sizes, TINY.text_g[0])
    config = peft.LoraConfig(r=4, lora_alpha=alpha, target_modules=["to_q", "to_k", "to_v", "to_out.0", "conv1"])
    torch.manual_seed(4)
    trained = peft.get_peft_model(unet, config)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model, trained.eval()


def answer(unet: nn.Module) -> Tensor:
    x, timesteps, context, pooled, numbers = inputs(TINY)
    added = {"text_embeds": pooled, "time_ids": numbers}
    with torch.inference_mode():
        return unet(x, timesteps, encoder_hidden_states=context, added_cond_kwargs=added).sample


def save_by_peft(trained: peft.PeftModel, folder: Path) -> Path:
    trained.save_pretrained(folder)
    return folder / "adapter_model.safetensors"


def save_by_diffusers(trained: peft.PeftModel, folder: Path) -> Path:
    layers = peft.get_peft_model_state_dict(trained)
    layers = {name.removeprefix("base_model.model."): tensor for name, tensor in layers.items()}
    StableDiffusionXLPipeline.save_lora_weights(folder, unet_lora_layers=layers)
    return folder / "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize("save", [save_by_peft, save_by_diffusers])
def test_a_lora_trained_by_peft_has_its_effect(
    save: Callable[[peft.PeftModel, Path], Path], checkpoint: tuple[Path, State], tmp_path: Path
) -> None:
    """alpha equals the rank, as diffusers' training scripts have it; neither file tells it."""
    model, trained = trained_unet(checkpoint, alpha=4)
    patched, _, warnings = add_lora(model, None, load_lora(save(trained, tmp_path)), 1.0, 1.0)
    assert warnings == ()
    assert (ours(patched, TINY) - ours(model, TINY)).abs().max() > 1e-2
    torch.testing.assert_close(ours(patched, TINY), answer(trained), rtol=0, atol=TOLERANCE)


def test_alpha_beside_a_file_of_peft_counts(checkpoint: tuple[Path, State], tmp_path: Path) -> None:
    """peft keeps it in adapter_config.json."""
    model, trained = trained_unet(checkpoint, alpha=12)
    patched, _, _ = add_lora(model, None, load_lora(save_by_peft(trained, tmp_path)), 1.0, 1.0)
    torch.testing.assert_close(ours(patched, TINY), answer(trained), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("content", ["", "[]", "{" * 100_000, '{"lora_alpha": "x", "alpha_pattern": [1]}', "\0"])
def test_a_damaged_file_beside_leaves_alpha_at_the_rank(content: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    layer = {f"base_model.model.conv_in.lora_{side}.weight": torch.randn(4, 4, generator=generator) for side in "AB"}
    save_file(layer, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(content)
    ((delta, _),) = load_lora(tmp_path / "adapter_model.safetensors").layers.changes.values()
    up, down = (layer[f"base_model.model.conv_in.lora_{side}.weight"] for side in "BA")
    torch.testing.assert_close(delta(torch.zeros(4, 4), torch.zeros(4, 4), 1.0), up @ down)


# --------------------------------------------------------------------------------- transformers' own files


def drawn(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15 + centre)
    return module.eval()


@pytest.mark.parametrize("whole", [False, True], ids=["picture's half", "whole CLIP"])
def test_a_clip_that_transformers_saved(whole: bool, tmp_path: Path) -> None:
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPVisionConfig(**VISION)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=40)) if whole else None
    oracle = drawn(model or CLIPVisionModelWithProjection(config))
    oracle.save_pretrained(tmp_path)
    encoder = load_clip_vision(tmp_path / "model.safetensors", Residency())
    picture = torch.rand(1, 56, 56, 3, generator=torch.Generator().manual_seed(5))
    pixels = ((picture - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).movedim(-1, 1)
    with torch.inference_mode():
        seen = oracle.vision_model(pixels)
        expected = oracle.visual_projection(seen.pooler_output)
    torch.testing.assert_close(encoder.encode(picture).image_embeds, expected, rtol=0, atol=TOLERANCE)


def test_a_safety_checker_that_diffusers_saved(tmp_path: Path) -> None:
    oracle = drawn(StableDiffusionSafetyChecker(CLIPConfig(vision_config=VISION, projection_dim=40)))
    oracle.save_pretrained(tmp_path)
    checker = load_safety_checker(tmp_path / "model.safetensors", Residency())
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode(), checker.module.use() as network:
        embeds = oracle.visual_projection(oracle.vision_model(pixels)[1])
        expected = torch.cosine_similarity(embeds[:, None], oracle.concept_embeds[None], dim=-1)
        torch.testing.assert_close(network(pixels)[0], expected, rtol=0, atol=TOLERANCE)


def test_a_captioner_that_transformers_saved(tmp_path: Path) -> None:
    text = {"vocab_size": 50, "hidden_size": 64, "encoder_hidden_size": 64, "intermediate_size": 96}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 1, "max_position_embeddings": 32}
    oracle = drawn(BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=VISION)))
    oracle.tie_weights()
    oracle.save_pretrained(tmp_path)
    state = oracle.state_dict()
    with open_captioner(tmp_path / "model.safetensors") as file:
        _, plan = plan_blip(file)
        read = {name: source.read(file).clone() for name, source in plan.items()}
    for ours_, theirs in (
        ("vision.positions", "vision_model.embeddings.position_embedding"),
        ("text.decoder.weight", "text_decoder.bert.embeddings.word_embeddings.weight"),
        ("text.decoder.bias", "text_decoder.cls.predictions.bias"),
        ("text.layers.1.cross.value.weight", "text_decoder.bert.encoder.layer.1.crossattention.self.value.weight"),
    ):
        assert torch.equal(read[ours_], state[theirs])


def test_a_gpt2_that_transformers_saved(tmp_path: Path) -> None:
    oracle = drawn(GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=16, n_embd=64, n_layer=2, n_head=1)))
    oracle.save_pretrained(tmp_path)
    state = oracle.state_dict()
    with open_either(tmp_path / "model.safetensors") as file:
        sizes, plan = plan_gpt2(file, {})
        check_plan(file, plan_shapes(file, plan), plan)
        assert (sizes.vocabulary, sizes.layers, sizes.width) == (60, 2, 64)
        for name, source in plan.items():
            assert torch.equal(source.read(file), state[f"transformer.{name}"])


# ------------------------------------------------------------------------------------------------ torch.save


def strided(tensor: Tensor) -> Tensor:
    """The same values, laid out back to front."""
    return tensor.permute(*reversed(range(tensor.ndim))).contiguous().permute(*reversed(range(tensor.ndim)))


def from_a_larger_one(tensor: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(tensor)[:1], tensor])[1:]


TENSORS: dict[str, Callable[[Tensor], Tensor]] = {
    "half": Tensor.half,
    "bfloat16": Tensor.bfloat16,
    "double": Tensor.double,
    "back to front": strided,
    "channels last": lambda t: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t,
    "a part of a larger one": from_a_larger_one,
    "a parameter": nn.Parameter,
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_may_be_of_any_precision_and_layout(kind: str, tmp_path: Path) -> None:
    tensors = named(random_weights(8, 4, 1, 1), "real-esrgan")
    changed = {name: TENSORS[kind](tensor) for name, tensor in tensors.items()}
    torch.save({"params_ema": changed}, tmp_path / "changed.pth")
    plain = {name: tensor.to(changed[name].dtype).float() for name, tensor in tensors.items()}
    save_file(plain, tmp_path / "plain.safetensors")
    image = torch.rand(1, 12, 12, 3, generator=torch.Generator().manual_seed(3))
    expected = load_upscaler(tmp_path / "plain.safetensors", Residency()).upscale(image)
    found = load_upscaler(tmp_path / "changed.pth", Residency()).upscale(image)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_part_of_a_sharded_model_is_refused_by_name(checkpoint: tuple[Path, State], tmp_path: Path) -> None:
    names = sorted(checkpoint[1])
    path = tmp_path / "model-00001-of-00002.safetensors"
    save_file({name: checkpoint[1][name] for name in names[: len(names) // 2]}, path)
    with pytest.raises(BadModelFile, match="00001-of-00002"):
        load_checkpoint(path, Residency())
