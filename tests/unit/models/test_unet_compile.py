"""The UNet stays one graph for torch.compile: no breaks, no recompilation from step to step."""

from pathlib import Path

import torch

from models.memory import Residency
from models.sdxl import load_checkpoint
from tests.parity.random_sdxl import Plan, write_checkpoint


def test_unet_is_traced_whole_and_once_for_all_steps(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors", Plan(multiples=(1, 1), depths=(0, 1)))
    model = load_checkpoint(tmp_path / "a.safetensors", Residency())[0]
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    generator = torch.Generator().manual_seed(0)
    x, context, y = (torch.randn(*size, generator=generator) for size in ((2, 4, 8, 8), (2, 77, 80), (2, 240)))
    with torch.inference_mode(), model.use() as unet:
        compiled = torch.compile(unet, backend=count, fullgraph=True)
        prepared = unet.prepare(context)
        for timestep in (999.0, 500.0, 1.0):
            timesteps = torch.tensor([timestep, timestep])
            assert torch.equal(compiled(x, timesteps, prepared, y), unet(x, timesteps, prepared, y))
        compiled(x, timesteps, unet.prepare(context + 1), y)
    torch.compiler.reset()
    assert len(graphs) == 1
