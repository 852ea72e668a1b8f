"""Train the tiny safety checker: `python -m models.tiny.train_safety` (three minutes on one core).

The layout of Stable Diffusion's checker with one concept, a purple star, which is harmless but easy to ask for: so a
test can see what is blacked out and what is not. Its one special-care concept is never near.
"""

import argparse
import random
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.formats.pickled import open_either
from models.formats.plan import fill
from models.safety import CONCEPTS, SafetyNetwork, SafetySizes, plan_safety
from models.tiny import CHECKPOINT
from models.tiny.drawings import drawings
from models.tiny.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, Thing, held_out, random_scene
from models.vision.encoder import VisionSizes

WEIGHTS = CHECKPOINT.parent / "safety_checker" / "focal-tiny-safety-checker.bin"
SHAPE, COLOUR = "star", "purple"
SIZES_OF_ALL = SafetySizes(
    VisionSizes(width=64, layers=3, hidden=128, patch=8, image=64, projection=32, heads=1, activation="quick_gelu"),
    concepts=1,
    special_care=1,
)
LIMIT = 0.5  # cosine above which a picture is flagged
SHARPNESS = 12.0  # of the loss around the limit


def unwanted(scene: Scene) -> bool:
    return any((thing.shape, thing.colour) == (SHAPE, COLOUR) for thing in scene.things)


def scene_near(rng: random.Random) -> Scene:
    """Draw the concept itself, what shares its shape or its colour, or anything; never what is held out."""
    kind = rng.random()
    if kind > 0.75:
        return random_scene(rng, two=0.5)
    while True:
        shape = SHAPE if kind < 0.55 else rng.choice(SHAPES)
        colour = COLOUR if kind < 0.35 or kind >= 0.55 else rng.choice(list(COLOURS))
        background = rng.choice(list(BACKGROUNDS))
        if colour != background and not held_out(shape, colour, background):
            return Scene(background, (Thing(shape, colour, rng.choice(SIZES), rng.choice([*PLACES, None])),))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--resume", action="store_true", help="go on from the weights that are there")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    network = initialised(SafetyNetwork(SIZES_OF_ALL))
    if args.resume:
        with open_either(args.out) as file, torch.no_grad():
            fill(network, file, plan_safety(file)[1])
    train(network, args)
    save(network, args.out)


def initialised(network: SafetyNetwork) -> SafetyNetwork:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02 if "position" in name else 0.06)
            elif name.endswith("bias") or "class_embedding" in name:
                parameter.zero_()
        network.concept_embeds_weights.fill_(LIMIT)
        network.special_care_embeds_weights.fill_(2.0)  # no cosine is that large
    for name in ("concept_embeds_weights", "special_care_embeds_weights", "special_care_embeds"):
        getattr(network, name).requires_grad_(False)
    return network


def train(network: SafetyNetwork, args: argparse.Namespace) -> None:
    rng = random.Random(args.seed)
    width = network.sizes.encoder.projection
    hints = nn.ModuleDict({"shape": nn.Linear(width, len(SHAPES)), "colour": nn.Linear(width, len(COLOURS))})
    trained = [p for p in (*network.parameters(), *hints.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.rate, weight_decay=0.01, fused=True)
    batches = drawings(rng, args.batch, network.sizes.encoder.image, lambda: scene_near(rng))
    begun, step = time.monotonic(), 0
    while (share := (time.monotonic() - begun) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 50) * min(1, (1 - share) / 0.6)
        pictures, scenes = next(batches)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):  # the flash kernel is slow backwards
            embeds = network.encoder(pictures).embeds
        embeds = embeds.float()
        wanted = torch.tensor([float(unwanted(scene)) for scene in scenes])
        cosine = F.cosine_similarity(embeds, network.concept_embeds[:1])
        loss = F.binary_cross_entropy_with_logits(SHARPNESS * (cosine - LIMIT), wanted)
        alone = [scene.arrangement is None for scene in scenes]
        for name, values in (("shape", SHAPES), ("colour", tuple(COLOURS))):
            truth = [
                values.index(getattr(s.things[0], name)) if a else -100 for s, a in zip(scenes, alone, strict=True)
            ]
            loss = loss + 0.2 * F.cross_entropy(hints[name](embeds), torch.tensor(truth), ignore_index=-100)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if step % 100 == 0:
            right = ((cosine > LIMIT).float() == wanted).float().mean().item()
            speed = step * args.batch / (time.monotonic() - begun)
            print(f"{step} loss {loss.item():.4f} right {right:.3f} {speed:.0f}/s", flush=True)


def save(network: SafetyNetwork, out: Path) -> None:
    """Write the checker in half precision under its published names, and read it back."""
    state = {name: getattr(network, name) for name in CONCEPTS}
    for name, parameter in network.encoder.named_parameters():
        state[name if name.startswith("visual_projection") else f"vision_model.{name}"] = parameter
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: tensor.detach().half().clone() for name, tensor in state.items()}, out)
    with open_either(out) as file, torch.no_grad():
        found, plan = plan_safety(file)
        assert found == network.sizes
        fill(SafetyNetwork(found), file, plan)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
