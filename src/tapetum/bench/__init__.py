"""Putting models to the test: protocols, Records with intervals, tables, a page, negative controls."""

from __future__ import annotations

from tapetum.bench.run import evaluate, run_bench
from tapetum.bench.tables.results import Results, read_records
from tapetum.bench.trial import BenchConfig

__all__ = ["BenchConfig", "Results", "evaluate", "read_records", "run_bench"]
