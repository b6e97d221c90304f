"""What the clinic knows, in words: findings and their tree, prompts, and the report parser. No torch."""

from __future__ import annotations

from tapetum.knowledge.model import Finding, Pack
from tapetum.knowledge.negation import negated, status_at
from tapetum.knowledge.pack import findings, load_pack
from tapetum.knowledge.prompts import prompts
from tapetum.knowledge.report import Mention, ParsedReport, parse_report

__all__ = [
    "Finding",
    "Mention",
    "Pack",
    "ParsedReport",
    "findings",
    "load_pack",
    "negated",
    "parse_report",
    "prompts",
    "status_at",
]
