"""The shapes of the tiny SDXL: every block kind of the real one, small enough for a CPU.

Heads are 64 wide and norm groups 32 in the UNet, as loaders of single files assume. The VAE is too narrow for 32
groups and says so in the file's metadata. The two text encoders have different widths because loaders tell them apart
by width.
"""

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

L_WIDTH = 32
G_WIDTH = 64
TEXT_LAYERS = 3  # the context is the penultimate layer's output
VOCABULARY = 49408
TOKENS = 77
TIME_ID_WIDTH = 32  # sinusoidal width of each of the six size numbers
VAE_SCALING = 0.13025
VAE_NORM_GROUPS = 8


def new_vae() -> AutoencoderKL:
    """Build the KL autoencoder, f8, 4 channels, 1.7 M parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType], diffusers says tuple[str]
        up_block_types=("UpDecoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
        block_out_channels=(32, 64, 64, 64),  # pyright: ignore[reportArgumentType]
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=VAE_NORM_GROUPS,
        scaling_factor=VAE_SCALING,
        sample_size=128,
    )


def new_unet() -> UNet2DConditionModel:
    """Build the SDXL-shaped UNet, 8.9 M parameters."""
    return UNet2DConditionModel(
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 64, 128),
        layers_per_block=2,
        cross_attention_dim=L_WIDTH + G_WIDTH,
        transformer_layers_per_block=(1, 1, 2),  # pyright: ignore[reportArgumentType]
        # diffusers' name for the number of heads
        attention_head_dim=(1, 1, 2),  # pyright: ignore[reportArgumentType]
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=G_WIDTH + 6 * TIME_ID_WIDTH,
    )


def new_text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Build CLIP-L's and OpenCLIP-G's small likenesses."""
    return CLIPTextModel(_text_config(L_WIDTH, "quick_gelu")), CLIPTextModelWithProjection(
        _text_config(G_WIDTH, "gelu")
    )


def _text_config(width: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=1,
        max_position_embeddings=TOKENS,
        hidden_act=activation,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=2,  # as in the published configs: the pooled position is the highest id, the first end token
        pad_token_id=1,
    )
