"""Damaged and mistaken files get an error that names the file, the fault and what to do."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.errors import BadModelFile
from models.formats.weights import open_weights


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.safetensors"
    save_file({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(1000).bfloat16()}, path, metadata={"k": "v"})
    return path


def refused(path: Path) -> BadModelFile:
    with pytest.raises(BadModelFile) as caught:
        open_weights(path)
    assert path.name in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_names_shapes_metadata_and_tensors_are_read(good: Path) -> None:
    with open_weights(good) as file:
        assert file.metadata == {"k": "v"}
        assert file.shape("a") == (2, 3)
        assert file.shape("c") is None
        assert torch.equal(file.tensor("a"), torch.arange(6.0).view(2, 3))
        assert file.tensor("b").dtype is torch.bfloat16


def test_truncated_data_is_said_to_be_truncated(good: Path) -> None:
    good.write_bytes(good.read_bytes()[:-100])
    assert "truncated" in str(refused(good))


def test_truncated_header_is_said_to_be_truncated(good: Path) -> None:
    good.write_bytes(good.read_bytes()[:40])
    assert "truncated" in str(refused(good))


@pytest.mark.parametrize("size", [0, 5])
def test_empty_and_tiny_files_are_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "empty.safetensors").write_bytes(b"\0" * size)
    assert "incomplete" in str(refused(tmp_path / "empty.safetensors"))


def test_pickles_old_and_new_are_never_opened(tmp_path: Path) -> None:
    old, new = tmp_path / "old.ckpt", tmp_path / "new.ckpt"
    old.write_bytes(pickle.dumps({"a": 1}, protocol=2) + b"\0" * 100)
    with zipfile.ZipFile(new, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 100)
    for path in (old, new):
        assert "pickle" in str(refused(path))


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"<!DOCTYPE html><html>", "web page"),
        (b"<html><head>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "not a safetensors"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, start: bytes, word: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(start + b" " * 200)
    assert word in str(refused(path))


def test_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    assert "cannot be opened" in str(refused(tmp_path / "gone.safetensors"))


def test_header_that_is_no_json_and_unknown_dtype_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = b"{not json" + b" " * 20
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "damaged header" in str(refused(path))
    header = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    assert "F4" in str(refused(path))


def test_offsets_that_contradict_the_shape_are_refused_when_the_tensor_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    assert "damaged" in str(refused(path))


def test_header_whose_length_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(640)
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with open_weights(tmp_path / "a.safetensors") as file:
        assert file.tensor("a").tolist() == [0.0]
