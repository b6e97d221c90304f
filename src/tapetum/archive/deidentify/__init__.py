"""Pseudonymised copies of what a clinic exports: headers, files, pixels and text. Never "anonymous": a retina is a
biometric.
"""

from __future__ import annotations

from tapetum.archive.deidentify.cleaning import Cleaned, clean
from tapetum.archive.deidentify.key import Key, default_key_path
from tapetum.archive.deidentify.pseudonyms import Pseudonyms
from tapetum.archive.deidentify.text import Scrubbed, Span, find_identifiers, scrub

__all__ = [
    "Cleaned",
    "Key",
    "Pseudonyms",
    "Scrubbed",
    "Span",
    "clean",
    "default_key_path",
    "find_identifiers",
    "scrub",
]
