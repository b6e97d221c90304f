"""Encoders against encoders, ways to use them against each other, at every number of labels: one table."""

from __future__ import annotations

from tapetum.bench.comparison.plan import Cell, CompareConfig, cells_of
from tapetum.bench.comparison.result import Comparison, Line
from tapetum.bench.comparison.run import compare

__all__ = ["Cell", "CompareConfig", "Comparison", "Line", "cells_of", "compare"]
