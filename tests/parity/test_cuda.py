"""On a GPU: half precision stays close to float32 on the CPU, and modules survive being offloaded."""

from pathlib import Path

import pytest
import torch

from models.memory import Level, Residency
from models.sdxl import encode_tokens, load_checkpoint
from tests.parity.random_sdxl import TINY, write_checkpoint
from tests.parity.test_unet import inputs, ours, size_vector

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_half_precision_on_the_gpu_is_close_to_float32_on_the_cpu(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    on_cpu, on_gpu = (load_checkpoint(tmp_path / "a.safetensors", Residency(device)) for device in ("cpu", "cuda"))
    x, timesteps, context, pooled, numbers = (tensor.cuda() for tensor in inputs(TINY))
    with torch.inference_mode(), on_gpu[0].use() as unet:
        got = unet(x, timesteps, context, size_vector(pooled, numbers, TINY.time_width))
    torch.testing.assert_close(got.cpu(), ours(on_cpu[0], TINY), rtol=0, atol=0.03)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(on_gpu[2].decode(latents), on_cpu[2].decode(latents), rtol=0, atol=0.05)
    ids = torch.randint(0, 599, (2, 77), generator=torch.Generator().manual_seed(0))
    hidden = [encode_tokens(clip, ids, "g").hidden.cpu() for _, clip, _ in (on_cpu, on_gpu)]
    torch.testing.assert_close(hidden[1], hidden[0], rtol=0, atol=0.05)


def test_module_offloaded_to_main_memory_comes_back_the_same(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    residency = Residency("cuda")
    model, clip, _ = load_checkpoint(tmp_path / "a.safetensors", residency)
    with model.use() as unet:
        before = unet.emb_weight.clone()
    residency.budget_bytes = model.unet.bytes + clip.l.bytes - 1
    encode_tokens(clip, [[1] * 77], "l")
    assert model.unet.level is Level.HOST
    with model.use() as unet:
        assert torch.equal(unet.emb_weight, before)
    assert model.unet.loads == 1
