"""Every family of learning has a smoke recipe: its members are tried by existing."""

from __future__ import annotations

import ast
from pathlib import Path

from test_families import FAMILIES

ROOT = Path(__file__).resolve().parents[2]


def test_every_family_of_learning_has_a_smoke_recipe() -> None:
    tree = ast.parse((ROOT / "recipes" / "smoke.py").read_text(encoding="utf-8"))
    commands = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMANDS"
    )
    assert isinstance(commands, ast.Dict)
    tried = {key.value for key in commands.keys if isinstance(key, ast.Constant)}
    assert tried == {family.removeprefix("learn.") for family in FAMILIES if family.startswith("learn.")}
