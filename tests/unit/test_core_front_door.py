"""`import tapetum` is light, and its ten names load their room only when used."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tapetum

HEAVY = ("torch", "transformers", "peft", "onnxruntime", "tokenizers", "sklearn", "pandas", "matplotlib", "cv2")


def fresh_modules(code):
    """Top-level modules that a fresh interpreter holds after `code`."""
    source = Path(tapetum.__file__).parents[1]
    script = (
        f"import sys; sys.path.insert(0, {str(source)!r})\n{code}\nimport json; print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_import_tapetum_imports_nothing_heavy():
    loaded = fresh_modules("import tapetum")
    assert "tapetum" in loaded
    assert not loaded & {*HEAVY, "numpy", "scipy"}


def test_core_imports_nothing_heavy():
    loaded = fresh_modules("import tapetum.core.types, tapetum.core.config, tapetum.core.store, tapetum.core.registry")
    assert "numpy" in loaded
    assert not loaded & set(HEAVY)


def test_the_check_sees_what_is_loaded():
    assert "sqlite3" in fresh_modules("import sqlite3")
    assert "sqlite3" not in fresh_modules("import tapetum")


def test_importing_opens_no_connection_and_reads_no_variable():
    code = (
        "import os, socket\n"
        "def refuse(*a, **k): raise SystemExit('touched')\n"
        "socket.socket.connect = refuse\n"
        "class Watched(dict):\n"
        "    __getitem__ = get = __contains__ = refuse\n"
        "os.environ = Watched()\n"
        "import tapetum\n"
        "import tapetum.core"
    )
    assert "tapetum" in fresh_modules(code)


def test_names_resolve_lazily(monkeypatch):
    assert len(tapetum.__all__) == len(set(tapetum.__all__)) == 10
    asked = []

    class Room:
        def __getattr__(self, name):
            return f"the {name}"

    monkeypatch.setattr(tapetum.importlib, "import_module", lambda room: asked.append(room) or Room())
    assert tapetum.open_archive == "the open_archive"
    assert tapetum.zero_shot == "the zero_shot"
    assert asked == ["tapetum.archive", "tapetum.learn"]


def test_what_checkers_see_is_what_is_loaded():
    """The imports under TYPE_CHECKING, `__all__` and the lazy table agree."""
    tree = ast.parse(Path(tapetum.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tapetum.")
        for alias in node.names
    }
    assert {name: f"tapetum.{room}" for name, room in vars(tapetum)["_DOORS"].items()} == seen
    assert sorted(seen) == sorted(tapetum.__all__)


@pytest.mark.parametrize("name", tapetum.__all__)
def test_every_name_at_the_front_door_exists(name):
    assert callable(getattr(tapetum, name))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(AttributeError, match=r"no 'embedd'; it has adapt, embed"):
        tapetum.embedd  # noqa: B018
