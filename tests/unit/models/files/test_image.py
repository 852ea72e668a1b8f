import io
import random
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from models.files.image import BadImage, encode_image, load_image, to_uint8


def photo(height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    planes = [rows * 7, columns * 5, rows + columns, rows * columns][:channels]
    return (np.stack(planes, axis=-1) % 256).astype(np.uint8)


def saved(picture: Image.Image, format: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def test_values_are_cut_not_rounded():
    image = torch.tensor([0.0, 0.999 / 255, 1.0 / 255 + 1e-6, 254.999 / 255, 1.0, 1.5, -0.5])
    assert to_uint8(image).tolist() == [0, 0, 1, 254, 255, 255, 0]


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "webp"])
def test_lossy_files_carry_the_parameters_in_exif(extension):
    texts = {"parameters": "{}", "fooocus_scheme": "fooocus", "prompt": '{"1": {}}', "workflow": "[]"}
    picture = Image.open(io.BytesIO(encode_image(photo(), extension, texts)))
    exif = picture.getexif()
    assert exif[0x9286] == "{}"
    assert exif[0x927C] == "fooocus"
    assert exif[0x0110] == 'prompt:{"1": {}}'
    assert exif[0x010F] == "workflow:[]"
    assert exif[0x0131] == "Focal"


def test_letters_beyond_ascii_survive_in_exif():
    picture = Image.open(io.BytesIO(encode_image(photo(), "jpeg", {"parameters": "ein Bär, 猫"})))
    assert picture.getexif()[0x9286] == "ein Bär, 猫".encode()


def test_metadata_too_long_for_a_jpeg_is_left_out_and_the_picture_is_saved(caplog):
    data = encode_image(photo(), "jpeg", {"parameters": "short", "prompt": "x" * 70_000})
    exif = Image.open(io.BytesIO(data)).getexif()
    assert exif[0x9286] == "short"
    assert 0x0110 not in exif
    assert "too long for EXIF" in caplog.text


def test_jpeg_is_progressive_at_quality_95():
    picture = Image.open(io.BytesIO(encode_image(photo(), "jpg")))
    assert picture.info.get("progressive") == 1
    expected = Image.open(io.BytesIO(saved(Image.fromarray(photo()), "JPEG", quality=95)))
    assert picture.quantization == expected.quantization


def test_another_extension_is_refused():
    with pytest.raises(ValueError, match="png, jpg, jpeg, webp"):
        encode_image(photo(), "gif")


@pytest.mark.parametrize("extension", ["png", "webp"])
def test_a_saved_picture_is_loaded_again(extension):
    image, mask = load_image(encode_image(photo(), extension))
    assert image.shape == (1, 24, 32, 3)
    assert image.dtype == torch.float32
    assert torch.equal(mask, torch.zeros(1, 64, 64))
    if extension == "png":
        assert torch.equal(image[0], torch.from_numpy(photo()).float() / 255)


def test_the_mask_is_one_minus_alpha():
    pixels = photo(channels=4)
    image, mask = load_image(saved(Image.fromarray(pixels, "RGBA")))
    assert torch.equal(image[0], torch.from_numpy(pixels[..., :3]).float() / 255)
    torch.testing.assert_close(mask[0], 1 - torch.from_numpy(pixels[..., 3]).float() / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(photo()), "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    image, _ = load_image(data)
    assert np.array_equal(to_uint8(image[0] + 1e-4), expected)
    assert (image.shape[1] == 32) == (orientation >= 5)


def test_sixteen_bit_grey_keeps_its_range():
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    image, _ = load_image(saved(Image.fromarray(values)))
    torch.testing.assert_close(image[0, ..., 0], torch.from_numpy(values.astype(np.float32) / 65535))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA"])
def test_every_mode_becomes_rgb(mode):
    image, _ = load_image(saved(Image.fromarray(photo()).convert(mode)))
    assert image.shape == (1, 24, 32, 3)


def test_cmyk_jpeg_becomes_rgb():
    assert load_image(saved(Image.fromarray(photo()).convert("CMYK"), "JPEG"))[0].shape == (1, 24, 32, 3)


def test_frames_of_an_animated_picture_become_a_batch():
    frames = [Image.fromarray(photo()), Image.fromarray(photo()[::-1].copy())]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    image, mask = load_image(data)
    assert image.shape == (2, 24, 32, 3)
    assert mask.shape == (2, 64, 64)


@pytest.mark.parametrize("format", ["GIF", "TIFF", "BMP", "PPM", "ICO"])
def test_formats_off_the_list_are_refused(format):
    with pytest.raises(BadImage, match="no picture in PNG, JPEG, WEBP"):
        load_image(saved(Image.fromarray(photo()), format))


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(BadImage):
        load_image(data)


def test_a_bomb_is_refused_before_it_is_unpacked():
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (9_000, 12_000, 50_000):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        with pytest.raises(BadImage, match=r"large|pixels"):
            load_image(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_damaged_files_are_refused_or_read_but_never_crash(format):
    random.seed(0)
    whole = saved(Image.fromarray(photo(64, 64)), format)
    for trial in range(200):
        data = bytearray(whole[: random.randrange(len(whole))] if trial % 2 else whole)
        for _ in range(trial % 5):
            if data:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF blocks
            try:
                load_image(bytes(data))
            except BadImage:
                continue
