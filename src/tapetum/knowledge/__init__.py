"""What the clinic knows, in words: findings and their tree, prompts, and the report parser. No torch."""

from __future__ import annotations

from tapetum.knowledge.model import Finding, Pack
from tapetum.knowledge.pack import findings, load_pack
from tapetum.knowledge.prompts import prompts

__all__ = ["Finding", "Pack", "findings", "load_pack", "prompts"]
