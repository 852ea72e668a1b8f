"""The model files that flows look for beside the checkpoint: names as published, where they live, where they come from.

Sources: Fooocus behaviour §6. A role names a purpose; `Catalog.file_for` finds the installed file of a role.
"""

from msgspec import Struct

MISC = "https://huggingface.co/lllyasviel/misc/resolve/main/"
MASHB1T = "https://huggingface.co/mashb1t/misc/resolve/main/"
INPAINT = "https://huggingface.co/lllyasviel/fooocus_inpaint/resolve/main/"


class KnownFile(Struct, frozen=True, kw_only=True):
    """One purpose. kind: the model folder. name: as published. url: its source. others: names that serve as well.

    tiny: the embedded stand-in, used only beside the tiny checkpoint. used_by: in words, for messages.
    """

    kind: str
    name: str
    url: str = ""
    others: tuple[str, ...] = ()
    tiny: str = ""
    used_by: str


KNOWN_FILES: dict[str, KnownFile] = {
    "control.canny": KnownFile(
        kind="controlnet",
        name="control-lora-canny-rank128.safetensors",
        url=MISC + "control-lora-canny-rank128.safetensors",
        tiny="focal-tiny-control-canny.safetensors",
        used_by="PyraCanny",
    ),
    "control.cpds": KnownFile(
        kind="controlnet",
        name="fooocus_xl_cpds_128.safetensors",
        url=MISC + "fooocus_xl_cpds_128.safetensors",
        tiny="focal-tiny-control-cpds.safetensors",
        used_by="CPDS",
    ),
}
