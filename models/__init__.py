"""Weights and mathematics: files become modules, modules become pictures."""
