"""Random image encoders and IP-Adapters in their published names, and the same in transformers and diffusers.

The names are written out here, not taken from the code under test.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.parity.random_sdxl import Shapes, random_state

State = dict[str, Tensor]


def transformers_vision(seed: int = 0, **sizes: object) -> CLIPVisionModelWithProjection:
    """Build a random encoder. sizes: of CLIPVisionConfig."""
    torch.manual_seed(seed)
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes)).eval()  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # transformers leaves norms at 1 and biases at 0, which would hide mistakes
                parameter.copy_((1.0 if name.endswith("norm.weight") else 0.0) + 0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5)
    return model


def published_names(model: CLIPVisionModelWithProjection) -> State:
    """The tensors as published files name them; transformers 5 drops a level that the files have."""
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    return {
        name if name.startswith(("vision_model.", "visual_projection.")) else f"vision_model.{name}": tensor
        for name, tensor in state.items()
        if "position_ids" not in name
    }


def open_clip_names(state: State) -> State:
    """The same tensors as OpenCLIP names them: fused q, k and v, a projection that multiplies from the right."""
    fixed = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
        "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
        "vision_model.post_layernorm.weight": "visual.ln_post.weight",
        "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    }
    inner = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    out = {theirs: state[name] for name, theirs in fixed.items()}
    out["visual.proj"] = state["visual_projection.weight"].T.contiguous()
    layers = {name.split(".")[3] for name in state if ".layers." in name}
    for layer in layers:
        source, target = f"vision_model.encoder.layers.{layer}", f"visual.transformer.resblocks.{layer}"
        for leaf in ("weight", "bias"):
            for name, theirs in inner.items():
                out[f"{target}.{theirs}.{leaf}"] = state[f"{source}.{name}.{leaf}"]
            parts = [state[f"{source}.self_attn.{x}_proj.{leaf}"] for x in "qkv"]
            out[f"{target}.attn.in_proj_{leaf}"] = torch.cat(parts)
    return out


def resampler_shapes(features: int, width: int, tokens: int, depth: int, heads: int, output: int) -> Shapes:
    """`image_proj` of a plus adapter."""
    found: Shapes = {"latents": (1, tokens, width)}
    for name, shape in (("proj_in", (width, features)), ("proj_out", (output, width))):
        found |= {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}
    found |= {"norm_out.weight": (output,), "norm_out.bias": (output,)}
    inner = 64 * heads
    for layer in range(depth):
        attention, feed_forward = f"layers.{layer}.0", f"layers.{layer}.1"
        for norm in (f"{attention}.norm1", f"{attention}.norm2", f"{feed_forward}.0"):
            found |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
        found |= {
            f"{attention}.to_q.weight": (inner, width),
            f"{attention}.to_kv.weight": (2 * inner, width),
            f"{attention}.to_out.weight": (width, inner),
            f"{feed_forward}.1.weight": (4 * width, width),
            f"{feed_forward}.3.weight": (width, 4 * width),
        }
    return found


def projection_shapes(features: int, tokens: int, output: int) -> Shapes:
    """`image_proj` of a plain adapter."""
    return {
        "proj.weight": (tokens * output, features),
        "proj.bias": (tokens * output,),
        "norm.weight": (output,),
        "norm.bias": (output,),
    }


def random_adapter(image: Shapes, widths: list[int], context: int, seed: int = 3) -> dict[str, State]:
    """Draw an adapter. widths: of the cross-attentions in diffusers' order: down, up, middle."""
    attention: Shapes = {}
    for place, width in enumerate(widths):
        attention[f"{2 * place + 1}.to_k_ip.weight"] = (width, context)
        attention[f"{2 * place + 1}.to_v_ip.weight"] = (width, context)
    return {"image_proj": random_state(image, seed), "ip_adapter": random_state(attention, seed + 1)}


def write_adapter(adapter: dict[str, State], path: Path) -> Path:
    """Write flat safetensors, or PyTorch's own format with the two groups as dicts."""
    if path.suffix == ".safetensors":
        flat = {f"{group}.{name}": tensor for group, part in adapter.items() for name, tensor in part.items()}
        save_file(flat, path)
    else:
        torch.save(adapter, path)
    return path
