"""Untrusted bytes are read in child processes under limits; a fault costs one item."""

from tapetum.archive.sandbox.pool import Limits, Outcome, Sandbox
from tapetum.archive.sandbox.untrusted import apart, children

__all__ = ["Limits", "Outcome", "Sandbox", "apart", "children"]
