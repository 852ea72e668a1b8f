"""BLIP's captioner against transformers, on tiny random weights."""

import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil

from models.describe.blip import Blip, Seen
from models.describe.captioner import prepared
from models.describe.formats import ORIGINAL, TRANSFORMERS, open_captioner, plan_blip, renamed_by
from models.errors import BadModelFile
from models.formats.plan import fill
from models.tiny.scenes import Scene, Thing, draw

CLOSE = 1e-4
TEXT = {
    "vocab_size": 50, "hidden_size": 128, "encoder_hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 2, "max_position_embeddings": 32, "projection_dim": 64, "bos_token_id": 48,
    "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 1, "image_size": 48,
    "patch_size": 16, "projection_dim": 64,
}  # fmt: skip


def reference(eps: float) -> BlipForConditionalGeneration:
    torch.manual_seed(5)
    config = BlipConfig(text_config=TEXT, vision_config=VISION | {"layer_norm_eps": eps}, projection_dim=64)
    model = BlipForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape) * 0.15 + spread)
    model.tie_weights()
    return model


def in_layout(model: BlipForConditionalGeneration, layout: str, folder):
    """Write the reference's weights as a file of a layout."""
    state = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    state = {name: tensor for name, tensor in state.items() if "position_ids" not in name}
    if layout == "transformers":
        path = folder / "blip.safetensors"
        # What transformers itself leaves out, since it is the same tensor under another name.
        for tied in ("text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias"):
            state.pop(tied, None)
        save_file(state, path)
        return path
    back = {ours: theirs for theirs, ours in ORIGINAL.items()}
    original = {}
    for name, tensor in state.items():
        ours = renamed_by(TRANSFORMERS, name)
        original[renamed_by(back, ours) if ours else name] = tensor
    original["text_decoder.bert.embeddings.position_ids"] = torch.arange(32)[None]
    path = folder / "blip.pth"
    torch.save({"model": original}, path)
    return path


@pytest.mark.parametrize(("layout", "eps"), [("transformers", 1e-5), ("original", 1e-6)])
def test_logits_equal_those_of_transformers(tmp_path, layout, eps):
    model = reference(eps)
    with open_captioner(in_layout(model, layout, tmp_path)) as file:
        sizes, plan = plan_blip(file)
        blip = Blip(sizes).eval()
        with torch.no_grad():
            fill(blip, file, plan)
    pixels, ids = torch.randn(2, 3, 48, 48), torch.randint(0, 50, (2, 9))
    with torch.no_grad():
        wanted = model(pixel_values=pixels, input_ids=ids)
        tokens = blip.vision(pixels)
        assert (tokens - wanted.last_hidden_state).abs().max() < CLOSE
        assert (blip.text(ids, tokens) - wanted.logits).abs().max() < CLOSE
        seen = [Seen() for _ in blip.text.layers]
        parts = [blip.text(ids[:, :4], tokens, seen)]
        parts += [blip.text(ids[:, n : n + 1], tokens, seen, start=n) for n in range(4, 9)]
        assert (torch.cat(parts, dim=1) - wanted.logits).abs().max() < CLOSE
    assert sizes.side == 48


def test_names_of_the_original_layout_are_those_of_the_published_file():
    """A sample of the key list of BLIP's repository (models/blip.py, vit.py, med.py), written down by hand."""
    published = {
        "visual_encoder.cls_token": "vision.cls",
        "visual_encoder.pos_embed": "vision.positions",
        "visual_encoder.patch_embed.proj.weight": "vision.patches.weight",
        "visual_encoder.blocks.11.attn.qkv.bias": "vision.blocks.11.qkv.bias",
        "visual_encoder.blocks.0.attn.proj.weight": "vision.blocks.0.proj.weight",
        "visual_encoder.blocks.3.mlp.fc2.weight": "vision.blocks.3.fc2.weight",
        "visual_encoder.norm.bias": "vision.norm.bias",
        "text_decoder.bert.embeddings.word_embeddings.weight": "text.words.weight",
        "text_decoder.bert.embeddings.LayerNorm.bias": "text.norm.bias",
        "text_decoder.bert.encoder.layer.7.attention.self.query.weight": "text.layers.7.attention.query.weight",
        "text_decoder.bert.encoder.layer.7.crossattention.output.LayerNorm.weight": "text.layers.7.cross.norm.weight",
        "text_decoder.bert.encoder.layer.2.intermediate.dense.bias": "text.layers.2.grow.bias",
        "text_decoder.cls.predictions.transform.LayerNorm.weight": "text.transform_norm.weight",
        "text_decoder.cls.predictions.decoder.weight": "text.decoder.weight",
    }
    assert {name: renamed_by(ORIGINAL, name) for name in published} == published
    assert renamed_by(ORIGINAL, "text_decoder.bert.embeddings.position_ids") is None


def test_pictures_are_prepared_as_by_transformers():
    """Its processor resizes 8-bit pictures, so that each value may be off by its rounding."""
    picture = draw(Scene("cyan", (Thing("star", "red"),)), 160, 96, random.Random(3))
    processor = BlipImageProcessorPil(size={"height": 64, "width": 64})
    wanted = processor(picture, return_tensors="pt")["pixel_values"]
    found = prepared(torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255), 64)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 1.5 / 255 / 0.26


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"conv_first.weight": torch.zeros(4, 3, 3, 3)}, path)
    with open_captioner(path) as file, pytest.raises(BadModelFile, match="no captioner"):
        plan_blip(file)
