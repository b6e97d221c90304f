"""Every shipped recipe is loaded by the verbs that it speaks to, and says its command, time and expectation."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

from tapetum.bench.trial import BenchConfig
from tapetum.core.config import load
from tapetum.learn import AdaptConfig, PretrainConfig

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
CONFIGS = {"pretrain": PretrainConfig, "adapt": AdaptConfig, "bench": BenchConfig}


def _runner():
    spec = importlib.util.spec_from_file_location("recipes_run", ROOT / "recipes" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    recipe = tomllib.loads(text)
    for word in ("# command:", "# time:", "# expected:", "# licence:"):
        assert word in text
    assert {"data", "tolerance", "commands"} <= set(recipe["recipe"])
    for table in set(recipe) - {"recipe"}:
        load(CONFIGS[table], table, path)


def test_estimates_are_read_from_a_table() -> None:
    runner = _runner()
    table = "  macro       1001   400  0.861 [0.83, 0.89]\n  glaucoma  1001 40  0.9 [0.8, 1.0]\n"
    table += "  text → image: recall 0.125 [0.1, 0.2]\n"
    assert runner.estimates(table) == [("macro", 0.861), ("text → image", 0.125)]


def test_agreement_needs_the_same_numbers(capsys) -> None:
    runner = _runner()
    page = "  macro  1 1  0.861 [0.830, 0.890]\n"
    assert runner.agrees("x", page, page.replace("0.861", "0.866"), 0.01)
    assert not runner.agrees("x", page, page.replace("0.861", "0.881"), 0.01)
    assert not runner.agrees("x", "", page, 0.01)
    capsys.readouterr()
