"""Distilled modes: whose LoRA they take, and that it is theirs alone."""

import pytest

from graphs.catalog import TINY_CHECKPOINT, Catalog, MissingFile
from graphs.images import image_text
from graphs.known_files import KNOWN_FILES
from graphs.metadata_own import one_picture
from graphs.performance import PERFORMANCES
from graphs.request import GenerationRequest, Lora
from graphs.resolve import resolve

REAL = "juggernautXL_v8Rundiffusion.safetensors"
MODES = [mode for mode in PERFORMANCES.values() if mode.distilled]
TINY_LORAS = tuple(KNOWN_FILES[mode.distilled.role].tiny for mode in MODES)


def catalog(*loras: str) -> Catalog:
    return Catalog(checkpoints=(REAL, TINY_CHECKPOINT), loras=(*loras, *TINY_LORAS))


def asked(mode, **fields) -> GenerationRequest:
    return GenerationRequest(prompt="a red circle", seed=1, performance=mode.label, **fields)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.label)
def test_beside_the_tiny_checkpoint_the_tiny_lora_is_used_at_the_modes_weight(mode):
    generation, warnings = resolve(asked(mode, base_model=TINY_CHECKPOINT, preset="tiny"), catalog())
    assert warnings == []
    assert generation.loras == [Lora(KNOWN_FILES[mode.distilled.role].tiny, mode.distilled.weight)]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.label)
def test_beside_a_real_checkpoint_the_published_file_is_needed_and_refused_by_name_folder_and_command(mode):
    known = KNOWN_FILES[mode.distilled.role]
    with pytest.raises(MissingFile) as caught:
        resolve(asked(mode, base_model=REAL), catalog())
    said = f"{caught.value} {caught.value.hint}"
    assert caught.value.field == "performance"
    assert all(word in said for word in (known.name, "models/loras", f"focal models download {known.name}", mode.label))
    generation, _ = resolve(asked(mode, base_model=REAL, loras=[]), catalog(f"fast/{known.name}"))
    assert generation.loras == [Lora(f"fast/{known.name}", mode.distilled.weight)]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.label)
def test_a_picture_made_again_does_not_carry_the_modes_lora_twice(mode):
    style = Lora("focal-tiny-style.safetensors", 0.5)
    installed = catalog(style.name)
    request = asked(mode, base_model=TINY_CHECKPOINT, preset="tiny", loras=[style])
    generation, _ = resolve(request, installed)
    again = one_picture(generation, image_text(generation, installed, 0))
    assert again.loras == [style]
    assert resolve(again, installed)[0].loras == generation.loras
