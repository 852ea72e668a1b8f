"""Pictures inside requests: how they may come, what is refused, what is stored."""

import asyncio
import base64
import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.fetch import one_reply
from api.input_images import is_absent

URL = "/v2/generation/image-upscale-vary"
FAST = {"uov_method": "Upscale (Fast 2x)"}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(width: int = 24, height: int = 16, colour: Any = (200, 30, 90)) -> bytes:
    return encoded(Image.new("RGB", (width, height), colour))


def sent(client: TestClient, value: Any, **more: Any) -> Image.Image:
    """Enlarge a picture and look at what came of it."""
    reply = client.post(URL, json={**FAST, "input_image": value, **more})
    assert reply.status_code == 200, reply.text
    return opened(client, reply.json()[0]["url"])


def opened(client: TestClient, url: str) -> Image.Image:
    with Image.open(io.BytesIO(client.get(url).content)) as image:
        return image.convert("RGB")


def fault(reply: Any) -> dict[str, Any]:
    assert reply.status_code == 422, reply.text
    (only,) = reply.json()["detail"]
    return only


def test_base64_comes_in_every_dress(client):
    packed = base64.b64encode(picture()).decode()
    lines = "\n".join(packed[i : i + 40] for i in range(0, len(packed), 40))
    for text in (
        packed,
        packed.rstrip("="),
        packed.replace("+", "-").replace("/", "_"),
        f"  {lines}\r\n",
        f"data:image/png;base64,{packed}",
        f"data:application/octet-stream;base64,{packed}",
    ):
        assert sent(client, text).size == (48, 32)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_common_format_is_read(client, kind):
    packed = base64.b64encode(encoded(Image.new("RGB", (24, 16), "red"), kind)).decode()
    red, *others = sent(client, packed).getpixel((0, 0))
    assert red > 250
    assert max(others) < 6


@pytest.mark.parametrize("value", [None, "", "None", "null", "none", "NULL", "string", " string "])
def test_a_placeholder_is_no_picture(client, value):
    assert is_absent(value)
    found = fault(client.post(URL, json={**FAST, "input_image": value}))
    assert (found["type"], found["loc"]) == ("missing", ["body", "input_image"])


@pytest.mark.parametrize(
    "value",
    [
        "@@@not base64@@@",
        "aGVsbG8gd29ybGQ=",
        "/etc/passwd",
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "é",
        base64.b64encode(picture()[:60]).decode(),
        "http://[bad",
        "http://",
        5,
        [],
        {},
    ],
)
def test_what_is_no_picture_is_refused_with_its_field(client, value):
    assert fault(client.post(URL, json={**FAST, "input_image": value}))["loc"] == ["body", "input_image"]


def test_a_long_refused_text_is_not_sent_back(client):
    reply = client.post(URL, json={**FAST, "input_image": "@" * 100_000})
    assert len(fault(reply)["input"]) < 300


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(client):
    bomb = base64.b64encode(encoded(Image.new("1", (9000, 9000)))).decode()
    assert "9000x9000" in fault(client.post(URL, json={**FAST, "input_image": bomb}))["msg"]


def test_a_phones_picture_is_turned(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(Image.new("RGB", (24, 16), "blue"), "JPEG", exif=exif)
    assert sent(client, base64.b64encode(lying).decode()).size == (32, 48)


def test_transparency_lies_on_white(client):
    clear = encoded(Image.new("RGBA", (24, 16), (0, 0, 0, 0)))
    assert sent(client, base64.b64encode(clear).decode()).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_every_colour_mode_is_read_as_what_it_shows(client, mode):
    grey = Image.new("L", (24, 16), 255)
    image = Image.new("I;16", (24, 16), 0xFFFF) if mode == "I;16" else grey.convert("RGB").convert(mode)
    packed = base64.b64encode(encoded(image, "TIFF" if mode == "CMYK" else "PNG")).decode()
    assert sent(client, packed).getpixel((3, 3)) == (255, 255, 255)


def test_the_same_picture_is_stored_once_under_its_hash(make_client):
    client = make_client()
    folder = client.app.state.services.input_dir
    for kind in ("PNG", "BMP"):
        sent(client, base64.b64encode(encoded(Image.new("RGB", (24, 16), "red"), kind)).decode())
    (stored,) = folder.iterdir()
    assert stored.name == f"{hashlib.sha256(stored.read_bytes()).hexdigest()}.png"


def test_the_servers_own_results_are_read_from_the_disk(client):
    first = client.post(URL, json={**FAST, "input_image": base64.b64encode(picture()).decode()}).json()[0]["url"]
    assert sent(client, first).size == (96, 64)
    assert sent(client, first.replace("127.0.0.1", "localhost")).size == (96, 64)
    missing = fault(client.post(URL, json={**FAST, "input_image": first.replace("-0.png", "-9.png")}))
    assert "no such file" in missing["msg"]
    outside = first.rsplit("/", 2)[0] + "/..%2f../jobs.sqlite3"
    assert fault(client.post(URL, json={**FAST, "input_image": outside}))["loc"] == ["body", "input_image"]


class Gallery(BaseHTTPRequestHandler):
    """/ok is a picture, /N redirects to /N-1 and /0 to /ok; the rest fails in its own way."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name.isdigit():
            self.send_response(302)
            self.send_header("Location", "/ok" if name == "0" else f"/{int(name) - 1}")
            self.end_headers()
            return
        if name == "file":
            self.send_response(301)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        if name == "host":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.headers["Host"].encode())
            return
        body = {"ok": picture(), "page": b"<html>", "large": b"x" * 300_000}.get(name)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"secret of the inner server")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def gallery() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gallery)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_picture_is_fetched_and_redirects_are_followed(client, gallery):
    assert sent(client, f"{gallery}/ok").size == (48, 32)
    assert sent(client, f"{gallery}/4").size == (48, 32)


@pytest.mark.parametrize("name", ["5", "9", "file", "page", "gone"])
def test_an_address_without_a_picture_is_refused_and_tells_nothing(client, gallery, name):
    reply = client.post(URL, json={**FAST, "input_image": f"{gallery}/{name}"})
    assert fault(reply)["loc"] == ["body", "input_image"]
    assert "secret" not in reply.text


def test_a_closed_door_is_refused(client):
    assert "reached" in fault(client.post(URL, json={**FAST, "input_image": "http://127.0.0.1:9/x.png"}))["msg"]


def test_a_server_for_others_fetches_public_addresses_only(make_client, gallery):
    client = make_client(host="0.0.0.0")
    for url in (f"{gallery}/ok", "http://169.254.169.254/latest", "http://10.0.0.1/a.png"):
        assert "public" in fault(client.post(URL, json={**FAST, "input_image": url}))["msg"]


def test_a_named_host_is_fetched_and_its_redirect_elsewhere_is_not(make_client, gallery):
    client = make_client(host="0.0.0.0", allow_hosts="127.0.0.1", max_upload=200_000)
    assert sent(client, f"{gallery}/1").size == (48, 32)
    too_large = fault(client.post(URL, json={**FAST, "input_image": f"{gallery}/large"}))
    assert "200000 bytes" in too_large["msg"]


def test_the_connection_goes_to_the_address_that_was_checked(gallery):
    async def ask() -> bytes | str:
        async with httpx2.AsyncClient(trust_env=False) as client:
            port = gallery.rpartition(":")[2]
            url = httpx2.URL(f"http://pictures.example:{port}/host")
            return await one_reply(client, url, "127.0.0.1", 1000)

    assert asyncio.run(ask()).startswith(b"pictures.example:")  # type: ignore[union-attr]
