"""What there is to choose from, read from the source text alone: no method is imported, and torch stays away."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest

PACKAGE = Path(__file__).parents[1]
# Where a verb's settings stand: file below the package, class.
SETTINGS = {
    "phantom": ("phantom/clinic.py", "ClinicConfig"),
    "ingest": ("archive/config.py", "IngestConfig"),
    "embed": ("cli/settings.py", "EmbedSettings"),
    "pretrain": ("learn/pretrain.py", "PretrainConfig"),
    "adapt": ("learn/adapt.py", "AdaptConfig"),
    "predict": ("cli/settings.py", "PredictSettings"),
    "abstain": ("learn/gate.py", "GateConfig"),
    "bench": ("bench/trial.py", "BenchConfig"),
    "compare": ("bench/comparison/plan.py", "CompareConfig"),
    "distil": ("learn/distil.py", "DistilConfig"),
    "onnx": ("learn/exporting/folder.py", "ExportConfig"),
    "search": ("cli/settings.py", "SearchSettings"),
    "demo": ("bench/demo.py", "DemoConfig"),
}

PLAN = ("learn/classifying/plan.py", "Plan")  # whose fields several methods take over


@dataclass(frozen=True)
class Method:
    """One member of a family as its file states it: first line of the docstring, options with their defaults."""

    family: str
    name: str
    summary: str
    options: dict[str, str]

    def signature(self) -> str:
        """As written in a recipe, every option at its default."""
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.options.items())})"


def families() -> dict[str, tuple[Method, ...]]:
    """Family (`score.metrics`) → its methods, sorted; a family is a folder two levels deep with methods in it."""
    found: dict[str, tuple[Method, ...]] = {}
    for folder in sorted(p.parent for p in PACKAGE.glob("*/*/__init__.py")):
        name = ".".join(folder.relative_to(PACKAGE).parts)
        methods = [_method(name, file) for file in sorted(folder.glob("*.py")) if not file.name.startswith("_")]
        if methods:
            found[name] = tuple(m for m in methods if m)
    return {name: methods for name, methods in found.items() if methods}


def listing(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The text of `tapetum list` and its JSON form.

    Raises:
        UsageError: no family, method or pack of that name; the nearest is named.
    """
    asked = words[0] if words else ""
    if asked == "packs":
        return _packs()
    if asked == "findings":
        return _findings(words[1] if len(words) > 1 else "fundus")
    known = families()
    if not asked:
        lines = [line for name in known for line in _family_lines(name, known[name], detail=False)]
        return "\n".join([*lines, "", "more: tapetum list FAMILY, tapetum list packs, tapetum list findings"]), {
            "families": {name: [m.name for m in methods] for name, methods in known.items()}
        }
    chosen = {n: ms for n, ms in known.items() if asked in (n, n.rpartition(".")[2])}
    if not chosen:
        chosen = {n: tuple(m for m in ms if m.name == asked) for n, ms in known.items()}
        chosen = {n: ms for n, ms in chosen.items() if ms}
    if not chosen:
        names = [*known, *(m.name for ms in known.values() for m in ms), "packs", "findings"]
        raise UsageError(f"no family or method {asked!r}", nearest(asked, list(dict.fromkeys(names))), "tapetum list")
    lines = [line for name in chosen for line in _family_lines(name, chosen[name], detail=True)]
    return "\n".join(lines), {
        "families": {
            name: [{"name": m.name, "summary": m.summary, "options": m.options} for m in methods]
            for name, methods in chosen.items()
        }
    }


def settings_text(verb: str) -> str:
    """The settings of a verb for the foot of its help page; empty where it has none."""
    rows = list(settings(verb))
    if not rows:
        return ""
    width = max(len(f"{name}={value}") for name, value in rows)
    lines = [f"Settings (key=value, or [{verb}] in a recipe):", ""]
    lines += [f"  {f'{name}={value}':<{min(width, 60)}}" for name, value in rows]
    explained = _explained(*SETTINGS[verb])
    return "\n".join([*(line.rstrip() for line in lines), "", *(f"  {line}" for line in explained), ""]) + "\n"


