"""Requests with very many faults, or very many pictures: the answer is short, and no more is read than counts."""

import base64

import pytest

from api.errors import MOST_FAULTS
from tests.api.test_input_images import picture
from tests.api.test_text_to_image import URL

GENERATE, PROMPTED = "/v1/engine/generate/", "/v2/generation/image-prompt"
LISTS = {GENERATE: "controlnet_image", PROMPTED: "image_prompts"}


@pytest.mark.parametrize("path", [URL, GENERATE])
def test_the_answer_to_five_thousand_faults_is_short(client, path):
    reply = client.post(path, json={"loras": [{"model_name": 5, "weight": "x" * 300}] * 2500})
    assert reply.status_code == 422
    *told, last = reply.json()["detail"]
    assert (len(told), last["loc"], last["ctx"]) == (MOST_FAULTS, ["body"], {"left_out": 5000 - MOST_FAULTS})
    assert len(reply.content) < 50_000


@pytest.mark.parametrize("path", [GENERATE, PROMPTED])
def test_of_many_image_prompts_only_the_first_four_are_looked_at(make_client, tmp_path, path):
    client = make_client()
    nobody = {"cn_img": "http://127.0.0.1:1/none.png"}
    reply = client.post(path, json={LISTS[path]: [{}, *[nobody] * 50]})
    assert [fault["loc"][2] for fault in reply.json()["detail"]] == [1, 2, 3, 4]
    sent = [base64.b64encode(picture(8 + number, 8)).decode() for number in range(8)]
    assert client.post(path, json={LISTS[path]: [{}, *({"cn_img": text} for text in sent)]}).status_code == 200
    assert len(list((tmp_path / "input").glob("*.png"))) == 4
