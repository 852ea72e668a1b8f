"""What steers SDXL's UNet: ControlNets in diffusers' and LDM's layouts, a Control-LoRA, Fooocus' inpaint engine."""

from pathlib import Path

import torch
from diffusers import ControlNetModel
from diffusers.loaders import single_file_utils
from torch import Tensor

from benchmarks.full_size.checkpoints import SDXL, meta_unet, prompted, write_base
from benchmarks.full_size.proof import LATENT, Bench, Failure, Proof, bring, one_step
from benchmarks.full_size.writing import Shapes, named, safetensors, tensors
from models.control.apply import Control, controlled
from models.control.model import load_control
from models.inpaint.engine import apply_engine
from tests.parity.control_reference import HINT_WIDTHS, control_shapes
from tests.parity.random_sdxl import FULL, unet_shapes

CONTROL_RANK = 128
PICTURE_PX = 8 * LATENT
OWN = ("input_hint_block.", "zero_convs.", "middle_block_out.")  # parts of a Control-LoRA that no UNet has
FORGOTTEN = ("add_embedding.",)  # which diffusers' converter of ControlNets leaves out
HEAD, PATCH = "fooocus_inpaint_head.pth", "inpaint_v25.fooocus.patch"


def diffusers_shapes() -> Shapes:
    """As controlnet-canny-sdxl-1.0 is published."""
    with torch.device("meta"):
        network = ControlNetModel.from_unet(meta_unet(), conditioning_embedding_out_channels=HINT_WIDTHS)
    return named(network.state_dict())


def ldm_shapes() -> Shapes:
    """The same in LDM's names. Raises Failure unless diffusers' converter turns them into its own."""
    found = {f"control_model.{name}": shape for name, shape in control_shapes(FULL).items()}
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in found.items()}
    config = dict(meta_unet().config)
    converted = named(single_file_utils.convert_controlnet_checkpoint(state, config))
    expected = {name: s for name, s in diffusers_shapes().items() if not name.startswith(FORGOTTEN)}
    if converted != expected:
        raise Failure(f"the layout is not diffusers': {sorted(set(converted.items()) ^ set(expected.items()))[:4]}")
    return found


def lora_shapes() -> Shapes:
    """A Control-LoRA of rank 128 as Stability publishes them: low-rank matrices, everything else whole."""
    found: Shapes = {}
    for name, shape in control_shapes(FULL).items():
        if len(shape) == 1 or name.startswith(OWN):
            found[name] = shape
            continue
        layer, rank = name.removesuffix(".weight"), min(CONTROL_RANK, shape[0])
        found[f"{layer}.up"] = (shape[0], rank, *[1 for _ in shape[2:]])
        found[f"{layer}.down"] = (rank, *shape[1:])
    return found


def write_control_lora(path: Path) -> None:
    safetensors(path, lora_shapes(), given={"lora_controlnet": torch.zeros(0, dtype=torch.float16)})


def run_controls(bench: Bench) -> Tensor:
    """Each of the three steers the same step another way."""
    model, _, _, words = prompted(bench)
    with bench.loading():
        bring(model)
    results, hint = [one_step(model, words)], torch.rand(1, PICTURE_PX, PICTURE_PX, 3)
    for name in (DIFFUSERS, LDM, CONTROL_LORA):
        with bench.loading():
            network = load_control(bench / name, bench.bfloat16)
            bring(network.network(model))
        results.append(one_step(model, controlled(words, Control(network, hint, 1.0), True)))
        if any(torch.equal(results[-1], earlier) for earlier in results[:-1]):
            raise Failure(f"{name} steers nothing")
    bench.notes.append("each steers the step")
    return torch.cat(results)


def write_head(path: Path) -> None:
    torch.save(tensors({"head": (320, 5, 3, 3)}, torch.float16), path)


def write_patch(path: Path) -> None:
    """Every weight of the UNet in 8 bits with the ends of its range, as behaviour §5.4.6 has it."""
    content = {}
    for number, (name, shape) in enumerate(unet_shapes(FULL).items()):
        block = torch.randint(0, 256, (1 << 16,), dtype=torch.uint8, generator=torch.Generator().manual_seed(number))
        count = torch.Size(shape).numel()
        values = block.repeat(-(-count // len(block)))[:count].reshape(shape).clone()
        width = 0.02 / torch.Size(shape[1:]).numel() ** 0.5
        content[f"diffusion_model.{name}"] = values, torch.tensor(-width), torch.tensor(width)
    torch.save(content, path)


def run_inpaint(bench: Bench) -> Tensor:
    model, _, _, words = prompted(bench)
    before = one_step(model, words)
    latent, cells = torch.randn(1, 4, LATENT, LATENT), torch.ones(1, 1, LATENT, LATENT)
    with bench.loading():
        changed = apply_engine(model, bench / HEAD, bench / PATCH, latent, cells)
    weights = len(unet_shapes(FULL))
    reached = len(changed.loras[0].deltas("unet"))
    if reached != weights:
        raise Failure(f"{reached} of {weights} weights are changed")
    with bench.loading():
        bring(changed)
    after = one_step(changed, words)
    if torch.equal(before, after):
        raise Failure("it changes nothing")
    bench.notes.append(f"all {weights} weights are changed")
    return after


DIFFUSERS, LDM = "controlnet-canny-sdxl-1.0.safetensors", "control-canny-sdxl-ldm.safetensors"
CONTROL_LORA = "control-lora-canny-rank128.safetensors"
PROOFS = {
    "controls": Proof(
        {
            DIFFUSERS: lambda path: safetensors(path, diffusers_shapes()),
            LDM: lambda path: safetensors(path, ldm_shapes()),
            CONTROL_LORA: write_control_lora,
        },
        run_controls,
        (r"^lora_controlnet$",),
        needs={SDXL: write_base},
    ),
    "inpaint": Proof({HEAD: write_head, PATCH: write_patch}, run_inpaint, needs={SDXL: write_base}),
}
