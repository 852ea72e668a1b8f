"""GraphBuilder: calls in, ComfyUI's API format out."""

import pytest

from graphs.builder import GraphBuilder


def test_ids_count_up_and_links_point_at_outputs():
    g = GraphBuilder()
    loader = g.CheckpointLoaderSimple(ckpt_name="a.safetensors")
    text = g.CLIPTextEncode(clip=loader["CLIP"], text="a cat")
    g.KSampler(model=loader, positive=text, negative=text, latent_image=loader[2], seed=1)
    assert g.build().to_json() == {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a cat"}},
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["2", 0],
                "latent_image": ["1", 2],
                "seed": 1,
            },
        },
    }


def test_a_list_constant_is_wrapped_so_that_it_is_no_link():
    g = GraphBuilder()
    g.EncodePrompts(texts=["a", "b"])
    assert g.build().to_json()["1"]["inputs"] == {"texts": {"__value__": ["a", "b"]}}


def test_an_output_that_is_not_there_is_an_error():
    loader = GraphBuilder().LoraLoader()
    with pytest.raises(ValueError):
        loader["VAE"]
