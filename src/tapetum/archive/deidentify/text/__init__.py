"""Identifiers in free text: found by rule and by what is already known, replaced consistently, measurements kept."""

from __future__ import annotations

from tapetum.archive.deidentify.text.find import find_identifiers
from tapetum.archive.deidentify.text.spans import Scrubbed, Span
from tapetum.archive.deidentify.text.surrogates import scrub

__all__ = ["Scrubbed", "Span", "find_identifiers", "scrub"]
