"""FreeU against its formula, written in numpy."""

import numpy as np
import torch

from models.freeu import FreeU, scale_low_frequencies


def features(channels: int, height: int = 6, width: int = 8) -> torch.Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(channels))


def test_low_frequencies_are_the_centre_square_of_the_spectrum() -> None:
    x = features(3).double().numpy()
    spectrum = np.fft.fftshift(np.fft.fft2(x), axes=(-2, -1))
    spectrum[..., 2:4, 3:5] *= 0.25
    expected = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real
    np.testing.assert_allclose(scale_low_frequencies(features(3), 0.25).numpy(), expected, atol=1e-5)


def test_backbone_gain_follows_the_normalised_mean_on_the_first_half_of_the_channels() -> None:
    h, skip = features(8), features(4)
    mean = h.numpy().mean(axis=1, keepdims=True)
    low, high = mean.min(axis=(2, 3), keepdims=True), mean.max(axis=(2, 3), keepdims=True)
    expected = h.numpy().copy()
    expected[:, :4] *= (1.3 - 1) * (mean - low) / (high - low) + 1
    got, _ = FreeU(b1=1.3, b2=5, s1=1, s2=5).apply(h, skip, model_channels=2)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_stages_are_chosen_by_width_and_others_pass_unchanged() -> None:
    freeu = FreeU(b1=2, b2=3, s1=0.5, s2=0.25)
    skip = features(4)
    for channels, low in ((8, 0.5), (4, 0.25)):
        _, got = freeu.apply(features(channels), skip, model_channels=2)
        torch.testing.assert_close(got, scale_low_frequencies(skip, low))
    h = features(2)
    assert freeu.apply(h, skip, model_channels=2) == (h, skip)
