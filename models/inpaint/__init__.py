"""Repainting a part of a picture: pure functions on IMAGE and MASK tensors (Fooocus behaviour §5.4).

Masks here hold only 0 and 1, float32 (B, H, W).
"""
