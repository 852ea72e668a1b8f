"""The tiny Control-LoRAs: what training writes is what the product reads, in the dialect of the published files."""

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from models.control.formats import MARKER
from models.control.model import load_control
from models.memory import Residency
from models.sdxl import load_checkpoint
from models.tiny import CHECKPOINT
from models.tiny.control_lora import ControlLora, write
from models.tiny.export import load_modules
from models.tiny.train import fresh_modules
from tests.unit.models.sampling.stand_in import normal

EMBEDDED = sorted((CHECKPOINT.parent / "controlnet").glob("focal-tiny-control-*.safetensors"))


def test_a_written_file_gives_the_outputs_of_training(tmp_path: Path) -> None:
    base = fresh_modules()
    load_modules(CHECKPOINT, base)
    lora = ControlLora(base.unet)  # type: ignore[arg-type]
    with torch.no_grad():
        for index, (name, tensor) in enumerate(sorted(lora.tensors.items())):
            tensor += 0.05 * normal(index, tuple(tensor.shape))
            lora.tensors[name].copy_(tensor.half())
    write(tmp_path / "lora.safetensors", lora.tensors)
    x, hint, timestep = normal(1, (2, 4, 8, 8)), torch.rand(1, 3, 64, 64), torch.tensor([700, 20])
    context, pooled, sizes = normal(2, (2, 77, 96)), normal(3, (2, 64)), torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)
    residency = Residency()
    model = load_checkpoint(CHECKPOINT, residency)[0]
    with torch.inference_mode():
        expected, middle = lora(x, timestep, context, hint, {"text_embeds": pooled, "time_ids": sizes})
        with load_control(tmp_path / "lora.safetensors", residency).network(model).use() as network:
            y = torch.cat((pooled, embedded(sizes)), dim=1)
            found, mine = network(x, timestep, context, y, network.read_hint(hint))
    for one, other in zip((*found, mine), (*expected, middle), strict=True):
        assert other.std() > 0.01
        torch.testing.assert_close(one.float(), other, rtol=0, atol=0.02 * float(other.std()))


def embedded(sizes: torch.Tensor) -> torch.Tensor:
    """Sinusoids of the six numbers, 32 wide each: cosines, then sines, of number / 10000^(i/16)."""
    angles = sizes[..., None] / 10_000 ** (torch.arange(16) / 16)
    return torch.cat((angles.cos(), angles.sin()), dim=-1).flatten(1)


@pytest.mark.parametrize("path", EMBEDDED, ids=lambda path: path.stem)
def test_the_embedded_files_are_control_loras(path: Path) -> None:
    with safe_open(path, "pt") as file:
        names = set(file.keys())
    assert MARKER in names
    others = r"(input_blocks\.\d+|middle_block\.\d|zero_convs\.[0-8]\.0|middle_block_out\.0|input_hint_block\.\d+"
    others += r"|time_embed\.\d|label_emb\.0\.\d)(\..+)?\.(up|down|weight|bias)"
    assert [name for name in names if name != MARKER and not re.fullmatch(others, name)] == []
    assert load_control(path, Residency()).file.sizes is None
    assert path.stat().st_size < 4_500_000


def test_both_are_there() -> None:
    assert len(EMBEDDED) == 2
