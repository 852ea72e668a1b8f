"""The model files that flows look for beside the checkpoint: names as published, where they live, where they come from.

Sources: Fooocus behaviour §6. A role names a purpose; `Catalog.file_for` finds the installed file of a role.
"""

from msgspec import Struct

MISC = "https://huggingface.co/lllyasviel/misc/resolve/main/"
MASHB1T = "https://huggingface.co/mashb1t/misc/resolve/main/"
INPAINT = "https://huggingface.co/lllyasviel/fooocus_inpaint/resolve/main/"
REMBG = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
GROUNDING_DINO = "https://github.com/IDEA-Research/GroundingDINO/releases/download/v0.1.0-alpha/"
BERT = "https://huggingface.co/google-bert/bert-base-uncased/resolve/main/"

U2NET_FAMILY: tuple[str, ...] = (
    "u2net",
    "u2netp",
    "u2net_human_seg",
    "u2net_cloth_seg",
    "silueta",
    "isnet-general-use",
    "isnet-anime",
)
SAM_FILES = {"vit_b": "sam_vit_b_01ec64.pth", "vit_l": "sam_vit_l_0b3195.pth", "vit_h": "sam_vit_h_4b8939.pth"}
UPSCALER = "fooocus_upscaler_s409985e5.bin"  # Fooocus's own; its results are what users know
TINY_UPSCALER = "focal-tiny-upscaler-4x.safetensors"
TINY_HEAD, TINY_PATCH = "focal-tiny-inpaint-head.pth", "focal-tiny-inpaint.fooocus.patch"
INPAINT_FILES = {
    "inpaint.head": "fooocus_inpaint_head.pth",
    "inpaint.v1": "inpaint.fooocus.patch",
    "inpaint.v2.5": "inpaint_v25.fooocus.patch",
    "inpaint.v2.6": "inpaint_v26.fooocus.patch",
}


