"""The rule tables of the report parser, read from `english.toml`."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any


@functools.lru_cache(maxsize=1)
def english() -> Mapping[str, Mapping[str, Any]]:
    """All tables, as written."""
    return tomllib.loads((resources.files(__name__) / "english.toml").read_text(encoding="utf-8"))


def table(section: str, name: str) -> Sequence[str]:
    """One list of words."""
    return english()[section][name]
