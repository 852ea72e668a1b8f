"""UNets as they are published: the plan of the single file, and what `unet/config.json` says of the layout."""

from typing import Any

from tests.parity.random_sdxl import FULL, FULL_REFINER, FULL_SD15, Plan

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"
SIZED = {"use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256}

# stabilityai/stable-diffusion-xl-base-1.0, its -refiner-1.0, and stable-diffusion-v1-5
PUBLISHED: dict[str, tuple[Plan, dict[str, Any]]] = {
    "sdxl": (
        FULL,
        SIZED
        | {
            "block_out_channels": [320, 640, 1280],
            "down_block_types": [PLAIN, CROSS, CROSS],
            "up_block_types": [CROSS_UP, CROSS_UP, PLAIN_UP],
            "transformer_layers_per_block": [1, 2, 10],
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "projection_class_embeddings_input_dim": 2816,
        },
    ),
    "sdxl_refiner": (
        FULL_REFINER,
        SIZED
        | {
            "block_out_channels": [384, 768, 1536, 1536],
            "down_block_types": [PLAIN, CROSS, CROSS, PLAIN],
            "up_block_types": [PLAIN_UP, CROSS_UP, CROSS_UP, PLAIN_UP],
            "transformer_layers_per_block": 4,
            "attention_head_dim": [6, 12, 24, 24],
            "cross_attention_dim": 1280,
            "projection_class_embeddings_input_dim": 2560,
        },
    ),
    "sd1": (
        FULL_SD15,
        {
            "block_out_channels": [320, 640, 1280, 1280],
            "down_block_types": [CROSS, CROSS, CROSS, PLAIN],
            "up_block_types": [PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP],
            "attention_head_dim": 8,
            "cross_attention_dim": 768,
        },
    ),
}
