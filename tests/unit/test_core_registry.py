"""Specs are read as literals, families are found in the file system, unknown names and options are refused."""

from __future__ import annotations

import ast
import keyword
import string
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, Spec, nearest

NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8).filter(lambda s: not keyword.iskeyword(s))
TEXTS = st.text(string.printable + "é√眼", max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
LITERALS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NAMES, st.dictionaries(NAMES, LITERALS, max_size=4))
def test_spec_round_trip(name, options):
    spec = Spec(name, options)
    again = Spec.parse(str(spec))
    assert again == spec
    assert str(again) == str(spec)


def test_spec_text_is_canonical():
    assert str(Spec.parse(" knn( weighted = True,k=50 ) ")) == "knn(k=50, weighted=True)"
    assert str(Spec.parse("knn")) == str(Spec.parse("knn()")) == "knn()"
    assert Spec.parse("f(a=-1, b=(1, 2.5), c='x', d=None)").options == {"a": -1, "b": (1, 2.5), "c": "x", "d": None}
    assert Spec.parse("f(a=true, b=false)") == Spec.parse("f(a=True, b=False)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "knn(",
        "knn(50)",
        "knn(*a)",
        "knn(**{'k': 1})",
        "knn(k=k)",
        "knn(k=1, k=2)",
        "a.b(k=1)",
        "f(k=__import__('os').getcwd())",
        "lambda: 0",
        "1",
        "knn(k=1); x",
    ],
)
def test_spec_refuses_what_is_not_a_literal_call(text):
    with pytest.raises(UsageError) as caught:
        Spec.parse(text)
    assert repr(text) in str(caught.value)


def test_nothing_in_a_spec_is_run(tmp_path):
    victim = tmp_path / "victim"
    with pytest.raises(UsageError):
        Spec.parse(f"f(k=open({str(victim)!r}, 'w'))")
    assert not victim.exists()


def test_nearest_names_the_close_one_and_lists_all():
    assert nearest("temprature", ["temperature", "isotonic"]) == "'temperature' (all: isotonic, temperature)"
    assert nearest("zzz", ["b", "a"]) == "one of: a, b"
    assert nearest("zzz", []) == "one of: none"


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A family of two members in a package of its own, with a private file beside them."""
    folder = tmp_path / "toy_family_room"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "_shared.py").write_text("raise RuntimeError('private files are no members')\n")
    (folder / "scale.py").write_text(
        "__all__ = ['scale']\n"
        "def scale(x, *, by=2.0, rng=None):\n"
        "    '''Multiply.\n\n    More.\n    '''\n"
        "    return x * by if rng is None else (x * by, rng)\n"
    )
    (folder / "shift.py").write_text(
        "from dataclasses import dataclass\n"
        "__all__ = ['Shift']\n"
        "@dataclass\n"
        "class Shift:\n"
        "    amount: float = 1.0\n"
        "    def __call__(self, x):\n"
        "        return x + self.amount\n"
    )
    (folder / "two.py").write_text("__all__ = ['a', 'b']\na = b = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield Family("toy_family_room")
    for name in [name for name in sys.modules if name.startswith("toy_family_room")]:
        del sys.modules[name]


def test_names_are_the_files_and_nothing_is_imported(family):
    assert family.names() == ("scale", "shift", "two")
    assert "toy_family_room.scale" not in sys.modules


def test_build_binds_options(family):
    assert family.build("scale(by=3)")(2) == 6
    assert family.build("scale")(2) == 4
    assert family.build(Spec("shift", {"amount": 10}))(2) == 12
    assert family.build("scale", rng="a generator")(2) == (4, "a generator")
    assert family.build("scale(rng=1)", rng=2)(2) == (4, 2)


def test_options_are_keyword_only_arguments_or_fields(family):
    assert list(family.options("scale")) == ["by", "rng"]
    assert family.options("shift")["amount"].default == 1.0
    assert family.summary("scale") == "Multiply."


def test_unknown_names_and_options_name_the_nearest(family):
    with pytest.raises(UsageError, match="'scale'"):
        family.build("scal(by=1)")
    with pytest.raises(UsageError, match="'amount'"):
        family.build("shift(amout=1)")
    with pytest.raises(UsageError, match="one of: by, rng"):
        family.build("scale(x=1)")


def test_a_file_with_two_exports_is_refused(family):
    with pytest.raises(TypeError, match="exactly one name"):
        family.member("two")


def test_parse_never_calls_eval():
    source = Path(sys.modules[Spec.__module__].__file__ or "").read_text(encoding="utf-8")
    called = {
        n.func.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile"}


@pytest.mark.parametrize("text", ["f(k={[1]: 2})", "f(k=\ud800)", "f(**{'a': 1})", "(" * 300])
def test_strange_specs_are_refused_in_words(text):
    with pytest.raises(UsageError):
        Spec.parse(text)
