"""Everything in one run: each family of questions once, on one archive, into one folder, one page and one table."""

from __future__ import annotations

from tapetum.bench.whole.plan import PARTS, Part, Planned, planned
from tapetum.bench.whole.result import Outcome, Whole
from tapetum.bench.whole.run import bench_all

__all__ = ["PARTS", "Outcome", "Part", "Planned", "Whole", "bench_all", "planned"]
