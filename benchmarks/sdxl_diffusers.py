"""diffusers' side of `benchmarks.sdxl`: StableDiffusionXLPipeline from the same single file, from prompt to PNG."""

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTokenizer

from benchmarks.sdxl_task import Clock, Row, Spent, Task, picture_path, read_task, report
from models.memory import Residency
from models.sdxl import load_checkpoint
from models.text.tokenizer import MERGES_FILE
from tests.parity.diffusers_sdxl import text_config, unet_config, vae_config

MERGES = 48_894  # of the file's lines after the first, those that CLIP uses
PARTS = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "tokenizer_2": ("transformers", "CLIPTokenizer"),
    "scheduler": ("diffusers", "EulerDiscreteScheduler"),
}
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "linspace",
}


class Bench:
    """The pipeline, with clocks in its stages."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.clock = Clock(task.device)
        on_cuda = task.device.startswith("cuda")
        self.pipeline = load_pipeline(task, torch.float16 if on_cuda else torch.float32)
        self.pipeline.to(task.device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.pipeline.encode_prompt = self.clock.timed("text", self.pipeline.encode_prompt)
        self.pipeline.vae.decode = self.clock.timed("vae", self.pipeline.vae.decode)
        if task.compile:
            self.pipeline.unet.to(memory_format=torch.channels_last)
            self.pipeline.vae.to(memory_format=torch.channels_last)
            self.pipeline.unet.compile(mode="max-autotune-no-cudagraphs")
            self.pipeline.vae.decoder.compile(mode="max-autotune-no-cudagraphs")

    def picture(self, number: int) -> Row:
        """Make one picture; return its time by stage."""
        task, clock = self.task, self.clock
        clock.stages = {}
        started = clock.now()
        image = self.pipeline(
            task.prompt(number),
            negative_prompt=f"{task.negative}, number {number}",
            height=task.size,
            width=task.size,
            num_inference_steps=task.steps,
            guidance_scale=task.cfg,
            latents=self._noise(max(number, 0)),
        ).images[0]
        clock.timed("file", image.save)(picture_path(task, "diffusers", number))
        total = clock.now().minus(started)
        named = Spent(*map(sum, zip(*clock.stages.values(), strict=True)))
        return clock.stages | {"total": total, "denoise": total.minus(named)}

    def _noise(self, seed: int) -> torch.Tensor:
        """Focal's initial noise. The pipeline multiplies by sigma, Focal by sqrt(1 + sigma²)."""
        shape = (1, 4, self.task.size // 8, self.task.size // 8)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        self.pipeline.scheduler.set_timesteps(self.task.steps)
        sigma = float(self.pipeline.scheduler.sigmas[0])
        return (noise * (1 + sigma**2) ** 0.5 / sigma).to(self.task.device, self.pipeline.unet.dtype)


def load_pipeline(task: Task, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    """Load the single file offline, with configurations made from its own sizes."""
    folder = Path(task.folder) / "diffusers"
    write_config(task, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return StableDiffusionXLPipeline.from_single_file(
            task.checkpoint,
            config=str(folder),
            local_files_only=True,
            torch_dtype=dtype,
            tokenizer=tokenizer("<|endoftext|>"),
            tokenizer_2=tokenizer("!"),
        )


def write_config(task: Task, folder: Path) -> None:
    """Write the folder of configurations that diffusers wants beside a single file."""
    model, clip, vae = load_checkpoint(task.checkpoint, Residency("cpu"))
    texts = (clip.l.sizes, clip.g.sizes)
    files: dict[str, dict[str, Any]] = {
        "model_index.json": {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": False} | PARTS,
        "unet/config.json": {"_class_name": PARTS["unet"][1]} | unet_config(model.unet.sizes, texts[1].projection),
        "vae/config.json": {"_class_name": PARTS["vae"][1]} | vae_config(vae.module.sizes),
        "text_encoder/config.json": {"architectures": [PARTS["text_encoder"][1]]} | text_config(texts[0]),
        "text_encoder_2/config.json": {"architectures": [PARTS["text_encoder_2"][1]]} | text_config(texts[1]),
        "scheduler/scheduler_config.json": SCHEDULER,
    }
    for name, values in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(values))


def tokenizer(pad: str) -> CLIPTokenizer:
    """Build transformers' tokenizer from CLIP's published merges."""
    with gzip.open(MERGES_FILE, "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1 : MERGES + 1]]
    letters = byte_letters()
    words = letters + [f"{letter}</w>" for letter in letters] + ["".join(merge) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=77)


def byte_letters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes: printable Latin-1 first, then code points from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(256 - len(printable))]


if __name__ == "__main__":
    given = read_task()
    report(given, Bench(given).picture)
