"""Pictures into words and words into more words: BLIP in both layouts, a WD14 tagger, the GPT-2 of prompt expansion."""

import csv
import json
import re
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BlipConfig, BlipForConditionalGeneration, GPT2Config, GPT2LMHeadModel

from benchmarks.full_size.proof import Bench, Proof, bring, filled
from benchmarks.full_size.writing import Shapes, named, safetensors, tensors
from models.describe.captioner import load_captioner, prepared
from models.describe.tagger import load_tagger
from models.expansion import load_expander

WORDS = 30522  # of bert-base-uncased; BLIP adds [DEC] and [ENC]
TIED = ("text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias")
# The picture's encoder in the names of BLIP's own repository (models/vit.py); the text decoder has the same in both.
ORIGINAL = (
    (r"^vision_model\.embeddings\.class_embedding", "visual_encoder.cls_token"),
    (r"^vision_model\.embeddings\.position_embedding", "visual_encoder.pos_embed"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual_encoder.patch_embed.proj."),
    (r"^vision_model\.encoder\.layers\.", "visual_encoder.blocks."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.qkv\.", ".attn.qkv."),
    (r"\.self_attn\.projection\.", ".attn.proj."),
    (r"^vision_model\.post_layernorm\.", "visual_encoder.norm."),
)
TAGS, TAGGER_PX = 9083, 448  # of wd-v1-4-moat-tagger-v2
BLIP, BLIP_HF = "model_base_caption_capfilt_large.pth", "blip-image-captioning-base.safetensors"
TAGGER, GPT2 = "wd-v1-4-moat-tagger-v2.onnx", "fooocus_expansion.bin"


def blip_config() -> BlipConfig:
    """Salesforce's blip-image-captioning-base: ViT-B/16 on 384 pixels, BERT base."""
    text = {"vocab_size": WORDS + 2, "hidden_size": 768, "encoder_hidden_size": 768, "intermediate_size": 3072}
    text |= {"num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 512}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    return BlipConfig(text_config=text, vision_config=vision | {"image_size": 384, "patch_size": 16})


def blip_shapes() -> Shapes:
    with torch.device("meta"):
        shapes = named(BlipForConditionalGeneration(blip_config()).state_dict())
    return {name: shape for name, shape in shapes.items() if not name.endswith("position_ids")}


def write_blip(path: Path) -> None:
    """Its authors' layout, under the key `model`."""
    state = {}
    for name, tensor in tensors(blip_shapes()).items():
        for pattern, replacement in ORIGINAL:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    state["text_decoder.bert.embeddings.position_ids"] = torch.arange(512)[None]
    state[TIED[0]] = state["text_decoder.bert.embeddings.word_embeddings.weight"]
    state[TIED[1]] = state["text_decoder.cls.predictions.bias"]
    torch.save({"model": state}, path)


def write_transformers_blip(path: Path) -> None:
    """As transformers writes it: what is tied stands there once."""
    safetensors(path, {name: shape for name, shape in blip_shapes().items() if name not in TIED}, torch.float32)


def run_blip(name: str, bench: Bench) -> Tensor:
    words = vocabulary(bench.folder)
    with bench.loading():
        captioner = load_captioner(bench / name, words, bench.float32)
        bring(captioner.module)
    picture = torch.rand(64, 64, 3)
    bench.notes.append(f"{len(captioner.describe(picture).split())} words")
    pixels, ids = prepared(picture, captioner.module.sizes.side), torch.tensor([[WORDS, 1037, 3861]])
    with captioner.module.use() as blip:
        seen = blip.vision(pixels)
        logits = blip.text(ids, seen)
    if name == BLIP_HF:
        bench.float32.free()
        said = transformers_blip(bench / name)(pixel_values=pixels, input_ids=ids)
        bench.same("logits equal transformers'", logits, said.logits, 1e-3)
    return logits


def transformers_blip(path: Path) -> BlipForConditionalGeneration:
    module = BlipForConditionalGeneration(blip_config()).eval()
    filled(module, load_file(path), "position_ids", *TIED)
    return module


def vocabulary(folder: Path) -> Path:
    """A vocabulary of BERT's size; its words are numbers, but for those that a prompt begins with."""
    words = [f"word{number}" for number in range(WORDS)]
    words[:5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words[1012], words[1029], words[1037], words[1997], words[3861] = ".", "?", "a", "of", "picture"
    path = folder / "vocab.txt"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return path


class SmallTagger(nn.Module):
    """Inputs and outputs of the published tagger, (B, 448, 448, 3) → (B, 9083) probabilities; a far smaller net."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 16, 16, stride=16)
        self.name = nn.Linear(16, TAGS)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.name(self.look(pixels.permute(0, 3, 1, 2) / 255).relu().mean((2, 3))).sigmoid()


def write_tagger(path: Path) -> None:
    torch.onnx.export(
        SmallTagger().eval(), (torch.zeros(1, TAGGER_PX, TAGGER_PX, 3),), path, input_names=["input_1:0"],
        output_names=["predictions_sigmoid"], dynamic_axes={"input_1:0": {0: "N"}, "predictions_sigmoid": {0: "N"}},
        opset_version=17, dynamo=False,
    )  # fmt: skip


def write_tags(path: Path) -> None:
    """Four ratings (category 9), then general tags (0), then characters (4)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("tag_id", "name", "category", "count"))
        for row in range(TAGS):
            table.writerow((row, f"tag_{row}", 9 if row < 4 else 0 if row < 6951 else 4, 1))


def run_tagger(bench: Bench) -> Tensor:
    with bench.loading():
        tagger = load_tagger(bench / TAGGER, bench / TAGGER.replace(".onnx", ".csv"))
    picture = torch.rand(300, 200, 3)
    bench.notes.append(f"{len(tagger.describe(picture).split(', '))} of {len(tagger.tags)} tags; a net of small size")
    return torch.from_numpy(tagger.network.run(torch.zeros(1, TAGGER_PX, TAGGER_PX, 3).numpy())[0])


def write_gpt2(path: Path) -> None:
    """GPT-2 small in half precision, with the causal masks and the output matrix that old files carry."""
    with torch.device("meta"):
        shapes = named(GPT2LMHeadModel(GPT2Config()).state_dict())
    masks = {f"transformer.h.{n}.attn.bias": torch.ones(1, 1, 1024, 1024).half() for n in range(12)}
    masks |= {f"transformer.h.{n}.attn.masked_bias": torch.tensor(-1e4).half() for n in range(12)}
    state = tensors(shapes, torch.float16, masks)
    state["lm_head.weight"] = state["transformer.wte.weight"].clone()
    torch.save(state, path)


def run_gpt2(bench: Bench) -> Tensor:
    weights = bench.folder / "expansion" / "pytorch_model.bin"
    weights.parent.mkdir(exist_ok=True)
    weights.unlink(missing_ok=True)
    weights.symlink_to(bench / GPT2)
    write_byte_pairs(weights.parent)
    GPT2Config().save_pretrained(weights.parent)
    with bench.loading():
        expander = load_expander(weights, bench.float32)
        bring(expander.module)
    bench.notes.append(f"{len(expander.expand('aa', 1))} letters")
    ids = torch.randint(0, 50257, (1, 16))
    with expander.module.use() as network:
        logits = network(ids)
    other = GPT2LMHeadModel(GPT2Config()).eval()
    state = {name: tensor.float() for name, tensor in torch.load(bench / GPT2, weights_only=True).items()}
    other.load_state_dict(state, strict=False)
    bench.same("logits equal transformers'", logits, other(ids).logits, 1e-3)
    return logits


def write_byte_pairs(folder: Path) -> None:
    """A vocabulary of GPT-2's size: every byte, 50000 pairs of them, the end of a text."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(number) for number in printed] + [chr(256 + number) for number in range(256 - len(printed))]
    merges = [(a, b) for a in letters for b in letters][:50000]
    tokens = [*letters, *(a + b for a, b in merges), "<|endoftext|>"]
    content = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")


GPT2_SPARE = (r"\.attn\.bias$", r"\.masked_bias$", r"^lm_head\.weight$")
BLIP_SPARE = (r"position_ids$", r"^text_decoder\.cls\.predictions\.bias$")  # a bias that stands there twice
PROOFS = {
    "blip": Proof({BLIP: write_blip}, partial(run_blip, BLIP), BLIP_SPARE),
    "blip-transformers": Proof({BLIP_HF: write_transformers_blip}, partial(run_blip, BLIP_HF), BLIP_SPARE[:1]),
    "tagger": Proof({TAGGER: write_tagger, TAGGER.replace(".onnx", ".csv"): write_tags}, run_tagger),
    "expansion": Proof({GPT2: write_gpt2}, run_gpt2, GPT2_SPARE),
}
