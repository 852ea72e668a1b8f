"""Checkpoints: SDXL, its refiner, SD 1.5 (behind the interposer, as a refiner of SDXL), and a VAE of its own.

Names are those of the published single files (tests/parity/random_sdxl.py). Before anything is written, diffusers'
converters must turn them into exactly the names and shapes of its full-size modules.
"""

from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.full_size.proof import LATENT, PROMPT, Bench, Failure, Proof, Words, bring, conditioning, one_step
from benchmarks.full_size.writing import Shapes, counters, named, safetensors
from models.interposer import load_interposer
from models.sdxl import Clip, Model, Vae, encode_tokens, load_checkpoint, load_vae
from tests.parity.interposer_reference import interposer_shapes
from tests.parity.published_unets import PUBLISHED
from tests.parity.random_sdxl import shapes

SDXL = "sd_xl_base_1.0_0.9vae.safetensors"
# What the published SD 1.x files hold besides: the noise schedule, and position ids.
SCHEDULE = ("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "log_one_minus_alphas_cumprod")
SPARE = (r"logit_scale$", r"position_ids$", r"^model_ema\.decay$", *(rf"^{name}$" for name in SCHEDULE))


def meta_unet(family: str = "sdxl") -> UNet2DConditionModel:
    """diffusers' module of the published configuration, without memory."""
    with torch.device("meta"):
        return UNet2DConditionModel(**PUBLISHED[family][1])


def meta_vae() -> AutoencoderKL:
    """The autoencoder of all three families."""
    with torch.device("meta"):
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )


def text_config(width: int, layers: int, heads: int, activation: str) -> CLIPTextConfig:
    """CLIP-L (768, 12, 12, quick_gelu) and OpenCLIP bigG (1280, 32, 20, gelu)."""
    return CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=77, hidden_act=activation, projection_dim=width,
    )  # fmt: skip


def checkpoint_shapes(family: str) -> Shapes:
    """Every tensor of a single file. Raises Failure unless diffusers finds its own modules in them."""
    plan = PUBLISHED[family][0]
    wanted = shapes(plan)
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in wanted.items()}
        clip_l = CLIPTextModel(text_config(768, 12, 12, "quick_gelu"))
    unet, vae = meta_unet(family), meta_vae()
    expected = {
        "UNet": (unet, single_file_utils.convert_ldm_unet_checkpoint(dict(state), dict(unet.config))),
        "VAE": (vae, single_file_utils.convert_ldm_vae_checkpoint(dict(state), dict(vae.config))),
    }
    if prefix := plan.prefixes[0]:
        own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
        own.pop("embeddings.position_ids")
        module = clip_l if "embeddings.token_embedding.weight" in clip_l.state_dict() else clip_l.text_model
        expected["CLIP-L"] = (module, own)
    for part, (module, converted) in expected.items():
        found, own = _matrices(named(converted)), _matrices(named(module.state_dict()))
        if found != own:
            raise Failure(f"the {part}'s layout is not diffusers': {sorted(set(found.items()) ^ set(own.items()))[:4]}")
    return wanted


def _matrices(found: Shapes) -> Shapes:
    """1x1 convolutions are matrices to converters."""
    return {name: shape[:2] if shape[2:] == (1, 1) else shape for name, shape in found.items()}


def write_checkpoint(family: str, path: Path) -> None:
    wanted = checkpoint_shapes(family)
    ids = {name: torch.arange(77)[None] for name in wanted if name.endswith("position_ids")}
    extra = {name: torch.linspace(0, 1, 1000) for name in SCHEDULE} if family == "sd1" else {}
    safetensors(path, {name: s for name, s in wanted.items() if name not in ids}, given=ids | extra)


write_base = partial(write_checkpoint, "sdxl")


def prompted(bench: Bench) -> tuple[Model, Clip, Vae, Words]:
    """SDXL's parts, of which only the text encoders are read, and a prompt."""
    with bench.loading():
        model, clip, vae = load_checkpoint(bench / SDXL, bench.bfloat16)
        bring(clip.l, clip.g)
    return model, clip, vae, conditioning(clip)


def run_sdxl(bench: Bench) -> Tensor:
    model, _, vae, words = prompted(bench)
    with bench.loading():
        bring(vae.module, model)
    vae.encode(torch.rand(1, 64, 64, 3))
    return vae.decode(one_step(model, words))


def run_refiner(bench: Bench) -> Tensor:
    with bench.loading():
        model, clip, vae = load_checkpoint(bench / "sd_xl_refiner_1.0_0.9vae.safetensors", bench.bfloat16)
        bring(clip.g, model, vae.module)
    out = encode_tokens(clip, PROMPT, "g")
    words = [[out.hidden, {"pooled_output": out.pooled, "aesthetic_score": 6.0}]]
    vae.encode(torch.rand(1, 64, 64, 3))
    return vae.decode(one_step(model, words))


def run_sd15(bench: Bench) -> Tensor:
    """As Fooocus refines with it: latents of SDXL come through the interposer."""
    with bench.loading():
        model, clip, vae = load_checkpoint(bench / "v1-5-pruned-emaonly.safetensors", bench.bfloat16)
        interposer = load_interposer(bench / "xl-to-v1_interposer-v4.0.safetensors", bench.float32)
        bring(clip.l, model, vae.module, interposer.module)
    latent = interposer.convert(torch.randn(1, 4, LATENT, LATENT))
    out = encode_tokens(clip, PROMPT, "l")
    vae.encode(torch.rand(1, 64, 64, 3))
    return vae.decode(one_step(model, [[out.hidden, {}]], latent))


def run_vae(bench: Bench) -> Tensor:
    with bench.loading():
        vae = load_vae(bench / "sdxl_vae.safetensors", bench.float32)
        bring(vae.module)
    latent = torch.randn(1, 4, 8, 8)
    pixels = vae.decode(latent)
    other = meta_vae().to_empty(device="cpu").eval()
    other.load_state_dict(load_file(bench / "sdxl_vae.safetensors"), strict=True)
    theirs = (other.decode(latent).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    bench.same("pixels equal diffusers'", pixels, theirs, 1e-3)
    return pixels


def write_interposer(path: Path) -> None:
    safetensors(path, interposer_shapes(), torch.float32, counters(interposer_shapes()))


def write_vae(path: Path) -> None:
    safetensors(path, named(meta_vae().state_dict()), torch.float32)


PROOFS = {
    "sdxl": Proof({SDXL: write_base}, run_sdxl, SPARE),
    "sdxl-refiner": Proof(
        {"sd_xl_refiner_1.0_0.9vae.safetensors": partial(write_checkpoint, "sdxl_refiner")}, run_refiner, SPARE
    ),
    "sd15-interposer": Proof(
        {
            "v1-5-pruned-emaonly.safetensors": partial(write_checkpoint, "sd1"),
            "xl-to-v1_interposer-v4.0.safetensors": write_interposer,
        },
        run_sd15,
        (*SPARE, r"num_batches_tracked$"),
    ),
    "vae": Proof({"sdxl_vae.safetensors": write_vae}, run_vae),
}
