"""SDXL, its refiner and SD 1.x as values: what flows through MODEL, CLIP and VAE, and how it is read from files.

Values are frozen; `patched` makes a new one. They hold handles (`Resident`), not weights: `models.memory` decides
what is loaded.

    model, clip, vae = load_checkpoint(path, residency)
    out = encode_tokens(clip, ids, "g")              # ids (n, 77) → hidden (n, 77, C), pooled (n, P)
    with model.use() as unet: unet(x, timesteps, context, y)
    image = vae.decode(latent["samples"])
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import torch
from torch import Tensor, nn

from models.clip import Replacement, TextEncoder, TextOutput
from models.errors import BadModelFile, ModelError
from models.formats.diffusers_vae import plan_vae
from models.formats.family import UNET, VAE, Family, FamilyName, family_of, kind_of, require_family
from models.formats.open_clip import plan_open_clip
from models.formats.plan import Plan, check_plan, fill, plan_prefix, plan_shapes
from models.formats.sizes import text_sizes, unet_sizes, vae_sizes
from models.formats.weights import WeightFile, open_weights
from models.freeu import FreeU
from models.images import decode_latent, encode_image
from models.inpaint.engine import InpaintEngine
from models.lora import LoraFile, LoraPatch, match_lora
from models.memory import Loader, Residency, Resident
from models.merge import Patch
from models.tiles import Tiling
from models.unet import UNet
from models.vae import AutoencoderKL
from models.vision.image_prompt import ImagePrompt

SCALING = 0.13025  # of SDXL's latents; what is not known to be another family's has it
NORM_GROUPS = 32  # of every published VAE; files of others say so in their metadata
OWN_BYTES = 1024  # of a model's value without its weights
NORM_GROUPS_KEY = "focal.vae_norm_groups"


@dataclass(frozen=True)
class SizeScale:
    """Fooocus' factors on the picture size told to the UNet, until the share `end` of the timesteps has passed."""

    positive: float = 1.5
    negative: float = 0.8
    end: float = 0.3


@dataclass(frozen=True)
class AdaptiveGuidance:
    """Fooocus' guidance: the scale that a high cfg is mimicked from, and the sharpness."""

    adaptive_cfg: float = 7.0
    sharpness: float = 2.0


@dataclass(frozen=True)
class ModelOptions:
    """What changes how a model is sampled, not its weights."""

    size_scale: SizeScale | None = None
    guidance: AdaptiveGuidance | None = None
    schedule: Literal["lcm", "tcd", "edm_playground_v2.5"] | None = None
    freeu: FreeU | None = None
    inpaint: InpaintEngine | None = None
    image_prompts: tuple[ImagePrompt, ...] = ()


@dataclass(frozen=True)
class Model:
    """A UNet with its patches: the MODEL socket."""

    unet: Resident
    prediction: Literal["eps", "v"] = "eps"
    family: FamilyName = "sdxl"
    loras: tuple[Patch, ...] = ()
    options: ModelOptions = field(default_factory=ModelOptions)

    def patched(self, **changes: Any) -> Self:
        """Return a changed copy; fields of `ModelOptions` may be given directly."""
        own = {
            name: changes.pop(name) for name in ("unet", "prediction", "family", "loras", "options") if name in changes
        }
        changed = replace(self, **own)
        return replace(changed, options=replace(changed.options, **changes)) if changes else changed

    @property
    def cache_bytes(self) -> int:
        """What the engine's cache counts: image prompts are part of the value, weights are not."""
        return OWN_BYTES + sum(prompt.bytes for prompt in self.options.image_prompts)

    def use(self, working_bytes: int = 0) -> Any:
        """Enter the UNet with this model's LoRAs: `with model.use() as unet`."""
        return self.unet.use(self.loras, working_bytes)


class MissingEncoder(ModelError):
    """A text encoder that this family of checkpoints does not have."""

    code = "missing_encoder"


