import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.files.output import BadFileName, next_counter, safe_name, split_prefix, write_file, write_next

NOON = time.struct_time((2026, 11, 5, 12, 3, 4, 3, 309, 0))


@given(st.text(max_size=300))
def test_any_text_becomes_a_plain_file_name(text):
    name = safe_name(text)
    assert name
    assert len(name.encode()) <= 125
    assert not set(name) & set('/\\\0:*?"<>|\n\r')
    assert name not in (".", "..")
    assert not name.startswith(".")
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a cat", "a cat"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("", "_"),
        ("..", "_"),
        ("CON", "_CON"),
        ("a\r\nb", "a__b"),
    ],
)
def test_hostile_names_are_made_harmless(text, name):
    assert safe_name(text) == name


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    seen = []
    path = tmp_path / "deep" / "a.png"

    def watch():
        while len(seen) < 1 or seen[-1] != len(data):
            if path.exists():
                seen.append(path.stat().st_size)

    data = os.urandom(4_000_000)
    watcher = threading.Thread(target=watch)
    watcher.start()
    write_file(path, data)
    watcher.join(10)
    assert set(seen) == {len(data)}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


def test_write_file_replaces_what_was_there(tmp_path):
    write_file(tmp_path / "a", b"old")
    write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_numbered_files_are_never_overwritten(tmp_path):
    (tmp_path / "x_00002_.png").write_bytes(b"mine")
    results = [write_next(tmp_path, lambda n: f"x_{n:05}_.png", 1, b"new") for _ in range(3)]
    assert [name for name, _ in results] == ["x_00001_.png", "x_00003_.png", "x_00004_.png"]
    assert (tmp_path / "x_00002_.png").read_bytes() == b"mine"


def test_numbers_work_on_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    names = [write_next(tmp_path, lambda n: f"x_{n:05}_.png", 1, b"new")[0] for _ in range(2)]
    assert names == ["x_00001_.png", "x_00002_.png"]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"new"}


def test_many_writers_get_different_numbers(tmp_path):
    names: list[str] = []

    def write():
        for _ in range(10):
            names.append(write_next(tmp_path, lambda n: f"x_{n:05}_.png", 1, b"x")[0])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 40 == len(list(tmp_path.iterdir()))


def test_the_counter_follows_the_highest_number_of_the_stem(tmp_path):
    for name in ("a_00009_.png", "A_00011_.png", "ab_00050_.png", "a_12.png", "a_b_00070_.png"):
        (tmp_path / name).touch()
    assert next_counter(tmp_path, "a") == 12
    assert next_counter(tmp_path / "missing", "a") == 1


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("ComfyUI", ("", "ComfyUI")),
        ("a/b/name", ("a/b", "name")),
        ("a\\name", ("a", "name")),
        ("%year%-%month%-%day%/%width%x%height%", ("2026-11-05", "640x480")),
        ("%hour%%minute%%second%_%batch_num%", ("", "120304_%batch_num%")),
        ("a/", ("a", "")),
    ],
)
def test_prefixes_have_folders_and_tokens(prefix, expected):
    assert split_prefix(prefix, width=640, height=480, now=NOON) == expected


@pytest.mark.parametrize("prefix", ["../x", "a/../../x", "/etc/x", "\\\\host\\x", "a/..", ".."])
def test_a_prefix_that_leads_out_is_refused(prefix):
    with pytest.raises(BadFileName):
        split_prefix(prefix, width=1, height=1)
