"""Describe: a picture becomes words, by a captioner (Photo), a tagger (Anime), or both (Fooocus behaviour §5.10)."""

from collections.abc import Sequence

from engine.graph import Graph
from graphs.builder import GraphBuilder, Node
from graphs.catalog import Catalog
from graphs.names import did_you_mean, find_folded
from graphs.request import InputImage, Refused

PHOTO, ANIME = "Photo", "Anime"
KINDS = (PHOTO, ANIME)
SEPARATOR = ", "
# Styles that suit a picture described this way; the desktop UI of Fooocus chooses them along with the text.
STYLES: dict[str, tuple[str, ...]] = {
    PHOTO: ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"),
    ANIME: ("Fooocus V2", "Fooocus Masterpiece"),
}


def describe(image: InputImage, kinds: Sequence[str], catalog: Catalog) -> tuple[Graph, str]:
    """Compile a graph that puts a picture into words. Returns it with the id of the node that tells them.

    The node's `ui` has one line under `text`; of several kinds, the photo's words come first. Raises Refused for an
    unknown kind, for none, and MissingFile for a model that is not there.
    """
    wanted = _kinds(kinds)
    g = GraphBuilder()
    picture = g.LoadImage(image=image.name)
    told = [_described(g, picture, kind, catalog) for kind in KINDS if kind in wanted]
    words = told[0]
    for more in told[1:]:
        words = g.JoinTexts(first=words, second=more, separator=SEPARATOR)
    shown = g.ShowText(text=words)
    return g.build(), shown.node_id


def _kinds(asked: Sequence[str]) -> set[str]:
    wanted = set()
    for kind in asked:
        found = find_folded(kind, KINDS)
        if found is None:
            near = did_you_mean(kind, KINDS) or f" There are {' and '.join(KINDS)}."
            raise Refused("image_type", f"There is no way to describe called {kind[:100]!r}.", near.strip())
        wanted.add(found)
    if not wanted:
        raise Refused("image_type", "No way to describe was chosen.", f"Choose {' or '.join(KINDS)}, or both.")
    return wanted


def _described(g: GraphBuilder, picture: Node, kind: str, catalog: Catalog) -> Node:
    if kind == PHOTO:
        captioner = g.CaptionerLoader(
            model_name=catalog.file_for("describe.photo", "image_type"),
            vocabulary=catalog.file_for("bert.vocabulary", "image_type"),
        )
        return g.DescribePhoto(captioner=captioner, image=picture)
    tagger = g.TaggerLoader(
        model_name=catalog.file_for("describe.anime", "image_type"),
        tags=catalog.file_for("describe.anime.tags", "image_type"),
    )
    return g.DescribeAnime(tagger=tagger, image=picture)
