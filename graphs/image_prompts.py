"""Image prompts: pictures that steer whatever flow a request asks for (Fooocus behaviour §5.5-5.7).

PyraCanny and CPDS become control pictures, which steer the prompts of every image. ImagePrompt and FaceSwap are read
by an IP-Adapter, which patches the model (`graphs.ip_adapter`). Without any, a graph is what it was without this file.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from graphs import ip_adapter
from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog
from graphs.model import Base
from graphs.request import GenerationRequest, Refused
from graphs.request_parts import ImagePrompt, Preprocessing
from graphs.resolve import Generation
from graphs.save import Compiled, ImagePlan, save_plain

FIELD = "image_prompts"
MAX_PROMPTS = 4
ROLES = {"PyraCanny": "control.canny", "CPDS": "control.cpds"}  # in the order in which they are applied
DEFAULTS = {"PyraCanny": (0.5, 1.0), "CPDS": (0.5, 1.0), **ip_adapter.DEFAULTS}  # stop, weight
ORDER = tuple(DEFAULTS)
ADAPTER_PX = 224  # side of the pictures that an IP-Adapter's encoder reads
LIMITS: dict[str, tuple[float, float]] = {"stop": (0, 1), "weight": (0, 2)}
PREPROCESSING_LIMITS: dict[str, tuple[float, float]] = {
    "canny_low": (1, 255),
    "canny_high": (1, 255),
    "softness": (0, 1),
}

Output = Node | Link


class Steer(Struct, frozen=True):
    """One control: its network, its picture, how strongly, until which share of the run."""

    network: Node
    picture: Node
    weight: float
    stop: float


class Steering(Struct, frozen=True):
    """What the images of a request share: the base as the adapters patched it, and the controls."""

    base: Base
    controls: Sequence[Steer] = ()
    softness: float = 0.0


def chosen_prompts(request: GenerationRequest, warnings: list[str]) -> list[ImagePrompt]:
    """The prompts that count, in the order of their types, with stop and weight settled.

    Raises Refused for numbers that no client may send.
    """
    _check(request.preprocessing, PREPROCESSING_LIMITS, "preprocessing")
    for prompt in request.image_prompts:
        _check(prompt, LIMITS, FIELD)
    if len(request.image_prompts) > MAX_PROMPTS:
        warnings.append(f"{len(request.image_prompts)} image prompts were given; the first {MAX_PROMPTS} are used.")
    settled = [_settled(prompt) for prompt in request.image_prompts[:MAX_PROMPTS]]
    return sorted(settled, key=lambda prompt: ORDER.index(prompt.type))


def steered(
    g: GraphBuilder,
    base: Base,
    prompts: Sequence[ImagePrompt],
    request: GenerationRequest,
    generation: Generation,
    catalog: Catalog,
    *,
    like: Output | None = None,
) -> Steering:
    """Let prompts steer a base. like: the picture whose size control pictures get, where only the run knows it.

    What has no weight, or stops before it starts, is left out; a refiner that works alone is not steered. Raises
    Refused when a file is missing.
    """
    acting = [prompt for prompt in prompts if prompt.weight and prompt.stop and not base.alone]
    settings = request.preprocessing
    model = ip_adapter.apply_image_prompts(g, base.model, acting, settings, catalog, generation.checkpoint)
    networks: dict[str, Node] = {}
    controls = []
    for prompt in acting:
        if prompt.type not in ROLES:
            continue
        if prompt.type not in networks:
            name = catalog.file_for(ROLES[prompt.type], FIELD, generation.checkpoint)
            networks[prompt.type] = g.ControlNetLoader(control_net_name=name)
        picture = control_picture(g, prompt, settings, generation, like)
        controls.append(Steer(networks[prompt.type], picture, prompt.weight or 0.0, prompt.stop or 0.0))
    return Steering(replace(base, model=model), controls, settings.softness)


def control_prompts(
    g: GraphBuilder, positive: Output, negative: Output, steering: Steering | None
) -> tuple[Output, Output]:
    """Add the controls to both prompts of one image."""
    if steering is None:
        return positive, negative
    for control in steering.controls:
        applied = g.ApplyControl(
            positive=positive,
            negative=negative,
            control_net=control.network,
            image=control.picture,
            weight=control.weight,
            stop=control.stop,
            softness=steering.softness,
        )
        positive, negative = applied[0], applied[1]
    return positive, negative


def control_picture(
    g: GraphBuilder, prompt: ImagePrompt, settings: Preprocessing, generation: Generation, like: Output | None
) -> Node:
    """Crop a picture to the size of the result and find its edges or depths, unless it shows them already."""
    size = {"width": generation.width, "height": generation.height} if like is None else {"like": like}
    fitted = g.FitForControl(image=g.LoadImage(image=prompt.image.name), **size)
    if settings.skip:
        return fitted
    if prompt.type == "CPDS":
        return g.CPDS(image=fitted)
    return g.PyraCanny(image=fitted, low_threshold=settings.canny_low, high_threshold=settings.canny_high)


def show_preprocessed(
    g: GraphBuilder,
    prompts: Sequence[ImagePrompt],
    request: GenerationRequest,
    generation: Generation,
    catalog: Catalog,
    warnings: Sequence[str],
    *,
    like: Output | None = None,
) -> Compiled:
    """Make only what the preprocessors make of each picture; no model is loaded."""
    images: list[ImagePlan] = []
    for index, prompt in enumerate(prompts):
        if prompt.type in ROLES:
            picture = control_picture(g, prompt, request.preprocessing, generation, like)
        else:
            seen = ip_adapter.picture_of(g, prompt, request.preprocessing, catalog, generation.checkpoint)
            picture = g.ImageScale(
                image=seen, upscale_method="lanczos", width=ADAPTER_PX, height=ADAPTER_PX, crop="disabled"
            )
        images.append(save_plain(g, picture, generation, index))
    return Compiled(g.build(), images, warnings, False, generation)


def _settled(prompt: ImagePrompt) -> ImagePrompt:
    stop, weight = DEFAULTS[prompt.type]
    return replace(
        prompt,
        stop=stop if prompt.stop is None else prompt.stop,
        weight=weight if prompt.weight is None else prompt.weight,
    )


def _check(part: Struct, limits: dict[str, tuple[float, float]], field: str) -> None:
    for name, (low, high) in limits.items():
        value = getattr(part, name)
        if value is not None and not low <= value <= high:
            raise Refused(f"{field}.{name}", f"{name} is {value}.", f"It must lie between {low:g} and {high:g}.")
