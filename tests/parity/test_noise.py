"""Noise against torch's own streams, torchsde's tree and the original's recorded figures."""

import math

import numpy as np
import pytest
import torch
import torchsde

from models.sampling.noise import BrownianNoise, brownian_range, generator, initial_noise, sampler_noise
from models.sampling.samplers import SAMPLERS

SHAPE = (1, 4, 12, 16)


def test_initial_noise_is_the_global_generators_after_manual_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        expected = torch.randn(SHAPE)
    assert torch.equal(initial_noise(SHAPE, generator(1234)), expected)


def test_ancestral_noise_on_the_cpu_continues_the_global_stream_as_fooocus_does() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        torch.randn(SHAPE)
        expected = [torch.randn(SHAPE) for _ in range(3)]
    source = generator(99)
    latent = initial_noise(SHAPE, source)
    noise = sampler_noise(
        SAMPLERS["euler_ancestral"], latent, 99, "fooocus", brownian_range=(0.03, 14.6), cpu_stream=source
    )
    for draw in expected:
        assert torch.equal(noise(2.0, 1.0), draw)


def test_ancestral_noise_does_not_repeat_the_initial_noise_in_comfy_policy() -> None:
    source = generator(99)
    latent = initial_noise(SHAPE, source)
    noise = sampler_noise(
        SAMPLERS["euler_ancestral"], latent, 99, "comfy", brownian_range=(0.03, 14.6), cpu_stream=source
    )
    assert torch.equal(noise(2.0, 1.0), torch.randn(SHAPE, generator=generator(100)))


def test_noise_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    BrownianNoise(torch.zeros(SHAPE), 0.03, 14.6, 5)(3.0, 2.0)
    initial_noise(SHAPE, generator(7))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_brownian_noise_gives_the_recorded_figures() -> None:
    noise = BrownianNoise(torch.zeros(SHAPE), 0.0292, 14.6, 5)
    np.testing.assert_allclose(
        noise(3.0, 2.0).flatten()[:4], [-1.049049, 0.038664, -1.808378, 0.76383], rtol=1e-5, atol=1e-6
    )


def test_brownian_noise_is_the_trees_increment_over_the_root_of_the_step() -> None:
    tree = torchsde.BrownianTree(torch.tensor(0.5), torch.zeros(SHAPE), torch.tensor(10.0), entropy=11)
    noise = BrownianNoise(torch.zeros(SHAPE), 0.5, 10.0, 11)
    for sigma, sigma_next in [(10.0, 7.0), (7.0, 2.5), (2.5, 0.5)]:
        expected = -tree(sigma_next, sigma) / math.sqrt(sigma - sigma_next)
        torch.testing.assert_close(noise(sigma, sigma_next), expected)
        torch.testing.assert_close(noise(sigma_next, sigma), -expected)


def test_step_beyond_the_tree_gets_only_the_noise_inside() -> None:
    noise = BrownianNoise(torch.zeros(SHAPE), 0.5, 10.0, 11)
    inside = noise(10.0, 7.0)
    torch.testing.assert_close(noise(19.0, 7.0), inside * math.sqrt(3 / 12))
    assert not noise(30.0, 20.0).any()
    assert not noise(0.4, 0.1).any()


def test_tree_of_a_single_sigma_gives_no_noise() -> None:
    assert not BrownianNoise(torch.zeros(SHAPE), 2.0, 2.0, 1)(2.0, 1.0).any()


def test_two_halves_of_a_step_add_up_to_the_whole() -> None:
    noise = BrownianNoise(torch.zeros(SHAPE), 0.5, 10.0, 3)
    halves = noise(8.0, 6.0) * math.sqrt(2) + noise(6.0, 3.0) * math.sqrt(3)
    torch.testing.assert_close(noise(8.0, 3.0) * math.sqrt(5), halves, rtol=1e-4, atol=1e-5)


def test_picked_samples_of_a_batch_keep_their_noise() -> None:
    whole = initial_noise((4, *SHAPE[1:]), generator(5))
    picked = initial_noise((3, *SHAPE[1:]), generator(5), batch_index=[2, 0, 2])
    assert torch.equal(picked, whole[[2, 0, 2]])


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_every_unsigned_64_bit_seed_is_a_seed(seed: int) -> None:
    assert initial_noise(SHAPE, generator(seed)).isfinite().all()
    assert generator(seed + 1).initial_seed() == (seed + 1) % 2**64


def test_range_of_the_path_leaves_out_the_final_zero() -> None:
    assert brownian_range((14.0, 3.0, 0.5, 0.0)) == (0.5, 14.0)


def test_same_seed_gives_the_same_bytes() -> None:
    for name in ("euler_ancestral", "dpmpp_2m_sde"):
        draws = []
        for _ in range(2):
            source = generator(42)
            like = initial_noise(SHAPE, source)
            noise = sampler_noise(SAMPLERS[name], like, 42, "fooocus", brownian_range=(0.03, 14.6), cpu_stream=source)
            draws.append(noise(5.0, 4.0).numpy().tobytes())
        assert draws[0] == draws[1]