def settings(verb: str) -> Iterator[tuple[str, str]]:
    """Names and defaults of a verb's settings, as its config dataclass states them."""
    if verb in SETTINGS:
        file, name = SETTINGS[verb]
        node = _class(file, name)
        if any(isinstance(base, ast.Name) and base.id == "PretrainConfig" for base in node.bases):
            yield from settings("pretrain")
        yield from _fields(node, PACKAGE / file)


def _explained(file: str, name: str) -> list[str]:
    """The docstring's paragraph on the fields, without its heading."""
    lines = (ast.get_docstring(_class(file, name)) or "").splitlines()
    marks = [i for i, line in enumerate(lines) if line in ("Args:", "Attributes:")]
    if not marks:
        return []
    rest = lines[marks[0] + 1 :]
    end = next((i for i, line in enumerate(rest) if line and not line.startswith(" ")), len(rest))
    return [line.removeprefix("    ") for line in rest[:end] if line.strip()]


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _class(file: str, name: str) -> ast.ClassDef:
    nodes = _tree(PACKAGE / file).body
    return next(node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name)


def _method(family: str, file: Path) -> Method | None:
    """The one name that the file's `__all__` holds."""
    tree = _tree(file)
    exported = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    if not exported or len(exported[0]) != 1:
        return None
    kinds = (ast.FunctionDef, ast.ClassDef)
    node = next((n for n in tree.body if isinstance(n, kinds) and n.name == exported[0][0]), None)
    if node is None:
        return None
    summary = (ast.get_docstring(node) or "").split("\n", maxsplit=1)[0]
    return Method(family, file.stem, summary, dict(_options(node, file)))


def _options(node: ast.FunctionDef | ast.ClassDef, file: Path) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.ClassDef):
        yield from _fields(node, file)
        return
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        yield argument.arg, ast.unparse(default) if default else "…"


def _fields(node: ast.ClassDef, file: Path) -> Iterator[tuple[str, str]]:
    """Of a dataclass, those of the plan that it is made of first."""
    if any(isinstance(base, ast.Name) and base.id == "Plan" for base in node.bases):
        yield from _fields(_class(*PLAN), PACKAGE / PLAN[0])
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            text = ast.unparse(_constant(line.value, file)) if line.value else "…"
            if "init=False" not in text and "ClassVar" not in ast.unparse(line.annotation):
                yield line.target.id, text


def _constant(node: ast.expr, file: Path) -> ast.expr:
    """What a name such as `DEFAULT` stands for, in this file or in the one that it is imported from."""
    if not isinstance(node, ast.Name):
        return node
    for line in _tree(file).body:
        if isinstance(line, ast.Assign) and any(isinstance(t, ast.Name) and t.id == node.id for t in line.targets):
            return line.value
        if isinstance(line, ast.ImportFrom) and node.id in [alias.name for alias in line.names]:
            other = PACKAGE.parent / f"{(line.module or '').replace('.', '/')}.py"
            return _constant(node, other) if other.is_file() else node
    return node


def _family_lines(name: str, methods: Sequence[Method], *, detail: bool) -> Iterator[str]:
    yield name
    width = max(len(m.name) for m in methods)
    for method in methods:
        yield f"  {method.name:<{width}}  {method.summary}"
        if detail and method.options:
            yield f"  {'':<{width}}  {method.signature()}"


def _packs() -> tuple[str, dict[str, Any]]:
    from tapetum.knowledge import load_pack

    names = sorted(file.stem for file in (PACKAGE / "knowledge" / "packs").glob("*.toml"))
    counts = {name: len(load_pack(name).findings) for name in names}
    return "\n".join(f"{name}: {n} findings" for name, n in counts.items()), {"packs": counts}


def _findings(name: str) -> tuple[str, dict[str, Any]]:
    from tapetum.knowledge import load_pack

    pack = load_pack(name)

    def lines(at: str, depth: int) -> Iterator[str]:
        finding = pack.findings[at]
        yield f"{'  ' * depth}{finding.id} ({finding.level}): {finding.name}"
        for child in pack.children(at):
            yield from lines(child, depth + 1)

    plain = [{"id": f.id, "name": f.name, "level": f.level, "parent": f.parent} for f in pack.findings.values()]
    return "\n".join(lines(pack.modality, 0)), {"pack": name, "findings": plain}
