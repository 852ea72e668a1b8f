"""Image prompts within a run: their keys and values beside those of the words."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from models.unet_blocks import PreparedContext
from models.vision.image_prompt import ImagePrompt


def with_pictures(
    prepared: PreparedContext,
    prompts: Sequence[ImagePrompt],
    positive: Sequence[bool],
    stack: Callable[[list[Tensor]], Tensor],
) -> PreparedContext:
    """Add image prompts to a context.

    positive: for each of the forward's entries, whether it belongs to the positive prompt and so sees the picture.
    stack: makes one batch of a tensor per entry.
    """
    like = prepared.keys_values[0][0]

    def rows(prompt: ImagePrompt, index: int, part: int, factor: float) -> Tensor:
        parts = [(prompt.positive if sees else prompt.negative)[index][part] for sees in positive]
        return stack([tensor.to(like.device, like.dtype) * factor for tensor in parts])

    pictures = tuple(
        tuple((rows(prompt, i, 0, 1.0), rows(prompt, i, 1, prompt.weight)) for i in range(len(prepared.keys_values)))
        for prompt in prompts
    )
    return replace(prepared, pictures=pictures)
