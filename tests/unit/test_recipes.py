"""Every shipped recipe is loaded by the verbs that it speaks to, and says its command, time and expectation."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

from tapetum.bench.comparison import CompareConfig
from tapetum.bench.trial import BenchConfig
from tapetum.core.config import load
from tapetum.learn import AdaptConfig, PretrainConfig
from tapetum.learn.distil import DistilConfig

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
CONFIGS = {
    "pretrain": PretrainConfig,
    "adapt": AdaptConfig,
    "bench": BenchConfig,
    "compare": CompareConfig,
    "distil": DistilConfig,
}


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
    table += "  knn(k=5)                   10 shots           0.802 [0.7, 0.9] (3 runs)  0.100 [0.0, 0.2]\n"
    table += "| student | 16,969 | 0.07 | 14.5 | 11.57 × | 0.863 [0.747, 0.956] | -0.116 [-0.241, -0.016] |\n"
    found = runner.estimates(table)
    assert found[:2] == [("macro", 0.861), ("text → image", 0.125)]
    assert [value for _, value in found[2:]] == [0.802, 0.863]
    scores = "  OOD  120  80  0.573 [0.431, 0.709]   0.766 [0.645, 0.876]\n  ID  120  40  0.573 [0.431, 0.709]\n"
    assert runner.estimates(scores) == [("OOD", 0.573)]


def test_agreement_needs_the_same_numbers(capsys) -> None:
    runner = _runner()
    page = "  macro  1 1  0.861 [0.830, 0.890]\n"
    assert runner.agrees("x", page, page.replace("0.861", "0.866"), 0.01)
    assert not runner.agrees("x", page, page.replace("0.861", "0.881"), 0.01)
    assert not runner.agrees("x", "", page, 0.01)
    capsys.readouterr()


def test_a_name_that_is_no_recipe_runs_nothing(capsys):
    runner = _runner()
    runner.one = lambda *_, **__: pytest.fail("a recipe was run")
    assert runner.main(["nosuch"]) == 2
    assert "found nosuch; NAME is one of" in capsys.readouterr().err
    assert runner.main(["--help"]) == 0
    assert "python recipes/run.py" in capsys.readouterr().out


def test_what_another_run_wrote_meanwhile_stays_on_the_page(tmp_path):
    runner = _runner()
    runner.PAGE, runner.MECHANISMS = tmp_path / "results.md", tmp_path / "mechanisms.md"
    mine, other = runner.mechanism_names()[:2]

    def one(name, committed, *, check):
        runner.MECHANISMS.write_text(f"head\n<!-- {other} -->\ntheirs\n", encoding="utf-8")
        return "mine\n", False

    runner.one = one
    assert runner.main([mine]) == 0
    assert runner.existing(runner.MECHANISMS) == {mine: "mine\n", other: "theirs\n"}


def test_estimates_of_a_whole_run_are_read() -> None:
    table = "Detection: how well?\n  AUROC ↑        0.841 [0.822, 0.859]   linear_probe()\n  AP ↑  0.1 [0.0, 0.2]\n"
    assert _runner().estimates(table) == [("AUROC ↑", 0.841)]
