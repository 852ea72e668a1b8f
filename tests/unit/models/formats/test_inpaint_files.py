"""Inpaint heads and patches: read as the specification says, everything else refused."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.errors import BadModelFile
from models.formats.inpaint_files import read_head, read_patch

NAME = "diffusion_model.out.2.weight"


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def normal(seed, shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_patch_gives_the_recorded_change(tmp_path):
    """Fooocus behaviour §11.5: R(1, (8, 6)), q = 5·i, -0.3 … 0.7."""
    values = (torch.arange(48) * 5).to(torch.uint8).reshape(8, 6)
    path = written(tmp_path / "a.fooocus.patch", {NAME: (values, torch.tensor(-0.3), torch.tensor(0.7))})
    delta = read_patch(path)["out.2.weight"]
    weight = normal(1, (8, 6))
    out = delta(weight, weight, 1.0)
    torch.testing.assert_close(
        out.flatten()[:4], torch.tensor([-1.825596, -1.030624, -0.914765, -1.850661]), rtol=1e-5, atol=1e-6
    )
    assert torch.equal(delta(weight, weight, 0.0), weight)


@pytest.mark.parametrize("zipped", [True, False])
def test_bounds_may_be_numbers_or_one_per_row(tmp_path, zipped):
    values = torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8)
    low, high = normal(2, (4, 1, 1, 1)).half(), normal(3, (4, 1, 1, 1)).abs().half()
    entries = {NAME: [values, low, high], "diffusion_model.b": (values, -1.0, 1.0)}
    torch.save(entries, tmp_path / "p.fooocus.patch", _use_new_zipfile_serialization=zipped)
    deltas = read_patch(tmp_path / "p.fooocus.patch")
    zeros = torch.zeros(4, 3, 2, 2)
    expected = values.float() / 255 * (high.float() - low.float()) + low.float()
    torch.testing.assert_close(deltas["out.2.weight"](zeros, zeros, 1.0), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(deltas["b"](zeros, zeros, 0.5), (values.float() / 255 * 2 - 1) / 2)


GOOD = (torch.zeros(2, 2, dtype=torch.uint8), torch.tensor(0.0), torch.tensor(1.0))


@pytest.mark.parametrize(
    "content",
    [
        {},
        [GOOD],
        {"first_stage_model.a": GOOD},
        {NAME: torch.zeros(2, 2)},
        {NAME: GOOD[:2]},
        {NAME: (torch.zeros(2, 2), *GOOD[1:])},
        {NAME: (GOOD[0], torch.zeros(3, 2), GOOD[2])},
        {NAME: (GOOD[0], torch.zeros(5, 2, 2), GOOD[2])},
        {NAME: (GOOD[0], "0", GOOD[2])},
        {NAME: (torch.zeros(1, dtype=torch.uint8).expand(1 << 20, 1 << 10), *GOOD[1:])},
    ],
)
def test_what_is_no_patch_is_refused_by_name(tmp_path, content):
    with pytest.raises(BadModelFile, match=r"x\.fooocus\.patch"):
        read_patch(written(tmp_path / "x.fooocus.patch", content))


class Attack:
    """What a malicious file does: call something while it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_patch_is_not_run(tmp_path):
    path = written(tmp_path / "x.fooocus.patch", {NAME: Attack(tmp_path / "owned")})
    with pytest.raises(BadModelFile):
        read_patch(path)
    assert not (tmp_path / "owned").exists()


def test_a_head_is_read_in_both_formats(tmp_path):
    head = normal(5, (32, 5, 3, 3)).half()
    save_file({"head": head}, tmp_path / "head.safetensors")
    for path in (written(tmp_path / "head.pth", {"head": head}), tmp_path / "head.safetensors"):
        assert torch.equal(read_head(path), head.float())


@pytest.mark.parametrize("content", [{"head": torch.zeros(32, 4, 3, 3)}, {"body": torch.zeros(32, 5, 3, 3)}])
def test_what_is_no_head_is_refused(tmp_path, content):
    with pytest.raises(BadModelFile, match=r"head\.pth"):
        read_head(written(tmp_path / "head.pth", content))