@dataclass(frozen=True)
class Clip:
    """The text encoders: the CLIP socket. SDXL has two, its refiner the second alone, SD 1.x the first alone.

    clip_skip n: hidden state -n of the embedding and all layers. normed: behind the encoder's final norm (SD 1.x).
    """

    first: Resident | None
    second: Resident | None
    loras: tuple[LoraPatch, ...] = ()
    clip_skip: int = 2
    embeddings_dirs: tuple[Path, ...] = ()
    normed: bool = False

    @property
    def l(self) -> Resident:  # noqa: E743 (the encoders are called L and G)
        """CLIP-L. Raises MissingEncoder."""
        return _present(self.first, "CLIP-L")

    @property
    def g(self) -> Resident:
        """OpenCLIP-bigG. Raises MissingEncoder."""
        return _present(self.second, "bigG")

    @property
    def encoders(self) -> dict[Literal["l", "g"], Resident]:
        """Those that are there."""
        found: dict[Literal["l", "g"], Resident | None] = {"l": self.first, "g": self.second}
        return {which: resident for which, resident in found.items() if resident is not None}

    def patched(self, **changes: Any) -> Self:
        """Return a changed copy."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Vae:
    """An autoencoder: the VAE socket. `full` is the same file in float32, for latents that overflow half precision."""

    module: Resident
    full: Resident
    scaling: float = SCALING

    def decode(self, samples: Tensor, tiled: bool | Tiling = False) -> Tensor:
        """Turn unscaled latents (B, 4, h, w) into images (B, 8h, 8w, 3), 0..1. Raises NonFiniteOutput.

        tiled: in overlapping tiles (of this tiling), which needs little memory; done anyway when a GPU's memory does
        not suffice.
        """
        return decode_latent(self.module, self.full, samples, tiled)

    def encode(self, image: Tensor, noise: Tensor | None = None, tiled: bool | Tiling = False) -> Tensor:
        """Turn images (B, H, W, 3), 0..1, into unscaled latents: the mean, or with unit noise (B, 4, h, w) a sample.

        Sides that are no multiple of 8 are cropped, centred. tiled: as in `decode`. Raises NonFiniteOutput.
        """
        return encode_image(self.module, self.full, image, noise, tiled)


def encode_tokens(
    clip: Clip,
    ids: Tensor | Sequence[Sequence[int]],
    which: Literal["l", "g"],
    replacements: Sequence[Replacement] = (),
) -> TextOutput:
    """Encode token ids (n, 77) with one of the two encoders, clip skip and LoRAs applied.

    Returns float32 in main memory, where kept results may lie: hidden (n, 77, C) and, from "g" only, pooled (n, P).
    Replacements put vectors (textual inversion) in the place of token embeddings.
    """
    resident = clip.l if which == "l" else clip.g
    with torch.inference_mode(), resident.use(clip.loras) as encoder:
        tokens = torch.as_tensor(ids, dtype=torch.long, device=encoder.final_layer_norm.weight.device)
        out = encoder(tokens, skip=clip.clip_skip, pooled=which == "g", replacements=replacements, normed=clip.normed)
    # Copied outside of inference mode, so that others may change it in place.
    return TextOutput(out.hidden.to("cpu", copy=True), None if out.pooled is None else out.pooled.to("cpu", copy=True))


def load_checkpoint(
    path: str | Path, residency: Residency, vae_norm_groups: int | None = None
) -> tuple[Model, Clip, Vae]:
    """Read a single-file checkpoint of SDXL, its refiner or SD 1.x: LDM layout, fp32, fp16 or bf16, any sizes.

    Only the header is read now; every part is loaded at its first use, once. vae_norm_groups overrides the file's
    metadata. Raises BadModelFile.
    """
    path = Path(path)
    with open_weights(path) as file:
        family = require_family(file)
        try:
            unet = _load_unet(file, residency, family)
            clip = _load_clip(file, residency, family)
            vae = _load_vae(file, residency, plan_prefix(file, VAE), vae_norm_groups, family.scaling)
        except KeyError as error:
            raise _damaged(path, error) from error
        prediction = "v" if "v_pred" in file.tensors else "eps"
    return Model(unet, prediction, family.name), clip, vae


def load_vae(path: str | Path, residency: Residency, norm_groups: int | None = None) -> Vae:
    """Read a VAE from its own file (LDM or diffusers names) or out of a checkpoint. Raises BadModelFile."""
    with open_weights(path) as file:
        plan = plan_vae(file)
        if not plan:
            kind = kind_of(file.tensors)
            raise BadModelFile(
                path, f"is {kind.name if kind else 'something unknown'}, not a VAE", kind.remedy if kind else ""
            )
        family = family_of(file.tensors)
        try:
            return _load_vae(file, residency, plan, norm_groups, family.scaling if family else SCALING)
        except KeyError as error:
            raise _damaged(path, error) from error


def _load_unet(file: WeightFile, residency: Residency, family: Family) -> Resident:
    plan = plan_prefix(file, UNET)
    sizes = unet_sizes(plan_shapes(file, plan), family.heads)
    return _resident(file, residency, plan, sizes, Loader("unet", lambda: UNet(sizes), _filler(file, plan)))


def _load_clip(file: WeightFile, residency: Residency, family: Family) -> Clip:
    l = g = None  # noqa: E741
    if family.clip_l:
        l = _load_text(file, residency, "clip_l", plan_prefix(file, family.clip_l))  # noqa: E741
    if family.clip_g:
        g = _load_text(file, residency, "clip_g", plan_open_clip(file.tensors, family.clip_g))
    return Clip(l, g, clip_skip=family.clip_skip, normed=family.normed_text)


def _load_text(file: WeightFile, residency: Residency, part: str, plan: Plan) -> Resident:
    sizes = text_sizes(plan_shapes(file, plan), "quick_gelu" if part == "clip_l" else "gelu")
    return _resident(file, residency, plan, sizes, Loader(part, lambda: TextEncoder(sizes), _filler(file, plan)))


def _load_vae(file: WeightFile, residency: Residency, plan: Plan, norm_groups: int | None, scaling: float) -> Vae:
    groups = norm_groups or int(file.metadata.get(NORM_GROUPS_KEY, NORM_GROUPS))
    sizes = vae_sizes(plan_shapes(file, plan), groups)
    loaders = (
        Loader("vae", lambda: AutoencoderKL(sizes), _filler(file, plan), dtype) for dtype in (None, torch.float32)
    )
    half, full = (_resident(file, residency, plan, sizes, loader) for loader in loaders)
    return Vae(half, full, scaling)


def _resident(file: WeightFile, residency: Residency, plan: Plan, sizes: Hashable, loader: Loader) -> Resident:
    dtype = loader.dtype or residency.dtypes.of(loader.part)
    resident = residency.load((*_identity(file.path), loader.part, dtype, sizes), loader)
    check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return resident


def _filler(file: WeightFile, plan: Plan) -> Callable[[nn.Module], None]:
    path, opened = file.path, _identity(file.path)

    def read(module: nn.Module) -> None:
        with open_weights(path) as again:
            if _identity(path) != opened:
                raise BadModelFile(path, "was changed after it was opened", "Run the job again.")
            fill(module, again, plan)

    return read


def _present(encoder: Resident | None, name: str) -> Resident:
    if encoder is None:
        raise MissingEncoder(f"This checkpoint has no {name} text encoder.", "Use the CLIP of an SDXL checkpoint.")
    return encoder


def _identity(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _damaged(path: str | Path, error: KeyError) -> BadModelFile:
    return BadModelFile(path, f"lacks the tensor {error.args[0]}", "The file is damaged or another architecture.")


_MaybeClip = TypeVar("_MaybeClip", Clip, None)


def add_lora(
    model: Model, clip: _MaybeClip, lora: LoraFile, strength_model: float, strength_clip: float
) -> tuple[Model, _MaybeClip, tuple[str, ...]]:
    """Return model and clip with a LoRA added, and warnings.

    A file made for another architecture changes nothing, nor does a strength of 0.
    """
    sizes = {"unet": model.unet.sizes}
    if clip is not None:
        sizes |= {f"clip_{which}": resident.sizes for which, resident in clip.encoders.items()}
    match = match_lora(lora, sizes)
    if match.skipped:
        return model, clip, match.warnings
    if strength_model != 0:
        model = model.patched(loras=(*model.loras, LoraPatch(match, strength_model)))
    if clip is not None and strength_clip != 0:
        clip = clip.patched(loras=(*clip.loras, LoraPatch(match, strength_clip)))
    return model, clip, match.warnings
