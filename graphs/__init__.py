"""Requests in, graphs out: everything that is decided about a picture before a model is touched.

No torch, no numpy, no Pillow here. The way through: `GenerationRequest` (what was asked) → `resolve` (what will
be done) → `text_to_image` (the graph that does it).
"""
