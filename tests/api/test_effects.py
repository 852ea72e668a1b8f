"""Which settings are said to have no effect: those that have none, and no others."""

import pytest

from tests.api.test_engine_generate import IMAGE, URL

STAGE = {"enhance_enabled": True, "enhance_mask_model": "u2net"}
ENHANCED = {"enhance_input_image": IMAGE, "enhance_checkbox": True, "enhance_ctrls": [STAGE]}


@pytest.mark.parametrize(
    ("body", "is_useful"),
    [
        ({}, False),
        ({"refiner_model_name": "other.safetensors"}, True),
        ({"inpaint_input_image": IMAGE, "outpaint_selections": ["Left"]}, True),  # it ends the inpaint engine
        (ENHANCED, True),
        ({"uov_input_image": IMAGE, "uov_method": "Vary (Subtle)"}, False),
    ],
    ids=["text", "refiner", "inpaint", "enhance", "vary"],
)
def test_the_step_to_switch_at_is_useful_beside_a_refiner_and_an_inpaint_engine(client, body, is_useful):
    reply = client.post(URL, json={"prompt": "a", "overwrite_switch": 3, "async_process": True, **body})
    assert ("overwrite_switch has no effect" in reply.headers.get("x-warning", "")) is not is_useful
