"""What can be wrong with a model file, or come out of a model.

Each error carries a stable `code`, a `message` and a `hint` that says what to do next, like
`engine.errors.FocalError`; this package does not import the engine, the executor reads the attributes.
"""

from pathlib import Path


class ModelError(Exception):
    """Base of the faults raised by `models`: `code`, `message`, `hint`."""

    code = "model_error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class BadModelFile(ModelError):
    """A file that cannot be used as what it was asked for."""

    code = "bad_model_file"

    def __init__(self, path: str | Path, fault: str, hint: str) -> None:
        super().__init__(f"{Path(path).name}: {fault}.", hint)
        self.path = Path(path)
        self.fault = fault


class NonFiniteOutput(ModelError):
    """NaN or infinity in a result, also after the retry in float32."""

    code = "non_finite_output"


class OutOfMemory(ModelError):
    """One module alone is larger than the memory that it may use."""

    code = "model_out_of_memory"
