"""The documentation of the nodes says what the nodes are."""

import re
from pathlib import Path
from typing import Any

import torch

from engine.node import spec_of
from nodes.catalogue import markdown

DOCS = Path(__file__).parents[3] / "docs"


def test_the_node_reference_is_current(registry):
    written = (DOCS / "reference" / "nodes.md").read_text(encoding="utf-8")
    assert written == markdown(registry), "run: python -m nodes.catalogue docs/reference/nodes.md"


def test_the_guide_s_node_works_as_it_says():
    guide = (DOCS / "how-to" / "write-a-node.md").read_text(encoding="utf-8")
    source = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[0]
    module: dict[str, Any] = {"__name__": "guide"}
    exec(compile(source, "write-a-node.md", "exec"), module)
    image = torch.rand(1, 8, 8, 3)
    assert torch.equal(module["brightness"](image, 1.0), image)
    factor = spec_of(module["brightness"]).by_name["factor"]
    assert (factor.minimum, factor.maximum, factor.default) == (0.0, 4.0, 1.0)


def test_every_socket_type_of_the_guide_exists():
    import nodes.sockets as sockets

    guide = (DOCS / "how-to" / "write-a-node.md").read_text(encoding="utf-8")
    (row,) = [line for line in guide.splitlines() if "from `nodes.sockets`" in line]
    for name in re.findall(r"`([A-Z]\w+)`", row):
        assert hasattr(sockets, name), name
