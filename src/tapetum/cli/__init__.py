"""The command line: one verb is one library function. Starts without torch; each verb loads what it needs."""

from __future__ import annotations

from tapetum.cli.frame import main
from tapetum.cli.verbs import app

__all__ = ["app", "main"]
