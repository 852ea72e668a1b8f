"""Sampling: sigmas, samplers, guidance and noise, in k-diffusion's shape."""
