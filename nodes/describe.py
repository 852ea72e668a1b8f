"""Pictures into words, and words on their way: joined, shown."""

from typing import Annotated

from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket, Ui, Widget
from models.describe.captioner import Captioner as CaptionerValue
from models.describe.captioner import load_captioner
from models.describe.tagger import CHARACTER_THRESHOLD, GENERAL_THRESHOLD, load_tagger
from models.describe.tagger import Tagger as TaggerValue
from nodes.runtime import Runtime, current, file_identity, model_names
from nodes.sockets import Image

KIND = "clip_vision"  # the folder, as in Fooocus

Captioner = Annotated[CaptionerValue, Socket("CAPTIONER")]
Tagger = Annotated[TaggerValue, Socket("TAGGER")]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Text = Annotated[str, Widget(extra={"multiline": True})]


def _weights(*endings: str) -> list[str]:
    return [name for name in model_names(KIND) if name.lower().endswith(endings)]


def _tables(ending: str) -> list[str]:
    runtime = current()
    return [name for name in runtime.folders.beside(KIND) if name.lower().endswith(ending)] if runtime else []


@node(
    "CaptionerLoader",
    category="loaders",
    display_name="Load Captioner",
    fingerprint=lambda model_name, vocabulary: [file_identity(KIND, model_name), file_identity(KIND, vocabulary)],
)
def load_captioner_node(
    model_name: Annotated[str, Choices(lambda: _weights(".pth", ".safetensors", ".bin"))],
    vocabulary: Annotated[str, Choices(lambda: _tables(".txt"))],
    context: Context,
) -> Captioner:
    """Open BLIP's captioner (original or transformers layout) with its vocabulary, BERT's vocab.txt."""
    runtime: Runtime = context.runtime
    folders = runtime.folders
    return load_captioner(folders.path(KIND, model_name), folders.path(KIND, vocabulary), runtime.residency)


@node("DescribePhoto", category="describe", display_name="Describe Photo")
def describe_photo(captioner: Captioner, image: Image) -> str:
    """Say in a sentence what pictures show, a line each. The same picture gives the same words."""
    return "\n".join(captioner.describe(picture) for picture in image)


@node(
    "TaggerLoader",
    category="loaders",
    display_name="Load Tagger",
    fingerprint=lambda model_name, tags: [file_identity(KIND, model_name), file_identity(KIND, tags)],
)
def load_tagger_node(
    model_name: Annotated[str, Choices(lambda: _weights(".onnx"))],
    tags: Annotated[str, Choices(lambda: _tables(".csv"))],
    context: Context,
) -> Tagger:
    """Open a WD14 tagger (.onnx) with its table of tags (.csv)."""
    folders = context.runtime.folders
    return load_tagger(folders.path(KIND, model_name), folders.path(KIND, tags))


@node("DescribeAnime", category="describe", display_name="Describe Anime")
def describe_anime(
    tagger: Tagger,
    image: Image,
    general_threshold: Share = GENERAL_THRESHOLD,
    character_threshold: Share = CHARACTER_THRESHOLD,
) -> str:
    """Name what drawings show by tags, a line each: characters, then the rest, those above their threshold."""
    return "\n".join(tagger.describe(picture, general_threshold, character_threshold) for picture in image)


@node("JoinTexts", category="utils/string", display_name="Join Texts")
def join_texts(first: Text, second: Text, separator: str = ", ") -> str:
    """Put two texts one after the other; an empty one is left out, and its separator too."""
    return separator.join(text for text in (first, second) if text)


@node("ShowText", category="utils/string", display_name="Show Text", output=True)
def show_text(text: Text) -> Ui:
    """Give a text to the client: `text` in the node's output."""
    return Ui({"text": [text]})
