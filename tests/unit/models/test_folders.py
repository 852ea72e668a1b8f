import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.folders import BadFoldersFile, ModelFolders, ModelNotFound, nearest, read_extra_paths


def touch(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.safetensors", "A.safetensors", "sub/c.ckpt", "notes.txt"):
        touch(tmp_path / "models" / "checkpoints" / name)
    touch(tmp_path / "models" / "unet" / "u.safetensors")
    touch(tmp_path / "models" / "clip" / "t.safetensors")
    return tmp_path / "models"


def folders(root: Path, **options) -> ModelFolders:
    """Without the embedded models, unless they are what a test is about."""
    return ModelFolders([root], **{"tiny_checkpoint": None, "tiny_models": None} | options)


def test_names_are_relative_sorted_and_keep_their_subfolder(root):
    assert folders(root).list("checkpoints") == ["A.safetensors", "b.safetensors", "sub/c.ckpt"]


def test_comfyui_and_fooocus_names_of_a_kind_mean_the_same_folder(root):
    own = folders(root)
    assert own.list("diffusion_models") == own.list("unet") == ["u.safetensors"]
    assert own.list("text_encoders") == own.list("clip") == ["t.safetensors"]


def test_missing_folders_are_empty_and_unknown_kinds_an_error(root):
    assert folders(root).list("loras") == []
    with pytest.raises(ModelNotFound, match="no kind of model called 'checkpoint'"):
        folders(root).list("checkpoint")


def test_the_first_root_with_the_file_wins(root, tmp_path):
    other = tmp_path / "other"
    touch(other / "checkpoints" / "b.safetensors")
    touch(other / "checkpoints" / "z.safetensors")
    both = ModelFolders([root, other], tiny_checkpoint=None)
    assert both.path("checkpoints", "b.safetensors") == root / "checkpoints" / "b.safetensors"
    assert both.path("checkpoints", "z.safetensors") == other / "checkpoints" / "z.safetensors"


def test_windows_separators_find_the_file(root):
    assert folders(root).path("checkpoints", "sub\\c.ckpt").name == "c.ckpt"


def test_the_embedded_checkpoint_is_listed_last_and_only_if_present(root, tmp_path):
    tiny = tmp_path / "package" / "Aaa.safetensors"
    assert "Aaa.safetensors" not in folders(root, tiny_checkpoint=tiny).list("checkpoints")
    touch(tiny)
    own = folders(root, tiny_checkpoint=tiny)
    assert own.list("checkpoints")[-1] == "Aaa.safetensors"
    assert own.path("checkpoints", "Aaa.safetensors") == tiny
    assert "Aaa.safetensors" not in own.list("vae")


def test_an_unknown_name_gets_the_folders_and_the_nearest_names(root):
    with pytest.raises(ModelNotFound) as refused:
        folders(root).path("checkpoints", "C.safetensors")
    assert "'C.safetensors' among checkpoints" in str(refused.value)
    assert "Did you mean sub/c.ckpt" in str(refused.value)
    assert str(root / "checkpoints") in str(refused.value)


HOSTILE = [
    "../secret.safetensors", "..\\secret.safetensors", "sub/../../../secret.safetensors", "/etc/passwd", "C:\\x",
    "\\\\host\\x", "a\0.safetensors", "", ".", "..", "sub", "sub/", "./A.safetensors", "//A.safetensors",
    "%2e%2e/secret.safetensors", "x" * 10_000, "A.safetensors/", "linked/../../secret.safetensors", "CON", "~/x",
    "notes.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leads_out_of_the_folders(root, name):
    touch(root.parent / "secret.safetensors")
    (root / "checkpoints" / "linked").symlink_to(root / "checkpoints" / "sub", target_is_directory=True)
    with pytest.raises(ModelNotFound):
        folders(root).path("checkpoints", name)


@given(st.text(max_size=40))
def test_any_text_is_a_known_file_or_not_found(tmp_path_factory, name):
    own = folders(Path("/nowhere"))
    with pytest.raises(ModelNotFound):
        own.path("loras", name)


def test_links_are_followed_wherever_they_lead(root, tmp_path):
    blob = touch(tmp_path / "hub" / "blobs" / "0a1b2c")
    touch(tmp_path / "disk" / "l.safetensors")
    (root / "checkpoints" / "hub.safetensors").symlink_to(blob)
    (root / "checkpoints" / "disk").symlink_to(tmp_path / "disk", target_is_directory=True)
    (root / "loras").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert {"hub.safetensors", "disk/l.safetensors"} <= set(folders(root).list("checkpoints"))
    assert folders(root).path("checkpoints", "hub.safetensors").samefile(blob)
    assert folders(root).list("loras") == ["l.safetensors"]


def test_links_in_a_circle_end_and_broken_links_are_left_out(root):
    before = folders(root).list("checkpoints")
    (root / "checkpoints" / "circle").symlink_to(root / "checkpoints", target_is_directory=True)
    (root / "checkpoints" / "gone.safetensors").symlink_to(root / "nowhere.safetensors")
    assert folders(root).list("checkpoints") == before


def test_extra_paths_follow_comfyui_s_format(root, tmp_path, monkeypatch):
    monkeypatch.setenv("FOCAL_TEST_DISK", str(tmp_path / "disk"))
    file = tmp_path / "extra_model_paths.yaml"
    file.write_text(
        "a111:\n  base_path: webui/\n  checkpoints: models/Stable-diffusion\n"
        "  loras: |\n    models/Lora\n    models/LyCORIS\n"
        "fast:\n  is_default: true\n  base_path: $FOCAL_TEST_DISK\n  checkpoints: sdxl\n  unet: /absolute\nempty:\n"
    )
    extra = read_extra_paths(file)
    assert extra["checkpoints"] == [tmp_path / "disk" / "sdxl", tmp_path / "webui" / "models" / "Stable-diffusion"]
    assert [path.name for path in extra["loras"]] == ["Lora", "LyCORIS"]
    assert extra["diffusion_models"] == [Path("/absolute")]
    touch(tmp_path / "webui" / "models" / "LyCORIS" / "x.safetensors")
    assert folders(root, extra=extra).list("loras") == ["x.safetensors"]


@pytest.mark.parametrize("text", ["a: [", "just text", "a: 5", "- a\n- b", "!!python/object/apply:os.system ['true']"])
def test_a_bad_extra_paths_file_is_named(tmp_path, text):
    file = tmp_path / "extra.yaml"
    file.write_text(text)
    with pytest.raises(BadFoldersFile, match=r"extra\.yaml"):
        read_extra_paths(file)


def test_hashes_are_kept_and_a_changed_file_is_hashed_anew(root, tmp_path):
    file = root / "checkpoints" / "A.safetensors"
    own = folders(root, cache_dir=tmp_path / "data")
    assert own.sha256(file) == hashlib.sha256(b"weights").hexdigest()
    assert own.short_hash("checkpoints", "A.safetensors") == hashlib.sha256(b"weights").hexdigest()[:10]
    identity = file.stat()
    file.write_bytes(b"weightz")
    os.utime(file, ns=(identity.st_atime_ns, identity.st_mtime_ns))
    assert (
        folders(root, cache_dir=tmp_path / "data").sha256(file) == hashlib.sha256(b"weights").hexdigest()
    )  # kept on disk
    os.utime(file, ns=(1, 1))
    assert folders(root, cache_dir=tmp_path / "data").sha256(file) == hashlib.sha256(b"weightz").hexdigest()


def test_a_damaged_hash_cache_is_replaced(root, tmp_path):
    touch(tmp_path / "data" / "model_hashes.json", b"{not json")
    assert len(folders(root, cache_dir=tmp_path / "data").short_hash("checkpoints", "A.safetensors")) == 10


def test_nearest_names_ignore_folder_case_and_ending():
    known = ["sd/JuggernautXL_v8.safetensors", "animaPencil.safetensors", "tiny.safetensors"]
    assert nearest("juggernautxl_v8.ckpt", known) == ["sd/JuggernautXL_v8.safetensors"]
    assert nearest("qqqqqq", known) == []


def test_folders_import_neither_torch_nor_numpy():
    program = "import sys, models.folders; print({'torch', 'numpy', 'PIL', 'yaml'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "set()"
