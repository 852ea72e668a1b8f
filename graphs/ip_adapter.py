"""Image prompts and face swaps: pictures that an IP-Adapter reads, added to the model (Fooocus behaviour §5.6)."""

from collections.abc import Sequence

from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog, is_tiny
from graphs.known_files import KNOWN_FILES
from graphs.names import find_file
from graphs.request_parts import ImagePrompt, Preprocessing

FIELD = "image_prompts"
ROLES = {"ImagePrompt": "ip_adapter.plus", "FaceSwap": "ip_adapter.face"}  # in the order in which they are applied
DEFAULTS = {"ImagePrompt": (0.5, 0.6), "FaceSwap": (0.9, 0.75)}  # stop, weight


def apply_image_prompts(
    g: GraphBuilder,
    model: Node | Link,
    prompts: Sequence[ImagePrompt],
    preprocessing: Preprocessing,
    catalog: Catalog,
    checkpoint: str,
) -> Node | Link:
    """Let the prompts of these two types steer the model; those of other types are passed over.

    Raises Refused when a file is missing. Nothing is loaded for a weight or stop of 0.
    """
    acting = [prompt for prompt in prompts if prompt.type in ROLES and all(strength_of(prompt))]
    if not acting:
        return model
    encoder = g.CLIPVisionLoader(clip_name=catalog.file_for("clip_vision", FIELD, checkpoint))
    for kind, role in ROLES.items():
        chosen = [prompt for prompt in acting if prompt.type == kind]
        adapter = _adapter(g, role, catalog, checkpoint) if chosen else None
        for prompt in chosen:
            stop, weight = strength_of(prompt)
            picture = picture_of(g, prompt, preprocessing, catalog, checkpoint)
            seen = g.EncodeImagePrompt(clip_vision=encoder, image=picture)
            model = g.ApplyImagePrompt(model=model, adapter=adapter, clip_vision_output=seen, weight=weight, stop=stop)
    return model


def picture_of(
    g: GraphBuilder, prompt: ImagePrompt, preprocessing: Preprocessing, catalog: Catalog, checkpoint: str
) -> Node:
    """The picture that the adapter will see: of a face swap the face, cut out and set upright, unless it is ready."""
    picture = g.LoadImage(image=prompt.image.name)
    if prompt.type != "FaceSwap" or preprocessing.skip:
        return picture
    detector = g.FaceDetectorLoader(detector_name=catalog.file_for("face.detector", FIELD, checkpoint))
    return g.CropFace(face_detector=detector, image=picture)


def strength_of(prompt: ImagePrompt) -> tuple[float, float]:
    """Stop and weight: the prompt's own, else what suits its type."""
    stop, weight = DEFAULTS[prompt.type]
    return (stop if prompt.stop is None else prompt.stop), (weight if prompt.weight is None else prompt.weight)


def _adapter(g: GraphBuilder, role: str, catalog: Catalog, checkpoint: str) -> Node:
    name = catalog.file_for(role, FIELD, checkpoint)
    negative = _negative(catalog, checkpoint)
    if negative is None:
        return g.ImagePromptLoader(adapter_name=name)
    return g.ImagePromptLoader(adapter_name=name, negative_name=negative)


def _negative(catalog: Catalog, checkpoint: str) -> str | None:
    """Fooocus' tokens for the negative prompt where they are installed; they were made for the real adapters."""
    known = KNOWN_FILES["ip_adapter.negative"]
    return None if is_tiny(checkpoint) else find_file(known.name, catalog.files.get(known.kind, ()))
