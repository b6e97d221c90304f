"""Intervals in words."""

from __future__ import annotations

from tapetum.core.types import Interval


def told(found: Interval, digits: int = 3) -> str:
    """A difference with its sign and bounds."""
    return f"{found.estimate:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def verdict(found: Interval) -> str:
    """What a difference with these bounds shows."""
    if found.low > 0:
        return "shows a gain"
    return "shows a loss" if found.high < 0 else "shows no difference"
