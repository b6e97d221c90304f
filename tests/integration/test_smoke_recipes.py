"""The smoke recipe of every method of learning runs as a user would type it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tapetum.core.registry import Family

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_method_of_learning_runs_on_the_phantom() -> None:
    """That no family is missing is for the contract test; here every member of those tried has its row."""
    done = subprocess.run(
        [sys.executable, "recipes/smoke.py"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = re.findall(r"^\| (\w+)/(\w+) \|", done.stdout, flags=re.MULTILINE)
    for family in dict(rows):
        assert {name for of, name in rows if of == family} == set(Family(f"tapetum.learn.{family}").names())
    assert len(rows) > 40
