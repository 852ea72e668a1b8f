"""Files in PyTorch's own format: what is read, and what is refused without running any of it."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from models.errors import BadModelFile
from models.formats.pickled import open_either, open_pickled

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def written(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_a_table_of_tensors_is_read(tmp_path, zipped):
    with open_pickled(written(tmp_path / "a.pth", OrderedDict(TENSORS), zipped)) as file:
        assert {name: info.shape for name, info in file.tensors.items()} == {"a.weight": (2, 3), "a.bias": (2,)}
        assert file.tensors["a.bias"].dtype == torch.float16
        assert torch.equal(file.tensor("a.weight"), TENSORS["a.weight"])


def test_the_first_wrapper_that_is_there_is_taken_off(tmp_path):
    path = written(tmp_path / "a.pth", {"params": {"b": torch.zeros(1)}, "params_ema": TENSORS})
    with open_pickled(path, ("params_ema", "params")) as file:
        assert set(file.tensors) == set(TENSORS)


class Attack:
    """What a malicious file does: call something while it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_never_run(tmp_path, zipped):
    path = written(tmp_path / "evil.pth", {**TENSORS, "evil": Attack(tmp_path / "ran")}, zipped)
    with pytest.raises(BadModelFile, match="more than weights"):
        open_pickled(path)
    assert not (tmp_path / "ran").exists()


def test_a_plain_pickle_is_refused_and_never_run(tmp_path):
    path = tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps(Attack(tmp_path / "ran")))
    with pytest.raises(BadModelFile):
        open_pickled(path)
    assert not (tmp_path / "ran").exists()


def test_a_tensor_under_two_names_is_counted_once(tmp_path):
    tied = torch.randn(40_000)
    torch.save({"embedding": tied, "head": tied}, tmp_path / "tied.bin")
    with open_pickled(tmp_path / "tied.bin") as file:
        assert torch.equal(file.tensor("embedding"), tied)
        assert torch.equal(file.tensor("head"), tied)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ([torch.zeros(1)], "no table"),
        ({}, "no table"),
        ({"a": torch.zeros(1), "epoch": 3}, "'epoch'"),
        ({"a": {"b": torch.zeros(1)}}, "dict"),
        ({1: torch.zeros(1)}, "'1'"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "complex64"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "sparse"),
        ({"a": torch.zeros(1).expand(1_000_000)}, "more weights than it holds"),
    ],
)
def test_anything_but_a_table_of_plain_tensors_is_refused(tmp_path, content, fault):
    with pytest.raises(BadModelFile, match=fault):
        open_pickled(written(tmp_path / "odd.pth", content))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04 cut off", os.urandom(64)])
def test_damaged_files_name_themselves(tmp_path, content):
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(BadModelFile, match=r"^damaged\.pth: "):
        open_pickled(path)


def test_a_truncated_file_and_a_missing_one_are_bad_model_files(tmp_path):
    whole = written(tmp_path / "whole.pth", {"a": torch.zeros(1000)}).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[:2000])
    for name in ("cut.pth", "missing.pth"):
        with pytest.raises(BadModelFile):
            open_pickled(tmp_path / name)


def test_a_compressed_archive_is_refused_before_it_unfolds(tmp_path):
    written(tmp_path / "plain.pth", {"a": torch.zeros(1000)})
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(BadModelFile, match="compressed"):
        open_pickled(tmp_path / "packed.pth")


def test_the_ending_decides_and_safetensors_are_never_unpickled(tmp_path):
    path = written(tmp_path / "disguised.safetensors", TENSORS)
    with pytest.raises(BadModelFile, match="pickled"):
        open_either(path)
