"""The single file against diffusers' own reader of the published layout."""

from pathlib import Path

import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors import safe_open

from models.tiny import export
from models.tiny.architecture import VAE_NORM_GROUPS, new_text_encoders, new_unet, new_vae
from models.tiny.train import Modules


@pytest.fixture(scope="module")
def modules() -> Modules:
    text_l, text_g = new_text_encoders()
    return Modules(new_unet(), text_l, text_g)


@pytest.fixture(scope="module")
def file(modules: Modules, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "model.safetensors"
    unet, text_l, text_g = (module.state_dict() for module in modules.named().values())
    export.write(path, export.single_file(unet, new_vae().state_dict(), text_l, text_g))
    return path


def halves(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v.half().float() for k, v in state.items() if v.is_floating_point()}


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(wanted)
    assert all(torch.equal(found[k].reshape(wanted[k].shape), wanted[k]) for k in wanted)


def test_diffusers_reads_the_unet_back_exactly(file: Path, modules: Modules) -> None:
    config = dict(modules.unet.config)
    assert_same(
        single_file_utils.convert_ldm_unet_checkpoint(export.read(file), config), halves(modules.unet.state_dict())
    )


def test_diffusers_reads_a_vae_with_all_its_parameters(file: Path) -> None:
    vae = new_vae()
    found = single_file_utils.convert_ldm_vae_checkpoint(export.read(file), dict(vae.config))
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in vae.state_dict().items()}


def test_what_is_written_is_read_back(file: Path, modules: Modules) -> None:
    text_l, text_g = new_text_encoders()
    again = Modules(new_unet(), text_l, text_g)
    export.load_modules(file, again)
    for name, module in again.named().items():
        assert_same(halves(module.state_dict()), halves(modules.named()[name].state_dict()))


def test_the_header_says_how_many_norm_groups_the_vae_has(file: Path) -> None:
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["focal.vae_norm_groups"] == str(VAE_NORM_GROUPS)
