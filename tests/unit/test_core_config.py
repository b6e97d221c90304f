"""Configuration: defaults, then the recipe's table, then key=value; unknown keys and wrong types are refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tapetum.core.config import digest, fill, load
from tapetum.core.errors import UsageError


@dataclass(frozen=True)
class Toy:
    seed: int = 0
    rate: float = 0.5
    name: str = "x"
    out: Path | None = None
    sizes: tuple[int, ...] = (224,)
    dry: bool = False


def test_order_is_defaults_recipe_assignments(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[embed]\nseed = 1\nrate = 2\nname = "recipe"\n[other]\nseed = 9\n')
    got = load(Toy, "embed", recipe, ["seed=3", "sizes=(64, 96)"])
    assert got == Toy(seed=3, rate=2.0, name="recipe", sizes=(64, 96))
    assert isinstance(got.rate, float)
    with pytest.raises(UsageError, match=r"\[embdd\]") as error:
        load(Toy, "embdd", recipe)
    assert "embed" in error.value.expected
    assert load(Toy, "embed") == Toy()


def test_conversions_that_are_meant():
    got = fill(Toy, {"rate": 1, "out": "a/b", "sizes": [1, 2]})
    assert (got.rate, got.out, got.sizes) == (1.0, Path("a/b"), (1, 2))
    assert fill(Toy, {"out": None}).out is None
    assert fill(Toy, {"sizes": 96}).sizes == (96,)
    assert load(Toy, "t", None, ["name=ridge(power=0.5)"]).name == "ridge(power=0.5)"
    assert load(Toy, "t", None, ["name = a=b"]).name == "a=b"
    assert load(Toy, "t", None, ["dry=True"]).dry is True


@pytest.mark.parametrize(
    "assignment", ["seed=1.5", "seed=True", "seed=abc", "rate=True", "rate=fast", "dry=1", "sizes=(1, 2.5)", "out=3"]
)
def test_wrong_types_are_refused_with_the_key(assignment):
    with pytest.raises(UsageError) as caught:
        load(Toy, "t", None, [assignment])
    assert assignment.split("=")[0] in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_key_names_the_nearest():
    with pytest.raises(UsageError, match="unknown key 'sed' for Toy") as caught:
        fill(Toy, {"sed": 1})
    assert "'seed'" in caught.value.expected


def test_unreadable_assignments_and_recipes(tmp_path):
    with pytest.raises(UsageError, match="key=value"):
        load(Toy, "t", None, ["seed"])
    with pytest.raises(UsageError, match=r"no recipe .*absent\.toml"):
        load(Toy, "t", tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[t\nseed = 1\n")
    with pytest.raises(UsageError, match="is not TOML"):
        load(Toy, "t", broken)


def test_digest_tells_settings_apart():
    assert digest(Toy()) == digest(Toy(seed=0))
    assert len({digest(t) for t in (Toy(), Toy(seed=1), Toy(name="y"), Toy(out=Path("a")), Toy(sizes=(1, 2)))}) == 5
    assert len(digest(Toy())) == 64


def test_text_fields_keep_what_was_typed():
    assert load(Toy, "t", None, ["name=1.10"]).name == "1.10"
    assert load(Toy, "t", None, ["name=1e3"]).name == "1e3"
    assert load(Toy, "t", None, ["name=None"]).name == "None"


def test_a_recipe_that_is_no_text_is_refused_in_words(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        load(Toy, "t", recipe)
    with pytest.raises(UsageError, match="no recipe"):
        load(Toy, "t", tmp_path)


@dataclass(frozen=True)
class Wanted:
    wanted: bool = False
    also: bool = True


def test_truth_is_written_as_in_a_recipe():
    assert load(Wanted, "x", assignments=["wanted=true", "also=false"]) == Wanted(True, False)
    assert load(Wanted, "x", assignments=["wanted=True"]).wanted is True
    with pytest.raises(UsageError, match="wrong type"):
        load(Wanted, "x", assignments=["wanted=yes"])
