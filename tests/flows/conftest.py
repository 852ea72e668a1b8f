"""One darkroom for all flow tests: loading the tiny models takes longer than a picture."""

from collections.abc import Iterator

import pytest

from tests.flows.darkroom import Darkroom


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Darkroom]:
    made = Darkroom(tmp_path_factory.mktemp("darkroom"))
    yield made
    made.close()


@pytest.fixture
def brisk_room(room: Darkroom) -> Iterator[Darkroom]:
    """The same with half the steps, for tests that need what was asked for to be seen, and no more.

    Not for refiners: their switch counts the steps of the mode, whatever is made of them.
    """
    room.defaults = {"overwrite_step": 15}
    yield room
    room.defaults = {}
