"""Prompt expansion in a graph: a language model adds to the prompt when the graph runs (Fooocus behaviour §2.7)."""

from graphs.builder import GraphBuilder, Node

SLOT = "\ue000"
"""Stands in a picture's record where the expanded prompt will be: a character that no writing system has."""


def expand(g: GraphBuilder, model: str, prompt: str, seed: int) -> Node:
    """The node that expands the first line of a prompt; one for all who ask. model: as `Catalog.expansion` gives it."""
    loaded = g.once("ExpansionModelLoader", model_name=model)
    return g.once("ExpandPrompt", expansion_model=loaded, text=prompt.split("\n", 1)[0], seed=seed)
