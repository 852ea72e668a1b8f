"""What reads pictures: CLIP ViT-H and the IP-Adapters behind it, the face detector, the safety checker."""

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPConfig, CLIPVisionConfig, CLIPVisionModelWithProjection, ResNetConfig, ResNetModel

from benchmarks.full_size.checkpoints import SDXL, prompted, write_base
from benchmarks.full_size.proof import Bench, Failure, Proof, bring, filled, one_step
from benchmarks.full_size.writing import Shapes, counters, named, safetensors, tensors
from models.safety import load_safety_checker
from models.vision.clip_vision import DEVIATION, MEAN, load_clip_vision
from models.vision.faces import load_face_detector
from models.vision.image_prompt import load_adapter

VIT_H, PLUS = "clip_vision_vit_h.safetensors", "ip-adapter-plus_sdxl_vit-h"
ADAPTERS = (f"{PLUS}.safetensors", f"{PLUS}.bin", "ip-adapter-plus-face_sdxl_vit-h.bin")
FACES, SAFETY = "detection_Resnet50_Final.pth", "stable-diffusion-safety-checker.bin"
STAGES = ((3, 64, 256), (4, 128, 512), (6, 256, 1024), (3, 512, 2048))  # ResNet-50: blocks, inner and outer width
NECK = 256


def vision_config() -> CLIPVisionConfig:
    """OpenCLIP ViT-H/14, laion2b: the encoder of the published IP-Adapters."""
    return CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, image_size=224,
        patch_size=14, projection_dim=1024, hidden_act="gelu",
    )  # fmt: skip


def write_vision(path: Path) -> None:
    with torch.device("meta"):
        shapes = named(CLIPVisionModelWithProjection(vision_config()).state_dict())
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith("position_ids")}
    ids = {"vision_model.embeddings.position_ids": torch.arange(257)[None]}
    safetensors(path, shapes, given=ids)


def run_vision(bench: Bench) -> Tensor:
    with bench.loading():
        vision = load_clip_vision(bench / VIT_H, bench.float32)
        bring(vision.module)
    picture = torch.rand(1, vision.side, vision.side, 3)
    seen = vision.encode(picture)
    bench.float32.free()
    with torch.device("meta"):
        other = CLIPVisionModelWithProjection(vision_config())
    state = {name: tensor.float() for name, tensor in load_file(bench / VIT_H).items() if "position_ids" not in name}
    filled(other, state, "position_ids", assign=True)
    other.vision_model.embeddings.position_ids = torch.arange(257)[None]
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    said = other.eval()(((picture - mean) / deviation).movedim(-1, 1), output_hidden_states=True)
    bench.same("states equal transformers'", seen.penultimate_hidden_states, said.hidden_states[-2], 1e-3)
    return seen.image_embeds


def adapter_shapes() -> Shapes:
    """IP-Adapter plus for SDXL with ViT-H, as tencent-ailab publishes it: a resampler of depth 4, 70 attentions."""
    shapes: Shapes = {"image_proj.latents": (1, 16, 1280)}

    def linear(name: str, out: int, into: int, bias: bool = False) -> None:
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    linear("image_proj.proj_in", 1280, 1280, bias=True)
    linear("image_proj.proj_out", 2048, 1280, bias=True)
    norm("image_proj.norm_out", 2048)
    for depth in range(4):
        attention, forward = f"image_proj.layers.{depth}.0", f"image_proj.layers.{depth}.1"
        norm(f"{attention}.norm1", 1280)
        norm(f"{attention}.norm2", 1280)
        linear(f"{attention}.to_q", 1280, 1280)
        linear(f"{attention}.to_kv", 2560, 1280)
        linear(f"{attention}.to_out", 1280, 1280)
        norm(f"{forward}.0", 1280)
        linear(f"{forward}.1", 5120, 1280)
        linear(f"{forward}.3", 1280, 5120)
    widths = [640] * 4 + [1280] * 20 + [1280] * 30 + [640] * 6 + [1280] * 10  # down, up, middle
    for place, width in enumerate(widths):
        linear(f"ip_adapter.{2 * place + 1}.to_k_ip", width, 2048)
        linear(f"ip_adapter.{2 * place + 1}.to_v_ip", width, 2048)
    return shapes


def write_adapter(path: Path) -> None:
    safetensors(path, adapter_shapes())


def write_pickled_adapter(path: Path) -> None:
    """As published: a dict of two groups."""
    groups: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors(adapter_shapes(), torch.float16).items():
        group, _, rest = name.partition(".")
        groups[group][rest] = tensor
    torch.save(groups, path)


