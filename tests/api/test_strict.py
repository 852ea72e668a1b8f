"""Strict servers: unknown names are refused with the nearest one."""

import pytest

from tests.api.conftest import fake_settings, open_client
from tests.api.test_acceptance_a import succeeded
from tests.api.test_input_images import fault
from tests.api.test_text_to_image import URL


@pytest.fixture(scope="module")
def strict_client(tmp_path_factory):
    with open_client(fake_settings(tmp_path_factory.mktemp("strict"), strict=True)) as opened_client:
        yield opened_client


@pytest.mark.parametrize(
    ("body", "loc", "near"),
    [
        ({"style_selections": ["Fooocus Enhanse"]}, ["body", "style_selections"], "Fooocus Enhance"),
        ({"base_model_name": "othr.safetensors"}, ["body", "base_model_name"], "other.safetensors"),
        ({"loras": [{"model_name": "sub/b.safetensors"}]}, ["body", "loras"], "sub/a.safetensors"),
        ({"refiner_model_name": "othr.safetensors"}, ["body", "refiner_model_name"], "other.safetensors"),
        ({"preset": "anim"}, ["body", "preset"], "anime"),
        ({"advanced_params": {"sampler_name": "eulr"}}, ["body", "advanced_params", "sampler_name"], "euler"),
        (
            {"advanced_params": {"refiner_swap_method": "joit"}},
            ["body", "advanced_params", "refiner_swap_method"],
            "joint",
        ),
    ],
)
def test_strict_refuses_unknown_names_with_the_nearest(strict_client, body, loc, near):
    found = fault(strict_client.post(URL, json={"prompt": "a", **body}))
    assert found["loc"] == loc
    assert near in found["msg"]


def test_strict_takes_what_is_known_and_the_documented_defaults(strict_client):
    for name in ("juggernautXL_version6Rundiffusion.safetensors", "None"):
        succeeded(strict_client.post(URL, json={"base_model_name": name, "style_selections": ["fooocus v2"]}))
