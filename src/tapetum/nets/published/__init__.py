"""Checkpoints as others publish them: their key layouts, and the networks that take them."""
