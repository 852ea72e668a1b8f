"""Whatever is sent to the image routes, as JSON, as a form or as a damaged file, is answered or refused."""

import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api.contracts.fooocus_api.image_schemas import Enhance, EnhanceForm, Inpaint, PromptForm, UpscaleVary
from api.contracts.fooocus_api.schemas import TextToImage
from graphs.uov import METHODS
from tests.api.test_fuzz import RELAXED, bodies, values
from tests.api.test_image_routes import INPAINT, VARY, fault
from tests.api.test_input_images import encoded, picture

PICTURE = base64.b64encode(picture()).decode()
PROMPT, ENHANCE = "/v{}/generation/image-prompt", "/v{}/generation/image-enhance"
SCHEMAS = (UpscaleVary, Inpaint, PromptForm, Enhance, EnhanceForm)
OWN = sorted({name for schema in SCHEMAS for name in schema.__struct_fields__} - set(TextToImage.__struct_fields__))
pictures = st.one_of(values, st.just(PICTURE))
likely = {
    "input_image": pictures,
    "input_mask": pictures,
    "uov_method": values | st.sampled_from(METHODS),
    "image_prompts": values
    | st.lists(st.fixed_dictionaries({"cn_img": pictures}, optional={"cn_stop": values}), max_size=5),
    "cn_img1": pictures,
    "enhance_ctrlnets": values | st.lists(st.fixed_dictionaries({"enhance_enabled": values}), max_size=4),
    "outpaint_selections": values | st.lists(st.sampled_from(["left", "Top", "right,bottom", "Up"]), max_size=3),
}
image_bodies = st.tuples(
    bodies, st.fixed_dictionaries({}, optional={name: likely.get(name, values) for name in OWN})
).map(lambda both: {**both[0], **both[1]})


def answered_or_refused(reply) -> None:
    assert reply.status_code in (200, 400, 422), reply.text
    if reply.status_code == 422:
        for fault in reply.json()["detail"]:
            assert {"type", "loc", "msg"} <= set(fault)


@pytest.mark.parametrize("url", [url.format(2) for url in (VARY, INPAINT, PROMPT, ENHANCE)])
@RELAXED
@given(body=image_bodies)
def test_any_json_is_answered_or_refused(client, url, body):
    answered_or_refused(client.post(url, json={**body, "async_process": True, "image_number": 1}))


@pytest.mark.parametrize("url", [url.format(1) for url in (VARY, INPAINT, PROMPT, ENHANCE)])
@RELAXED
@given(body=image_bodies)
def test_any_form_is_answered_or_refused(client, url, body):
    fields = {name: str(value) for name, value in body.items() if name != "input_image"}
    fields = {name: text.encode("utf-8", "replace").decode() for name, text in fields.items()}
    fields |= {"async_process": "true", "image_number": "1"}
    answered_or_refused(client.post(url, data=fields, files={"input_image": picture()}))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of damage that it can live with
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@RELAXED
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(client, kind, data):
    whole = bytearray(encoded(Image.new("RGB", (16, 12), "red"), kind))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=6)):
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(whole)))
    files = {"input_image": io.BytesIO(bytes(whole[:cut]))}
    reply = client.post(VARY.format(1), data={"uov_method": "Disabled", "async_process": "true"}, files=files)
    if reply.status_code != 200:
        assert fault(reply)["loc"] == ["body", "input_image"]


@RELAXED
@given(body=st.binary(max_size=200), boundary=st.text("ab-;=\"' ", max_size=8))
def test_any_bytes_that_claim_to_be_a_form_are_refused(client, body, boundary):
    kind = f"multipart/form-data; boundary={boundary}"
    for url in (VARY.format(1), INPAINT.format(2)):
        reply = client.post(url, content=b"--" + boundary.encode() + b"\r\n" + body, headers={"content-type": kind})
        assert reply.status_code in (400, 422), reply.text
