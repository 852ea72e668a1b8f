"""Every error code of this package is explained to users."""

import ast
from pathlib import Path

import pytest

from engine.jobs.errors import GraphRefused, StoreUnavailable

ROOT = Path(__file__).parents[4]
PACKAGE = ROOT / "engine" / "jobs"


def codes():
    """String literals that become codes: first arguments of error constructors, and `code=` of failures."""
    found = set()
    for path in PACKAGE.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            values = call.args[:1] if name in ("__init__", "FocalError") else []
            values += [word.value for word in call.keywords if word.arg == "code"]
            for value in values:
                found |= {item.value for item in ast.walk(value) if isinstance(item, ast.Constant)}
    return sorted(code for code in found if isinstance(code, str) and " " not in code)


def test_codes_are_found():
    assert {"queue_full", "worker_died", "storage_full", "server_died"} <= set(codes())


@pytest.mark.parametrize("code", codes())
def test_every_code_is_in_the_documentation(code):
    assert f"`{code}`" in (ROOT / "docs" / "explanation" / "jobs.md").read_text()


def test_a_refused_graph_names_every_fault():
    fault = {"type": "x", "message": "Value 0 smaller than min of 1", "details": "steps", "extra_info": {}}
    error = GraphRefused(None, {"3": {"errors": [fault], "class_type": "KSampler", "dependent_outputs": []}})
    assert error.message == "The graph cannot run: Value 0 smaller than min of 1 (steps)."


def test_storage_errors_tell_the_drivers_reason_and_what_to_do():
    error = StoreUnavailable("jobs.sqlite3", Exception("database or disk is full"))
    assert (error.code, error.hint) == ("storage_full", "Make room on the disk.")
    assert StoreUnavailable("jobs.sqlite3", Exception("database is locked")).code == "storage_unavailable"
