"""Which precision a device computes in."""

from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True)
class DtypePolicy:
    """Which precision each part computes in."""

    unet: torch.dtype = torch.float32
    text: torch.dtype = torch.float32
    vae: torch.dtype = torch.float32

    @classmethod
    def for_device(cls, device: torch.device) -> Self:
        """CPU: float32, since float16 arithmetic is a hundred times slower there. CUDA: as Fooocus does by default."""
        if device.type != "cuda":
            return cls()
        modern = torch.cuda.get_device_capability(device)[0] >= 8
        return cls(unet=torch.float16, text=torch.float16, vae=torch.bfloat16 if modern else torch.float32)

    def of(self, part: str) -> torch.dtype:
        """Return the dtype of "unet", "vae" or a text encoder."""
        return {"unet": self.unet, "vae": self.vae}.get(part, self.text)
