"""What a file is: told from its keys and shapes alone, and said in words when it is not what was asked for."""

from collections.abc import Iterable
from dataclasses import dataclass

from models.errors import BadModelFile
from models.formats.weights import WeightFile

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_L = "conditioner.embedders.0.transformer.text_model."
CLIP_G = "conditioner.embedders.1.model."


@dataclass(frozen=True)
class Kind:
    """A kind of file: how it is recognised (any name containing a mark), and what to do with it."""

    name: str
    marks: tuple[str, ...]
    remedy: str


# Read from top to bottom; the first mark that is found names the file.
KINDS = (
    Kind("an SDXL checkpoint", ("conditioner.embedders.1.model.",), "Load it as a checkpoint."),
    Kind(
        "an SDXL refiner checkpoint",
        ("conditioner.embedders.0.model.",),
        "Refiners are not supported; choose an SDXL base checkpoint.",
    ),
    Kind("an SD 1.x checkpoint", ("cond_stage_model.transformer.",), "Only SDXL checkpoints are supported."),
    Kind("an SD 2.x checkpoint", ("cond_stage_model.model.",), "Only SDXL checkpoints are supported."),
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
SDXL = KINDS[0]


def kind_of(names: Iterable[str]) -> Kind | None:
    """Return what a file with these tensor names is, None when it is nothing known."""
    names = list(names)
    return next((kind for kind in KINDS if any(mark in name for mark in kind.marks for name in names)), None)


def require_sdxl(file: WeightFile) -> None:
    """Raise BadModelFile unless the file is a full SDXL base checkpoint."""
    kind = kind_of(file.tensors)
    if kind is None:
        raise BadModelFile(file.path, "is no model that Focal knows", "Choose an SDXL checkpoint in .safetensors form.")
    if kind is not SDXL:
        raise BadModelFile(file.path, f"is {kind.name}, not an SDXL checkpoint", kind.remedy)
    for prefix, part in ((UNET, "UNet"), (CLIP_L, "CLIP-L text encoder"), (CLIP_G, "bigG text encoder"), (VAE, "VAE")):
        if not any(name.startswith(prefix) for name in file.tensors):
            raise BadModelFile(file.path, f"is an SDXL checkpoint without {part}", "Choose a complete checkpoint.")
    stem = file.shape(f"{UNET}input_blocks.0.0.weight")
    if stem and len(stem) == 4 and stem[1] != 4:
        fault = f"is an SDXL UNet with {stem[1]} input channels (inpainting or editing), not a text-to-image model"
        raise BadModelFile(file.path, fault, "Choose an SDXL base checkpoint.")
