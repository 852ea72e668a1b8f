"""What must be true of the environment and of the tree as a whole."""

import ast
import importlib.util
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("api", "engine", "graphs", "models", "nodes")
TINY_BYTES = 96 * 10**6


def test_torchvision_stays_out():
    """There is no CPU build of it: PyPI's wants CUDA, its import fails with "operator torchvision::nms does not exist",
    and with it present transformers and diffusers, the oracles of the parity tests, cannot be imported either."""
    assert importlib.util.find_spec("torchvision") is None, "something installed torchvision: pip uninstall torchvision"


def test_all_tiny_models_together_stay_small():
    files = list((REPOSITORY / "models" / "tiny" / "checkpoints").iterdir())
    assert files
    assert sum(file.stat().st_size for file in files) <= TINY_BYTES


def calls() -> list[tuple[Path, ast.Call]]:
    """List every call in the product's own code with its file."""
    files = [file for package in PACKAGES for file in sorted((REPOSITORY / package).rglob("*.py"))]
    trees = [(file.relative_to(REPOSITORY), ast.parse(file.read_text(encoding="utf-8"))) for file in files]
    return [(file, node) for file, tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_nothing_is_evaluated_and_pickles_are_read_as_weights_only():
    forbidden = {"eval", "exec", "compile", "pickle.load", "pickle.loads", "yaml.load", "os.system"}
    for file, call in calls():
        name = ast.unparse(call.func)
        assert name not in forbidden, f"{file}:{call.lineno} calls {name}"
        if name == "torch.load":
            arguments = {keyword.arg: keyword.value for keyword in call.keywords}
            assert ast.unparse(arguments.get("weights_only", ast.Constant(None))) == "True", f"{file}:{call.lineno}"
