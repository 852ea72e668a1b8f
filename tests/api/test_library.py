"""What is installed, read once: hashes come from the background, files are found again after a refresh."""

from concurrent.futures import wait
from hashlib import sha256
from pathlib import Path

import pytest

from api.library import Library
from api.settings import Settings

pytestmark = pytest.mark.anyio
NAME = "mine.safetensors"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "checkpoints" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return path


async def test_the_default_checkpoint_is_hashed_before_anybody_asks(checkpoint, tmp_path):
    library = Library(Settings(data=tmp_path))
    assert library.catalog.default_checkpoint == NAME
    library.prepare()
    (hashing,) = library._hashes.values()
    wait([hashing], timeout=10)
    expected = sha256(b"weights").hexdigest()[:10]
    assert (hashing.result(0), library.hash_of("checkpoints", NAME)) == (expected, expected)
    assert len(library._hashes) == 1
    library.close()


async def test_a_file_that_changes_or_moves_has_another_hash(checkpoint, tmp_path):
    library = Library(Settings(data=tmp_path))
    before = library.hash_of("checkpoints", NAME)
    checkpoint.unlink()
    assert library.hash_of("checkpoints", NAME) == library.family_of(NAME) == ""
    moved = checkpoint.parent / "sub" / NAME
    moved.parent.mkdir()
    moved.write_bytes(b"other weights")
    await library.refresh()
    assert library.hash_of("checkpoints", f"sub/{NAME}") == sha256(b"other weights").hexdigest()[:10] != before
    library.close()
