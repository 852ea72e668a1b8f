"""Masks of other sizes: the picture's proportions are resized, others refused before anything is queued."""

import pytest

from tests.api.test_image_routes import BLUE, INPAINT, RED, as_text, half_mask
from tests.api.test_input_images import fault, opened, picture

GENERATE = "/v1/engine/generate/"


def ask(client, route, mask, size=(64, 32), **more):
    """A request to one of the three doors for inpainting."""
    image = picture(*size, BLUE)
    if route == "v1":
        return client.post(INPAINT.format(1), data=more, files={"input_image": image, "input_mask": mask})
    if route == "v2":
        body = {"input_image": as_text(image), "input_mask": as_text(mask)}
        return client.post(INPAINT.format(2), json=body | more)
    body = {"inpaint_input_image": as_text(image), "inpaint_mask_image_upload": as_text(mask)}
    return client.post(GENERATE, json=body | more)


@pytest.mark.parametrize("route", ["v1", "v2", "b"])
def test_a_mask_of_the_same_proportions_is_resized(client, route):
    reply = ask(client, route, half_mask(128, 64))
    task = reply.json()
    url = task["result"][0] if route == "b" else task[0]["url"]
    image = opened(client, url).convert("RGB")
    assert image.size == (64, 32)
    assert [image.getpixel(place) for place in ((3, 3), (60, 3))] == [RED, BLUE]


@pytest.mark.parametrize(
    ("route", "field"), [("v1", "input_mask"), ("v2", "input_mask"), ("b", "inpaint_mask_image_upload")]
)
def test_a_mask_of_other_proportions_is_refused_with_both_sizes_and_the_remedy(client, route, field):
    before = client.get("/v1/generation/job-queue").json()
    told = fault(ask(client, route, half_mask(64, 40)))
    assert (told["loc"], told["type"]) == (["body", field], "value_error")
    assert all(words in told["msg"] for words in ("64x40", "64x32", "Send a mask of the picture's proportions"))
    assert client.get("/v1/generation/job-queue").json() == before


@pytest.mark.parametrize(
    ("size", "mask", "fits"),
    [
        ((64, 32), (67, 32), True),
        ((64, 32), (68, 32), False),
        ((64, 32), (61, 32), True),
        ((64, 32), (60, 32), False),
        ((16, 16), (17, 16), True),
        ((16, 16), (18, 16), False),
    ],
)
def test_proportions_may_differ_by_five_percent_or_a_pixel(client, size, mask, fits):
    reply = ask(client, "v2", half_mask(*mask), size, async_process=True)
    assert reply.status_code == (200 if fits else 422), reply.text


def test_with_outpainting_the_mask_is_that_of_the_picture_as_it_came(client):
    more = {"outpaint_selections": ["Right"], "outpaint_distance_right": 32}
    reply = ask(client, "v2", half_mask(64, 32), **more)
    assert opened(client, reply.json()[0]["url"]).size == (96, 32)
    assert fault(ask(client, "v2", half_mask(96, 32), **more))["loc"] == ["body", "input_mask"]


def test_a_mask_with_nothing_painted_counts_as_none_whatever_its_shape(client):
    reply = ask(client, "v2", picture(10, 50, (0, 0, 0)), async_process=True)
    assert "counts as none" in reply.headers["x-warning"]
