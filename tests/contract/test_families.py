"""What every member of every family promises, whatever the family: one name, options that are checked, a source.

Families are found by walking the package: a sub-package of a room whose `__init__.py` defines a Protocol.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import tapetum
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family

ROOT = Path(tapetum.__file__).parent
FIRST_VERSION = (
    "archive.datasets",
    "archive.readers",
    "bench.protocols",
    "learn.adapters",
    "learn.alignment",
    "learn.tasks",
    "nets.encoders",
    "nets.text",
    "phantom.signs",
    "score.calibration",
    "score.metrics",
)


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def protocols(path: Path) -> list[str]:
    """Names of the Protocol classes that a file defines."""

    def name(base: ast.expr) -> str:
        base = base.value if isinstance(base, ast.Subscript) else base
        return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")

    return [
        node.name for node in tree(path).body if isinstance(node, ast.ClassDef) and "Protocol" in map(name, node.bases)
    ]


def find_families() -> list[str]:
    """Dotted names below `tapetum` of the sub-packages whose door holds a Protocol, and of those that must."""
    doors = {".".join(p.parent.relative_to(ROOT).parts): p for p in ROOT.glob("*/*/__init__.py")}
    return sorted(name for name, door in doors.items() if name in FIRST_VERSION or protocols(door))


def folder(family: str) -> Path:
    return ROOT.joinpath(*family.split("."))


def names(family: str) -> list[str]:
    """Members by their files: nothing is imported while tests are collected."""
    return sorted(p.stem for p in folder(family).glob("*.py") if not p.name.startswith("_"))


FAMILIES = find_families()
MEMBERS = [(f, name) for f in FAMILIES for name in names(f)]
each_family = pytest.mark.parametrize("family", FAMILIES)
each_member = pytest.mark.parametrize(("family", "name"), MEMBERS, ids=[f"{f}.{n}" for f, n in MEMBERS])


def member_of(family: str, name: str):
    return Family(f"tapetum.{family}").member(name)


def test_the_families_of_the_first_version_are_there():
    assert set(FIRST_VERSION) <= set(FAMILIES)


@each_family
def test_the_door_holds_only_the_protocol(family):
    door = folder(family) / "__init__.py"
    assert protocols(door), f"{door.relative_to(ROOT)} defines no Protocol"
    assert ast.get_docstring(tree(door))
    functions = [n.name for n in tree(door).body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    others = [n.name for n in tree(door).body if isinstance(n, ast.ClassDef) and n.name not in protocols(door)]
    assert not functions + others, f"{functions + others} belong beside the folder, in the room"


@each_family
def test_a_family_has_two_members(family):
    assert len(names(family)) >= 2


@each_family
def test_the_registry_finds_every_file(family):
    assert list(Family(f"tapetum.{family}").names()) == names(family)


@each_family
def test_a_family_is_flat(family):
    inner = [m.name for m in pkgutil.iter_modules([str(folder(family))]) if m.ispkg]
    assert not inner, "one file is one method"


@each_family
def test_unknown_member_is_refused_naming_the_nearest(family):
    known = names(family)[0]
    with pytest.raises(UsageError) as caught:
        Family(f"tapetum.{family}").build(f"{known}x()")
    assert repr(known) in caught.value.expected


@each_member
def test_exactly_one_name_is_exported(family, name):
    module = importlib.import_module(f"tapetum.{family}.{name}")
    assert len(module.__all__) == 1
    member = getattr(module, module.__all__[0])
    assert member.__module__ == module.__name__, "the file exports what another file defines"
    assert inspect.isfunction(member) or dataclasses.is_dataclass(member), "a function, or a dataclass with fit"


@each_member
def test_the_docstring_names_its_source(family, name):
    member = member_of(family, name)
    module = importlib.import_module(member.__module__)
    texts = [inspect.getdoc(member) or "", inspect.getdoc(module) or ""]
    assert texts[0], "the member has no docstring of its own"
    assert not texts[0].startswith(f"{member.__name__}("), "the docstring is the one that dataclass makes"
    assert any("Source:" in text for text in texts)


@each_member
def test_options_are_keyword_only_or_fields_with_defaults(family, name):
    member = member_of(family, name)
    if inspect.isclass(member):
        bare = [
            f.name
            for f in dataclasses.fields(member)
            if f.init and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        assert not bare, f"options without a default: {bare}"
        return
    parameters = inspect.signature(member).parameters.values()
    assert not [p.name for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)], "no *args, no **options"
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY and p.default is not p.empty]
    assert not positional, f"options that are not keyword-only: {positional}"


@each_member
def test_unknown_option_is_refused_naming_the_nearest(family, name):
    here = Family(f"tapetum.{family}")
    known = list(here.options(name))
    wrong = f"{known[0]}x" if known else "x"
    with pytest.raises(UsageError) as caught:
        here.build(f"{name}({wrong}=1)")
    assert f"unknown option {wrong!r} of {name}" in caught.value.found
    assert (known[0] if known else "none") in caught.value.expected


def imported_from(family: str, path: Path) -> set[str]:
    """Names of members of the same family that a member's file imports, anywhere in it."""
    package, found = f"tapetum.{family}", set[str]()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix(f"{package}.") for a in node.names if a.name.startswith(f"{package}.")}
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*above, *([origin] if origin else [])])
            targets = [f"{origin}.{a.name}" for a in node.names] if origin == package else [origin]
            found |= {n.removeprefix(f"{package}.").partition(".")[0] for n in targets if n.startswith(f"{package}.")}
    return found & set(names(family)) - {path.stem}


@each_member
def test_members_never_import_each_other(family, name):
    assert not imported_from(family, folder(family) / f"{name}.py")


@pytest.mark.parametrize(
    "line",
    [
        "import tapetum.{family}.{other}",
        "from tapetum.{family}.{other} import f",
        "from tapetum.{family} import {other}",
        "from . import {other}",
        "from .{other} import f",
        "def f():\n    from tapetum.{family}.{other} import f",
    ],
)
def test_the_import_check_sees_every_form(tmp_path, line):
    other = names(FAMILIES[0])[0]
    file = tmp_path / "a_new_member.py"
    file.write_text(line.format(family=FAMILIES[0], other=other))
    assert imported_from(FAMILIES[0], file) == {other}
    fine = tmp_path / "another_new_member.py"
    fine.write_text(f"from tapetum.{FAMILIES[0]} import SomeProtocol\nimport tapetum.core.types\n")
    assert imported_from(FAMILIES[0], fine) == set()
