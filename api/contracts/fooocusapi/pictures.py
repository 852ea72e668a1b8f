"""The pictures of a request: found, checked and stored before anything is queued."""

from collections.abc import Sequence

from msgspec import Struct

from api.contracts.fooocusapi.schemas import CommonRequest
from api.fields import ImagePrompt
from api.input_images import Reader, ReadImage, is_absent
from api.services import Services

MAX_PROMPTS = 4


class Pictures(Struct, frozen=True, kw_only=True):
    """What was sent, stored in the input folder. prompts: the first four that have a picture."""

    uov: ReadImage | None = None
    inpaint: ReadImage | None = None
    mask: ReadImage | None = None
    enhance: ReadImage | None = None
    prompts: Sequence[tuple[ImagePrompt, ReadImage]] = ()


async def read_pictures(body: CommonRequest, served: Services) -> Pictures:
    """Read every picture of a body. Raises InvalidRequest with the faults of all of them."""
    reader = Reader(served)
    sent = [(index, prompt) for index, prompt in enumerate(body.controlnet_image) if not is_absent(prompt.cn_img)]
    found = [
        (prompt, await reader.read(prompt.cn_img, ("body", "controlnet_image", index, "cn_img")))
        for index, prompt in sent[:MAX_PROMPTS]
    ]
    pictures = Pictures(
        uov=await reader.read(body.uov_input_image, ("body", "uov_input_image")),
        inpaint=await reader.read(body.inpaint_input_image, ("body", "inpaint_input_image")),
        mask=await reader.read(body.inpaint_mask_image_upload, ("body", "inpaint_mask_image_upload"), mask=True),
        enhance=await reader.read(body.enhance_input_image, ("body", "enhance_input_image")),
        prompts=[(prompt, image) for prompt, image in found if image is not None],
    )
    reader.check()
    return pictures
