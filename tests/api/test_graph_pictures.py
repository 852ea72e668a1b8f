"""Contract C: uploads, and pictures that are viewed."""

from io import BytesIO

import pytest
from PIL import Image


def png(colour: str = "red", size: tuple[int, int] = (8, 4), mode: str = "RGB", format: str = "PNG") -> bytes:
    out = BytesIO()
    Image.new(mode, size, colour).save(out, format)
    return out.getvalue()


class TestPictures:
    def upload(self, client, data: bytes, name: str = "a.png", **form: str):
        return client.post("/upload/image", files={"image": (name, data)}, data=form)

    def test_an_upload_can_be_viewed_and_the_same_one_is_kept_once(self, client):
        first = self.upload(client, png(), "cat.png").json()
        assert first == {"name": "cat.png", "subfolder": "", "type": "input"}
        assert self.upload(client, png(), "cat.png").json()["name"] == "cat.png"
        assert self.upload(client, png("blue"), "cat.png").json()["name"] == "cat (1).png"
        assert self.upload(client, png("green"), "cat.png", overwrite="true").json()["name"] == "cat.png"
        reply = client.get("/view", params={"filename": "cat.png", "type": "input"})
        assert Image.open(BytesIO(reply.content)).getpixel((0, 0)) == (0, 128, 0)
        assert client.get("/view", params={"filename": "cat.png [input]"}).content == reply.content

    def test_the_stored_ending_is_that_of_the_real_format(self, client):
        for format, extension in (("JPEG", "jpg"), ("WEBP", "webp"), ("PNG", "png")):
            stored = self.upload(client, png(format=format), f"x{format}.html", subfolder="a/b").json()
            assert stored == {"name": f"x{format}.{extension}", "subfolder": "a/b", "type": "input"}
            query = {"filename": stored["name"], "type": "input", "subfolder": "a/b"}
            assert client.get("/view", params=query).headers["content-type"].startswith("image/")

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"<html><script>alert(1)</script></html>",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            png()[:40],
            b"GIF89a" + bytes(20),
            b"%PDF-1.4",
        ],
    )
    def test_what_is_no_picture_is_refused(self, client, data):
        assert self.upload(client, data, "a.png").status_code == 400

    def test_a_page_hidden_behind_a_picture_is_not_kept(self, client):
        stored = self.upload(client, png() + b"<script>alert(1)</script>", "poly.png").json()
        reply = client.get("/view", params={"filename": stored["name"], "type": "input"})
        assert b"script" not in reply.content
        assert reply.headers["x-content-type-options"] == "nosniff"

    def test_a_form_without_a_file_is_refused(self, client):
        assert client.post("/upload/image", data={"type": "input"}).status_code == 400
        assert client.post("/upload/image", json={}).status_code == 400

    @pytest.mark.parametrize("subfolder", ["../x", "/etc", "a/../../x", "..\\x", "C:\\x", "a\0b"])
    def test_an_upload_cannot_leave_its_folder(self, client, subfolder):
        assert self.upload(client, png(), "a.png", subfolder=subfolder).status_code == 400

    @pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..\\evil.png", "a\0b.png", ".hidden.png"])
    def test_a_file_name_is_only_a_name(self, client, name):
        reply = self.upload(client, png("purple"), name)
        assert reply.status_code in (200, 400)
        if reply.status_code == 200:
            stored = reply.json()["name"]
            assert not set(stored) & {"/", "\\"}
            assert not stored.startswith(".")

    def test_an_unknown_folder_is_refused(self, client):
        assert self.upload(client, png(), type="models").status_code == 400
        assert client.get("/view", params={"filename": "a.png", "type": "models"}).status_code == 400

    @pytest.mark.parametrize(
        "query",
        [
            {"filename": "../jobs.sqlite3"},
            {"filename": "../canary.png"},
            {"filename": "/etc/passwd"},
            {"filename": "canary.png", "subfolder": ".."},
            {"filename": "canary.png", "subfolder": "../.."},
            {"filename": "a.png", "subfolder": "/etc"},
            {"filename": ""},
            {"filename": "missing.png"},
            {"filename": "jobs.sqlite3"},
        ],
    )
    def test_nothing_else_can_be_viewed(self, client, query):
        (client.app.state.services.settings.data / "canary.png").write_bytes(b"canary")
        reply = client.get("/view", params=query)
        assert reply.status_code in (400, 404)
        assert b"canary" not in reply.content

    def test_channels_and_previews(self, client):
        stored = self.upload(client, png("#11223344", mode="RGBA"), "alpha.png").json()
        query = {"filename": stored["name"], "type": "input"}
        rgb = Image.open(BytesIO(client.get("/view", params=query | {"channel": "rgb"}).content))
        assert (rgb.mode, rgb.getpixel((0, 0))) == ("RGB", (0x11, 0x22, 0x33))
        alpha = Image.open(BytesIO(client.get("/view", params=query | {"channel": "a"}).content))
        assert alpha.getpixel((0, 0)) == (0, 0, 0, 0x44)
        wishes = (
            ("webp;50", "rgb", "webp"),
            ("jpeg", "rgb", "jpeg"),
            ("jpeg;80", "rgba", "webp"),
            ("tiff;9", "rgb", "webp"),
            ("webp;99999", "rgb", "webp"),
            ("webp;²", "rgb", "webp"),
        )
        for wish, channel, kind in wishes:
            reply = client.get("/view", params=query | {"preview": wish, "channel": channel})
            assert reply.headers["content-type"] == f"image/{kind}"
