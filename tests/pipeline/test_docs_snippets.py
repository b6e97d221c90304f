"""What the pages show runs: every Python block as written, every `tapetum VERB` is a verb."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
RUN = sorted([ROOT / "README.md", *(ROOT / "docs" / "tutorial").glob("*.md"), *(ROOT / "docs" / "how-to").glob("*.md")])
SHOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, their common indentation removed."""
    found = re.findall(rf"^( *)```{language}[^\S\n]*\n(.*?)^\1```", text, flags=re.S | re.M)
    return ["".join(line.removeprefix(indent) for line in body.splitlines(True)) for indent, body in found]


def verbs(text: str) -> set[str]:
    """The words that follow `tapetum` in the console blocks of a page; options and comments are none."""
    lines = "\n".join(blocks(text, "console")).splitlines()
    commands = [line.partition(" #")[0] for line in lines]
    return {verb for line in commands for verb in re.findall(r"(?:^|[\s;&|/(])tapetum +([a-z][\w-]*)", line)}


def pages(language: str, paths: list[Path]) -> list[Path]:
    return [p for p in paths if p.exists() and blocks(p.read_text(encoding="utf-8"), language)]


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_collector_finds_blocks_and_verbs():
    text = (
        "```python\nx = 1\n```\n\n1. step\n\n   ```python\n   if x:\n       x = 2\n   ```\n"
        "```console\n$ tapetum embed a.tap  # then tapetum never\n.venv/bin/tapetum audit a.tap && tapetum --help\n"
        "pip install tapetum\n```\n```toml\npython = 1\n```\n"
    )
    assert blocks(text, "python") == ["x = 1\n", "if x:\n    x = 2\n"]
    assert verbs(text) == {"embed", "audit"}


@pytest.mark.parametrize("page", pages("python", RUN), ids=place)
def test_python_blocks_run_as_written(page, tmp_path):
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page.read_text(encoding="utf-8"), "python")), encoding="utf-8")
    env = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "MPLBACKEND": "Agg",
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{place(page)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def app():
    return pytest.importorskip("tapetum.cli", reason="tapetum.cli does not exist yet").app


@pytest.mark.parametrize("page", pages("console", SHOWN), ids=place)
def test_every_verb_shown_exists(page, app):
    known = set(getattr(typer.main.get_command(app), "commands", {}))
    shown = verbs(page.read_text(encoding="utf-8"))
    assert shown <= known, f"{place(page)} shows {sorted(shown - known)}; there are {sorted(known)}"
    for verb in sorted(shown):
        assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0, verb


def test_help_lists_every_verb(app):
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    missing = [verb for verb in getattr(typer.main.get_command(app), "commands", {}) if verb not in done.output]
    assert not missing
