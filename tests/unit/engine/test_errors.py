import inspect

import pytest

from engine import errors
from engine.errors import FocalError


def test_an_error_reads_as_what_happened_and_what_to_do() -> None:
    error = FocalError("bad_file", "x.png is no picture.", "Send a PNG.")
    assert (error.code, error.message, error.hint) == ("bad_file", "x.png is no picture.", "Send a PNG.")
    assert str(error) == "x.png is no picture. Send a PNG."
    assert str(FocalError("bad_file", "No.")) == "No."


@pytest.mark.parametrize(
    "error",
    [
        errors.Interrupted(),
        errors.Skipped(),
        errors.InvalidGraph("No."),
        errors.UnknownNode("X"),
        errors.DuplicateNode("X", "Rename it."),
        errors.NodeDefinitionError("X", "has no type"),
        errors.NodeInputError("No."),
        errors.BadNodeResult("X", "returned None"),
        errors.DependencyCycle(["1", "2"]),
    ],
)
def test_every_error_has_a_code_of_its_own_and_says_what_to_do(error: FocalError) -> None:
    assert error.code.islower()
    assert error.hint.endswith(".")


def test_codes_are_unique() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind is not FocalError]
    source = inspect.getsource(errors)
    assert source.count('super().__init__("') == len({kind.__name__ for kind in kinds})
