"""Files of pictures read back: who wrote them, in which format, and what is in them that no scheme has words for."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from graphs.metadata_own import KEY, completed
from graphs.metadata_read import parameters, read_picture
from graphs.request import GenerationRequest, InputImage

FOOOCUS = json.dumps(
    {"prompt": "a café", "seed": "7", "steps": 30, "performance": "Speed", "version": "Fooocus v2.5.5"}
)
A1111 = "a café\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, Seed: 7, Size: 64x32"


def png(text):
    info = PngInfo()
    info.add_text("parameters", text)
    return saved("PNG", pnginfo=info)


def saved(kind, **options):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind, **options)
    return out.getvalue()


def with_comment(kind, comment, nested=False):
    exif = Image.Exif()
    (exif.get_ifd(0x8769) if nested else exif)[0x9286] = comment
    return saved(kind, exif=exif.tobytes())


FILES = {
    "PNG": png,
    "JPEG": lambda text: with_comment("JPEG", text.encode()),
    "WebP": lambda text: with_comment("WEBP", text.encode()),
    "the web UI's JPEG": lambda text: with_comment("JPEG", b"UNICODE\0" + text.encode("utf-16-be"), nested=True),
    "little endian": lambda text: with_comment("JPEG", b"UNICODE\0" + text.encode("utf-16-le"), nested=True),
    "marked": lambda text: with_comment("WEBP", b"UNICODE\0" + text.encode("utf-16"), nested=True),
}


@pytest.mark.parametrize("text", [FOOOCUS, A1111])
@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_gives_its_text(kind, text):
    file = FILES[kind](text)
    assert parameters(file) == text
    request = read_picture(file)
    assert request is not None
    assert (request.prompt, request.seed, request.image_number) == ("a café", 7, 1)


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", saved("PNG"), saved("JPEG"), png("only words"), b"GIF89a" + bytes(50)]
)
def test_a_file_without_anything_to_read_gives_none(data):
    assert read_picture(data) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(data):
    read_picture(data)
    read_picture(saved("PNG") + data)


def test_fields_of_our_own_key_go_before_the_schemes_and_strangers_are_left_out():
    own = {"overwrite_step": 5, "input_image": {"name": "a.png", "width": 1, "height": 2}, "save_name": "../x"}
    request = read_picture(png(json.dumps({**json.loads(FOOOCUS), KEY: own})))
    assert request is not None
    assert (request.overwrite_step, request.input_image) == (5, InputImage("a.png", 1, 2))
    assert request.save_name == ""


@pytest.mark.parametrize("own", [None, [], "x", {"overwrite_step": "five"}, {"inpaint": {"mask": 5}}, {"nothing": 1}])
def test_a_key_that_makes_no_sense_changes_nothing(own):
    assert completed(GenerationRequest(prompt="a"), own) == GenerationRequest(prompt="a")
