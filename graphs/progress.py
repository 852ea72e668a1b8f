"""Progress of a job in the words that clients of the REST contracts show (API contract §4.2).

The percentages are those of Fooocus-API: up to 14 while preparing, then 15 to 99 over the sampling steps of all images,
100 only at the end. They never fall, also when a job runs again after its worker died.
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from engine.events import Cached, Event, Executing, Failed, Interrupted, Progress, Started, Succeeded
from engine.graph import Graph, Link

Words = Literal["fooocus_api", "fooocusapi"]

PREPARING_PERCENT = 3
ENLARGED_PERCENT, TO_LATENT_PERCENT = 12, 13
FIRST_STEP_PERCENT = 15
LAST_STEP_PERCENT = 99
# Node classes by the phase they belong to; sampling nodes are those with a `steps` input.
LOADING = {"CheckpointLoaderSimple", "VAELoader", "LoraLoader", "LoraLoaderModelOnly", "UpscaleModelLoader"}
ENLARGING = {"ImageUpscaleWithModel"}
TO_LATENT = {"VAEEncode", "VAEEncodeTiled", "EncodeInpaint"}
ENCODING = {"EncodePrompts", "CLIPTextEncode", "CLIPTextEncodeSDXL"}
SAVING = {"SaveGeneration", "SaveImage", "PreviewImage"}


class State(Struct, frozen=True):
    """What a client polls: percent 0..100 and a line of text ("" before the start)."""

    percent: int
    text: str


class ProgressTracker:
    """Turns the events of one job into a percentage and a line of text.

    graph: the submitted graph, as a value or as its JSON. words: whose texts to speak.
    """

    def __init__(self, graph: Graph | Mapping[str, Any], words: Words = "fooocus_api") -> None:
        self.graph = graph if isinstance(graph, Graph) else Graph.from_json(graph)
        self.words = words
        self.state = State(0, "")
        self._image_of = _images(self.graph)
        self._images = max(self._image_of.values(), default=1)
        self._negatives = {
            link.source for node in self.graph.nodes.values() if (link := _link(node.inputs, "negative"))
        }
        self._negatives -= {
            link.source for node in self.graph.nodes.values() if (link := _link(node.inputs, "positive"))
        }
        self._steps = {id_: _steps(node.inputs) for id_, node in self.graph.nodes.items() if "steps" in node.inputs}
        self._all_steps = max(1, sum(self._steps.values()))
        self._done: dict[str, float] = {}

    def feed(self, event: Event) -> State:
        """Take in an event and give the state after it. Events of unknown nodes and previews change nothing."""
        match event:
            case Started():
                self._move(1, "Initializing ...")
            case Cached(nodes=nodes):
                self._done |= {node: self._steps[node] for node in nodes if node in self._steps}
            case Executing(display_node=node) if node in self.graph:
                self._executing(node)
            case Progress(node=node, value=value, maximum=maximum) if node in self._steps and maximum > 0:
                self._sampling(node, value, maximum)
            case Progress(node=node, value=value, maximum=maximum) if self._enlarges(node) and maximum > 0:
                share = (ENLARGED_PERCENT - PREPARING_PERCENT) * min(1.0, value / maximum)
                self._move(int(PREPARING_PERCENT + share), "Upscaling image ...")
            case Succeeded():
                self._move(100, "Finished")
            case Failed(message=message):
                self._move(self.state.percent, f"Error: {message}")
            case Interrupted():
                self._move(self.state.percent, "User cancelled")
            case _:
                pass
        return self.state

    def _move(self, percent: int, text: str) -> None:
        self.state = State(max(percent, self.state.percent), text)

    def _executing(self, node: str) -> None:
        kind = self.graph.nodes[node].class_type
        image = self._image_of.get(node, 1)
        if kind in LOADING:
            self._move(2, "Loading models ...")
        elif kind in ENCODING:
            word, percent = ("negative", 6) if node in self._negatives else ("positive", 5)
            self._move(percent, f"Encoding {word} #{image} ...")
        elif kind in ENLARGING:
            self._move(PREPARING_PERCENT, "Upscaling image ...")
        elif kind in TO_LATENT:
            self._move(TO_LATENT_PERCENT, "VAE encoding ...")
        elif node in self._steps:
            self._move(self._percent(), f"Preparing task {image}/{self._images} ...")
        elif kind in SAVING:
            self._move(self._percent(), f"Saving image {image}/{self._images} to system ...")
        elif self.state.percent <= PREPARING_PERCENT:
            self._move(PREPARING_PERCENT, "Processing prompts ...")

    def _sampling(self, node: str, value: float, maximum: float) -> None:
        self._done[node] = self._steps[node] * min(1.0, value / maximum)
        image = self._image_of.get(node, 1)
        step, total = int(value), int(maximum)
        if self.words == "fooocus_api":
            text = f"Step {step}/{total} in the {image}-th Sampling"
        else:
            text = f"Sampling step {step}/{total}, image {image}/{self._images} ..."
        self._move(self._percent(), text)

    def _enlarges(self, node: str) -> bool:
        return node in self.graph and self.graph.nodes[node].class_type in ENLARGING

    def _percent(self) -> int:
        done = sum(self._done.values()) / self._all_steps
        return min(LAST_STEP_PERCENT, int(FIRST_STEP_PERCENT + (100 - FIRST_STEP_PERCENT) * done))


def _images(graph: Graph) -> dict[str, int]:
    """Node id → number of the image, from 1, that first needs it. Every saving node is an image, in graph order."""
    image_of: dict[str, int] = {}
    outputs = [id_ for id_, node in graph.nodes.items() if node.class_type in SAVING]
    for number, output in enumerate(outputs, 1):
        waiting = [output]
        while waiting:
            node = waiting.pop()
            if node in image_of or node not in graph:
                continue
            image_of[node] = number
            waiting += [link.source for _, link in graph.nodes[node].links()]
    return image_of


def _link(inputs: Mapping[str, Any], name: str) -> Link | None:
    value = inputs.get(name)
    return value if isinstance(value, Link) else None


def _steps(inputs: Mapping[str, Any]) -> int:
    steps = inputs["steps"]
    return steps if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else 1
