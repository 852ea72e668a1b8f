"""Masks: what of a picture is meant, found by a network or by words (Fooocus behaviour §5.9)."""

from importlib.util import find_spec

from msgspec import Struct

from engine.graph import Graph
from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog
from graphs.known_files import U2NET_FAMILY
from graphs.names import did_you_mean, find_folded
from graphs.request import InputImage, Refused
from graphs.request_parts import Masking

SAM = "sam"
CLOTH = "u2net_cloth_seg"
MODELS: tuple[str, ...] = (*U2NET_FAMILY, SAM)
CLOTH_CATEGORIES: tuple[str, ...] = ("full", "upper", "lower")
SAM_MODELS: tuple[str, ...] = ("vit_b", "vit_l", "vit_h")
LIMITS: dict[str, tuple[float, float]] = {
    "box_threshold": (0, 1),
    "text_threshold": (0, 1),
    "max_detections": (0, 1000),
    "dino_erode_or_dilate": (-256, 256),
}
SAM_PACKAGE = "transformers"


class Found(Struct, frozen=True):
    """A mask in a graph. count: how many things it is made of, where that is known; 0 means that nothing was found."""

    mask: Node | Link
    count: Node | Link | None = None


def mask_of(image: InputImage, masking: Masking, catalog: Catalog) -> tuple[Graph, str]:
    """Compile a graph that shows the mask of a picture. Returns it with the id of the node that saves the mask.

    The node's `ui` has the picture under `images`; nodes before it tell `boxes`, `phrases`, `segments` and `used`.
    Raises Refused for what cannot be done.
    """
    g = GraphBuilder()
    found = find_mask(g, g.LoadImage(image=image.name), masking, catalog, "masking")
    shown = g.MaskPreview(mask=found.mask)
    return g.build(), shown.node_id


def find_mask(
    g: GraphBuilder,
    picture: Node | Link,
    masking: Masking,
    catalog: Catalog,
    field: str,
    checkpoint: str | None = None,
) -> Found:
    """Add the nodes that find a mask in a picture. field: of the request, for messages. checkpoint: the one in use."""
    masking = checked(masking, field)
    if masking.model == SAM:
        return _by_words(g, picture, masking, catalog, field, checkpoint)
    file = catalog.file_for(f"u2net.{masking.model}", f"{field}.model", checkpoint)
    network = g.MaskModelLoader(model_name=file)
    category = {"category": masking.cloth_category} if masking.model == CLOTH else {}
    return Found(g.MaskWithModel(mask_model=network, image=picture, **category))


def checked(masking: Masking, field: str) -> Masking:
    """Give the names as they are written here. Raises Refused for unknown ones and for numbers out of range."""
    for name, (low, high) in LIMITS.items():
        value = getattr(masking, name)
        if not low <= value <= high:
            raise Refused(f"{field}.{name}", f"{name} is {value}.", f"It must lie between {low:g} and {high:g}.")
    return Masking(
        model=_listed(masking.model, MODELS, f"{field}.model"),
        prompt=masking.prompt.strip(),
        cloth_category=_listed(masking.cloth_category, CLOTH_CATEGORIES, f"{field}.cloth_category"),
        sam_model=_listed(masking.sam_model, SAM_MODELS, f"{field}.sam_model"),
        box_threshold=float(masking.box_threshold),
        text_threshold=float(masking.text_threshold),
        max_detections=masking.max_detections,
        dino_erode_or_dilate=masking.dino_erode_or_dilate,
        debug=masking.debug,
    )


def _by_words(
    g: GraphBuilder, picture: Node | Link, masking: Masking, catalog: Catalog, field: str, checkpoint: str | None
) -> Found:
    """Boxes around what the words name, then what fills each box."""
    if not masking.prompt:
        raise Refused(f"{field}.prompt", "The mask model sam looks for words.", "Say what to look for, such as face.")
    if find_spec(SAM_PACKAGE) is None:
        raise Refused(
            f"{field}.model",
            f"The mask model sam needs the package {SAM_PACKAGE}, which is not installed.",
            'Install it with: pip install "focal[masks]", or choose another mask model.',
        )
    detector = g.GroundingDinoLoader(
        model_name=catalog.file_for("grounding_dino", f"{field}.model", checkpoint),
        vocabulary=catalog.file_for("grounding_dino.vocabulary", f"{field}.model", checkpoint),
    )
    detected = g.DetectBoxes(
        grounding_dino=detector,
        image=picture,
        prompt=masking.prompt,
        box_threshold=masking.box_threshold,
        text_threshold=masking.text_threshold,
        erode_or_dilate=masking.dino_erode_or_dilate,
    )
    if masking.debug:
        return Found(g.BoxesToMask(boxes=detected["BOXES"], image=picture), detected["INT"])
    sam = g.SamLoader(model_name=catalog.file_for(f"sam.{masking.sam_model}", f"{field}.sam_model", checkpoint))
    filled = g.MaskBoxes(sam_model=sam, image=picture, boxes=detected["BOXES"], max_detections=masking.max_detections)
    return Found(filled["MASK"], filled["INT"])


def _listed(name: str, names: tuple[str, ...], field: str) -> str:
    found = find_folded(name.strip(), names)
    if found is None:
        near = did_you_mean(name, names)
        raise Refused(field, f"There is no {name!r}.{near}", f"One of {', '.join(names)}.")
    return found