class KnownFile(Struct, frozen=True, kw_only=True):
    """One purpose. kind: the model folder. name: as published. url: its source. others: names that serve as well.

    tiny: the embedded stand-in, used only beside the tiny checkpoint. used_by: in words, for messages. optional: what
    uses it goes without it, too.
    """

    kind: str
    name: str
    url: str = ""
    others: tuple[str, ...] = ()
    tiny: str = ""
    used_by: str
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which the file may be installed, the embedded one included."""
        return (self.name, *self.others, *([self.tiny] if self.tiny else []))


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
    "interposer": KnownFile(
        kind="vae_approx",
        name="xl-to-v1_interposer-v4.0.safetensors",
        url=MASHB1T + "xl-to-v1_interposer-v4.0.safetensors",
        tiny="focal-tiny-interposer.safetensors",
        used_by="An SD 1.x refiner",
    ),
    "upscaler": KnownFile(
        kind="upscale_models",
        name=UPSCALER,
        url=MISC + UPSCALER,
        tiny=TINY_UPSCALER,
        used_by="Upscaling",
    ),
    "clip_vision": KnownFile(
        kind="clip_vision",
        name="clip_vision_vit_h.safetensors",
        url=MISC + "clip_vision_vit_h.safetensors",
        others=("CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",),
        tiny="focal-tiny-clip-vision.safetensors",
        used_by="An image prompt",
    ),
    "ip_adapter.plus": KnownFile(
        kind="controlnet",
        name="ip-adapter-plus_sdxl_vit-h.bin",
        url=MISC + "ip-adapter-plus_sdxl_vit-h.bin",
        others=("ip-adapter-plus_sdxl_vit-h.safetensors",),
        tiny="focal-tiny-ip-adapter-plus.safetensors",
        used_by="An image prompt",
    ),
    "ip_adapter.face": KnownFile(
        kind="controlnet",
        name="ip-adapter-plus-face_sdxl_vit-h.bin",
        url=MISC + "ip-adapter-plus-face_sdxl_vit-h.bin",
        others=("ip-adapter-plus-face_sdxl_vit-h.safetensors",),
        tiny="focal-tiny-ip-adapter-plus-face.safetensors",
        used_by="FaceSwap",
    ),
    "ip_adapter.negative": KnownFile(
        kind="controlnet",
        name="fooocus_ip_negative.safetensors",
        url=MISC + "fooocus_ip_negative.safetensors",
        used_by="An image prompt",
        optional=True,
    ),
    "face.detector": KnownFile(
        kind="controlnet",
        name="detection_Resnet50_Final.pth",
        url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/detection_Resnet50_Final.pth",
        tiny="focal-tiny-face-detector.safetensors",
        used_by="FaceSwap",
    ),
    **{
        role: KnownFile(
            kind="loras",
            name=f"sdxl_{name}_lora.safetensors",
            url=f"{source}sdxl_{name}_lora.safetensors",
            tiny=tiny,
            used_by=f"The performance mode {mode}",
        )
        for role, name, source, tiny, mode in (
            ("performance.lcm", "lcm", MISC, "focal-tiny-lcm.safetensors", "Extreme Speed"),
            ("performance.lightning", "lightning_4step", MASHB1T, "focal-tiny-lightning.safetensors", "Lightning"),
            ("performance.hyper_sd", "hyper_sd_4step", MASHB1T, "focal-tiny-hyper.safetensors", "Hyper-SD"),
        )
    },
    "describe.photo": KnownFile(
        kind="clip_vision",
        name="model_base_caption_capfilt_large.pth",
        url=MISC + "model_base_caption_capfilt_large.pth",
        tiny="focal-tiny-blip.pth",
        used_by="Describe (Photo)",
    ),
    "bert.vocabulary": KnownFile(
        kind="clip_vision",
        name="bert-base-uncased/vocab.txt",
        url=BERT + "vocab.txt",
        tiny="focal-tiny-blip/vocab.txt",
        used_by="Describe (Photo)",
    ),
    "describe.anime": KnownFile(
        kind="clip_vision",
        name="wd-v1-4-moat-tagger-v2.onnx",
        url=MISC + "wd-v1-4-moat-tagger-v2.onnx",
        tiny="focal-tiny-tagger.onnx",
        used_by="Describe (Anime)",
    ),
    "describe.anime.tags": KnownFile(
        kind="clip_vision",
        name="wd-v1-4-moat-tagger-v2.csv",
        url=MISC + "wd-v1-4-moat-tagger-v2.csv",
        tiny="focal-tiny-tagger.csv",
        used_by="Describe (Anime)",
    ),
    "safety.checker": KnownFile(
        kind="safety_checker",
        name="stable-diffusion-safety-checker.bin",
        url=MASHB1T + "stable-diffusion-safety-checker.bin",
        others=("stable-diffusion-safety-checker.safetensors",),
        tiny="focal-tiny-safety-checker.bin",
        used_by="Black-out of unsafe pictures",
    ),
    "expansion.model": KnownFile(
        kind="prompt_expansion",
        name="fooocus_expansion/pytorch_model.bin",
        url=MISC + "fooocus_expansion.bin",
        others=("fooocus_expansion/model.safetensors",),
        tiny="focal-tiny-expansion/pytorch_model.bin",
        used_by="Fooocus V2 (prompt expansion)",
        optional=True,
    ),
    **{
        role: KnownFile(
            kind="inpaint",
            name=name,
            url=INPAINT + name,
            tiny=TINY_HEAD if role == "inpaint.head" else TINY_PATCH,
            used_by="The inpaint engine",
        )
        for role, name in INPAINT_FILES.items()
    },
    "grounding_dino": KnownFile(
        kind="inpaint",
        name="groundingdino_swint_ogc.pth",
        url=GROUNDING_DINO + "groundingdino_swint_ogc.pth",
        used_by="The mask model sam",
    ),
    "grounding_dino.vocabulary": KnownFile(
        kind="inpaint",
        name="bert-base-uncased/vocab.txt",
        url=BERT + "vocab.txt",
        used_by="The mask model sam",
    ),
    **{
        f"sam.{size}": KnownFile(kind="sam", name=name, url=MASHB1T + name, used_by=f"The mask model sam with {size}")
        for size, name in SAM_FILES.items()
    },
    **{
        f"u2net.{model}": KnownFile(
            kind="inpaint",
            name=f"{model}.onnx",
            url=f"{REMBG}{model}.onnx",
            tiny="" if model == "u2net_cloth_seg" else "focal-tiny-u2net.onnx",  # clothes are four classes, not one
            used_by=f"The mask model {model}",
        )
        for model in U2NET_FAMILY
    },
}
