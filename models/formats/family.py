"""What a file is: told from its keys and shapes alone, and said in words when it is not what was asked for."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from models.errors import BadModelFile

if TYPE_CHECKING:  # the API reads names of tensors without torch
    from models.formats.weights import WeightFile

UNET = "model.diffusion_model."
_TEXT_MODEL = "text_model."
VAE = "first_stage_model."
FamilyName = Literal["sdxl", "sdxl_refiner", "sd1"]


@dataclass(frozen=True)
class Kind:
    """A kind of file: how it is recognised (any name containing a mark), and what to do with it."""

    name: str
    marks: tuple[str, ...]
    remedy: str


# Read from top to bottom; the first mark that is found names the file.
KINDS = (
    Kind("an SDXL checkpoint", ("conditioner.embedders.1.model.",), "Load it as a checkpoint."),
    Kind("an SDXL refiner checkpoint", ("conditioner.embedders.0.model.",), "Load it as a checkpoint."),
    Kind("an SD 1.x checkpoint", ("cond_stage_model.transformer.",), "Load it as a checkpoint."),
    Kind("an SD 2.x checkpoint", ("cond_stage_model.model.",), "SDXL, its refiner and SD 1.x are supported."),
    Kind("a Control-LoRA", ("lora_controlnet",), "Put it into the controlnet folder."),
    Kind(
        "a LoRA",
        (
            "lora_unet_",
            "lora_te",
            ".lora_A.",
            ".lora_up.",
            ".lora_down.",
            "_lora.up.",
            "_lora.down.",
            ".hada_w1",
            ".lokr_w",
        ),
        "Put it into the loras folder and choose it as a LoRA.",
    ),
    Kind("a Flux model", ("double_blocks.0.",), "Only SDXL checkpoints are supported."),
    Kind("an SD 3 model", ("joint_blocks.0.",), "Only SDXL checkpoints are supported."),
    Kind(
        "a ControlNet",
        ("control_model.", "controlnet_cond_embedding.", "input_hint_block."),
        "Put it into the controlnet folder.",
    ),
    Kind("an IP-Adapter", ("ip_adapter.", "image_proj."), "Put it into the ipadapter folder."),
    Kind(
        "a UNet without text encoders",
        ("input_blocks.0.0.weight", "down_blocks.0.resnets."),
        "Choose a full SDXL checkpoint.",
    ),
    Kind("a VAE", ("decoder.conv_in.weight",), "Put it into the vae folder and choose it as a VAE."),
    Kind("a text encoder", ("text_model.", "resblocks.0."), "Choose a full SDXL checkpoint."),
    Kind(
        "a textual-inversion embedding",
        ("clip_g", "emb_params", "string_to_param"),
        "Put it into the embeddings folder.",
    ),
    Kind("an upscaler", ("model.0.weight", "conv_first.weight"), "Put it into the upscale_models folder."),
)


@dataclass(frozen=True)
class Family:
    """Checkpoints that can be loaded: where their parts are, and what no tensor tells.

    clip_l, clip_g: prefixes of the text encoders; "" where there is none. heads: of every attention of the UNet; None
    where they are 64 wide. scaling: of the latents. normed_text: hidden states pass the encoder's final norm.
    """

    name: FamilyName
    kind: Kind
    clip_l: str
    clip_g: str
    heads: int | None
    scaling: float
    normed_text: bool = False
    clip_skip: int = 2

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Prefix and name of every part that a complete file has."""
        found = (UNET, "UNet"), (self.clip_l, "CLIP-L text encoder"), (self.clip_g, "bigG text encoder"), (VAE, "VAE")
        return tuple((prefix, part) for prefix, part in found if prefix)


FAMILIES = (
    Family(
        "sdxl",
        KINDS[0],
        clip_l="conditioner.embedders.0.transformer.text_model.",
        clip_g="conditioner.embedders.1.model.",
        heads=None,
        scaling=0.13025,
    ),
    Family(
        "sdxl_refiner",
        KINDS[1],
        clip_l="",
        clip_g="conditioner.embedders.0.model.",
        heads=None,
        scaling=0.13025,
    ),
    Family(
        "sd1",
        KINDS[2],
        clip_l="cond_stage_model.transformer.text_model.",
        clip_g="",
        heads=8,
        scaling=0.18215,
        normed_text=True,
        clip_skip=1,
    ),
)


def kind_of(names: Iterable[str]) -> Kind | None:
    """Return what a file with these tensor names is, None when it is nothing known."""
    names = list(names)
    return next((kind for kind in KINDS if any(mark in name for mark in kind.marks for name in names)), None)


def family_of(names: Iterable[str]) -> Family | None:
    """Return the family of a checkpoint with these tensor names; None for what is no checkpoint that can be loaded."""
    kind = kind_of(names)
    return next((family for family in FAMILIES if family.kind is kind), None)


def require_family(file: "WeightFile") -> Family:
    """Return the family of a full text-to-image checkpoint. Raises BadModelFile for anything else."""
    kind, family = kind_of(file.tensors), family_of(file.tensors)
    if kind is None:
        raise BadModelFile(file.path, "is no model that Focal knows", "Choose an SDXL checkpoint in .safetensors form.")
    if family is None:
        raise BadModelFile(file.path, f"is {kind.name}, not an SDXL checkpoint", kind.remedy)
    family = _as_named(family, file.tensors)
    for prefix, part in family.parts:
        if not _has(file.tensors, prefix):
            raise BadModelFile(file.path, f"is {kind.name} without {part}", "Choose a complete checkpoint.")
    stem = file.shape(f"{UNET}input_blocks.0.0.weight")
    if stem and len(stem) == 4 and stem[1] != 4:
        fault = f"is {kind.name} with {stem[1]} input channels (inpainting or editing), not a text-to-image model"
        raise BadModelFile(file.path, fault, "Choose a base checkpoint.")
    return family


def _as_named(family: Family, names: Collection[str]) -> Family:
    """Some tools leave `text_model.` out of CLIP-L's names, as transformers itself does from 5.6 on."""
    bare = family.clip_l.removesuffix(_TEXT_MODEL)
    without = bool(bare) and not _has(names, family.clip_l) and _has(names, f"{bare}encoder.layers.")
    return replace(family, clip_l=bare) if without else family


def _has(names: Collection[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
