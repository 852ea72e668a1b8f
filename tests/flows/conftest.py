"""One darkroom for all flow tests: loading the tiny models takes longer than a picture."""

from collections.abc import Iterator

import pytest

from tests.flows.darkroom import Darkroom


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Darkroom]:
    made = Darkroom(tmp_path_factory.mktemp("darkroom"))
    yield made
    made.close()