def run_adapters(bench: Bench) -> Tensor:
    """The first steers a step; of the other two keys and values are made, which is all that a UNet gets of them."""
    model, _, _, words = prompted(bench)
    with bench.loading():
        vision = load_clip_vision(bench / VIT_H, bench.bfloat16)
        bring(vision.module)
    seen = vision.encode(torch.rand(1, vision.side, vision.side, 3))
    prompts = []
    for name in ADAPTERS:
        with bench.loading():
            adapter = load_adapter(bench / name, bench.bfloat16)
            bring(adapter.module)
        prompts.append(adapter.prompt(seen, model, 1.0, 1.0))
    pairs = zip(prompts[0].positive, prompts[1].positive, strict=True)
    if not all(torch.equal(one, other) for first, second in pairs for one, other in zip(first, second, strict=True)):
        raise Failure("the same tensors as safetensors and as a pickle give other keys and values")
    bench.notes.append(f"keys and values of {len(prompts[0].positive)} attentions, the same from both formats")
    with bench.loading():
        bring(model)
    result = one_step(model.patched(image_prompts=(prompts[0],)), words)
    if torch.equal(result, one_step(model, words)):
        raise Failure("it steers nothing")
    return result


def face_shapes() -> Shapes:
    """RetinaFace on ResNet-50 in facexlib's names. Raises Failure unless the body's shapes are transformers'."""
    shapes: Shapes = {}

    def conv(name: str, into: int, out: int, side: int) -> None:
        shapes[f"{name}.weight"] = (out, into, side, side)

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")})

    def pair(name: str, into: int, out: int, side: int) -> None:
        conv(f"{name}.0", into, out, side)
        norm(f"{name}.1", out)

    conv("body.conv1", 3, 64, 7)
    norm("body.bn1", 64)
    channels = 64
    for stage, (blocks, width, outer) in enumerate(STAGES, start=1):
        for block in range(blocks):
            sides = ((channels, width, 1), (width, width, 3), (width, outer, 1))
            for number, (into, out, side) in enumerate(sides, start=1):
                conv(f"body.layer{stage}.{block}.conv{number}", into, out, side)
                norm(f"body.layer{stage}.{block}.bn{number}", out)
            if block == 0:
                pair(f"body.layer{stage}.{block}.downsample", channels, outer, 1)
            channels = outer
    with torch.device("meta"):
        body = ResNetModel(ResNetConfig())  # the defaults are ResNet-50
    theirs = sorted(s for name, s in named(body.state_dict()).items() if not name.endswith("num_batches_tracked"))
    if theirs != sorted(shapes.values()):
        raise Failure("the body is not ResNet-50")
    for number, outer in enumerate((512, 1024, 2048), start=1):
        pair(f"fpn.output{number}", outer, NECK, 1)
        pair(f"ssh{number}.conv3X3", NECK, NECK // 2, 3)
        pair(f"ssh{number}.conv5X5_1", NECK, NECK // 4, 3)
        for name in ("conv5X5_2", "conv7X7_2", "conv7x7_3"):
            pair(f"ssh{number}.{name}", NECK // 4, NECK // 4, 3)
        for head, values in (("ClassHead", 4), ("BboxHead", 8), ("LandmarkHead", 20)):
            conv(f"{head}.{number - 1}.conv1x1", NECK, values, 1)
            shapes[f"{head}.{number - 1}.conv1x1.bias"] = (values,)
    for number in (1, 2):
        pair(f"fpn.merge{number}", NECK, NECK, 3)
    return shapes


def write_faces(path: Path) -> None:
    state = tensors(face_shapes(), given=counters(face_shapes()))
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)


def run_faces(bench: Bench) -> Tensor:
    with bench.loading():
        detector = load_face_detector(bench / FACES, bench.float32)
        bring(detector.module)
    picture = (torch.rand(96, 128, 3) * 255).to(torch.uint8).numpy()
    detector.find(picture)
    with detector.module.use() as network:
        return torch.cat([part.flatten() for part in network(torch.rand(1, 3, 96, 128))])


def safety_module() -> StableDiffusionSafetyChecker:
    """CompVis' stable-diffusion-safety-checker: CLIP ViT-L/14, 17 concepts and 3 of special care."""
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    vision |= {"image_size": 224, "patch_size": 14, "projection_dim": 768}
    with torch.device("meta"):
        return StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=768))


def write_safety(path: Path) -> None:
    """With the names of the published file, which transformers 4 wrote."""
    shapes = {}
    for name, shape in named(safety_module().state_dict()).items():
        if not name.endswith("position_ids"):
            inner = name.startswith("vision_model.") and not name.startswith("vision_model.vision_model.")
            shapes[f"vision_model.{name}" if inner else name] = shape
    ids = {"vision_model.vision_model.embeddings.position_ids": torch.arange(257)[None]}
    torch.save(tensors(shapes, given=ids), path)


def run_safety(bench: Bench) -> Tensor:
    with bench.loading():
        checker = load_safety_checker(bench / SAFETY, bench.float32)
        bring(checker.module)
    return checker.blacked_out(torch.rand(1, 256, 256, 3))[0]


PROOFS = {
    "faces": Proof({FACES: write_faces}, run_faces, (r"num_batches_tracked$",)),
    "safety": Proof({SAFETY: write_safety}, run_safety, (r"position_ids$",)),
    "clip-vision": Proof({VIT_H: write_vision}, run_vision, (r"position_ids$",)),
    "ip-adapters": Proof(
        {name: write_adapter if name.endswith(".safetensors") else write_pickled_adapter for name in ADAPTERS},
        run_adapters,
        needs={SDXL: write_base, VIT_H: write_vision},
    ),
}
