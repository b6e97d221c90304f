"""The rules that keep the repository as it is: sizes, names, doors, links, pins, decision records."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TEXTS = sorted(
    path
    for top in ("src", "tests", "docs", "recipes", "benchmarks", ".ci")
    for path in (ROOT / top).rglob("*")
    if path.is_file() and path.suffix in {".py", ".md", ".toml", ".txt", ".csv", ".html", ".json", ".svg", ""}
) + sorted(p for p in ROOT.glob("*") if p.is_file() and p.suffix in {".md", ".toml", ".txt", ".yaml", ""})

MACHINE_PATH = re.compile(r"(?<![\w./…-])/(?:work|home|root|Users|mnt|opt|private)/\w|\b[A-Z]:\\\w")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)|!\[[^\]]*\]\(([^)\s]+)[^)]*\)")


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def requirement(line: str) -> str:
    """The normalised name of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~\[;]", line.strip(), maxsplit=1)[0]).lower()


DEPENDENCIES = sorted({requirement(line) for line in PROJECT["dependencies"]})
EXTRAS = sorted(
    {requirement(line) for extra in PROJECT["optional-dependencies"].values() for line in extra} - {"tapetum"}
)


def without_code(text: str) -> str:
    """A page without its fenced blocks and inline code, whose brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^( *)```.*?^\1```", "", text, flags=re.S | re.M))


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEXTS, ids=place)
def test_no_path_of_a_machine(path):
    lines = [f"{i}: {line.strip()}" for i, line in enumerate(read(path).splitlines(), 1) if MACHINE_PATH.search(line)]
    assert not lines


def test_the_path_check_sees_one():
    assert MACHINE_PATH.search("see /" + "home/someone/data")
    assert MACHINE_PATH.search("C:" + "\\Users")
    assert not MACHINE_PATH.search("https://example.org/home/x and docs/work/x and a frame/work/x")


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_relative_links_resolve(page):
    targets = [a or b for a, b in LINK.findall(without_code(read(page)))]
    local = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:", t)]
    broken = [t for t in local if t and not (page.parent / t).exists()]
    assert not broken


def test_the_index_names_every_page():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / (a or b).partition("#")[0]).resolve() for a, b in LINK.findall(read(index))}
    missing = [place(p) for p in (ROOT / "docs").rglob("*.md") if p != index and p.resolve() not in linked]
    assert not missing


def test_decision_records_are_short_and_complete():
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(p.name[:4]) for p in records] == list(range(len(records)))
    assert len(records) >= 13
    for path in records:
        text = read(path)
        assert len(text.splitlines()) <= 25, place(path)
        headings = re.findall(r"^## (.+)$", text, flags=re.M)
        assert headings == ["Context", "Decision", "Consequences", "Rejected"], place(path)
        assert re.match(rf"# {path.name[:4]}: .+\n\nStatus: ", text), place(path)


def test_architecture_fits_on_two_screens():
    assert len(read(ROOT / "docs" / "explanation" / "architecture.md").splitlines()) <= 120


def test_the_one_loop_stays_readable() -> None:
    assert len(read(ROOT / "src/tapetum/learn/training/loop.py").splitlines()) <= 200  # ADR 0007


def test_contributing_has_a_row_for_every_family():
    named = set(re.findall(r"`src/tapetum/(\w+/\w+)/NAME\.py`", read(ROOT / "CONTRIBUTING.md")))
    doors = (ROOT / "src" / "tapetum").glob("*/*/__init__.py")
    families = {
        door.parent.relative_to(ROOT / "src" / "tapetum").as_posix() for door in doors if "Protocol" in read(door)
    }
    assert named == families


# --- dependencies and version ----------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in read(ROOT / "constraints.txt").splitlines()]
    return {requirement(line): line for line in lines if line}


def test_every_pin_is_exact():
    loose = [line for line in pins().values() if not re.fullmatch(r"[\w.-]+==[\w.+!]+(\s*;.+)?", line)]
    assert pins()
    assert not loose


@pytest.mark.parametrize("name", sorted({*DEPENDENCIES, *EXTRAS}))
def test_every_dependency_is_pinned_and_explained(name):
    assert name in pins()
    rows = re.findall(r"^\| `([\w.-]+)` \|(.+)\|$", read(ROOT / "docs" / "explanation" / "dependencies.md"), flags=re.M)
    row = dict(rows).get(name, "")
    cells = [cell.strip() for cell in row.split("|")]
    assert len(cells) == 4, f"{name} has no row in dependencies.md: what for, licence, state, without it"
    assert all(cells)


def test_the_page_of_dependencies_names_no_other():
    text = read(ROOT / "docs" / "explanation" / "dependencies.md")
    assert set(re.findall(r"^\| `([\w.-]+)` \|", text, flags=re.M)) == {*DEPENDENCIES, *EXTRAS}


def test_the_version_stands_in_one_place():
    version = PROJECT["version"]
    for path in SOURCES:
        constants = [n.value for n in ast.walk(ast.parse(read(path))) if isinstance(n, ast.Constant)]
        assert version not in constants, place(path)
        assert not re.search(r"^__version__", read(path), flags=re.M), place(path)


def test_the_installed_version_is_the_one_of_the_project():
    from tapetum.core.store import package_version

    assert package_version() == PROJECT["version"]


# --- code ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_sizes(path):
    assert len(read(path).splitlines()) <= 400
    functions = [n for n in ast.walk(ast.parse(read(path))) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{f.name} (line {f.lineno})": (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    assert not {name: lines for name, lines in lengths.items() if lines > 60}


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_names(path):
    assert not re.search(r"(^|_)(utils?|helpers?|common|manager)(_|$)|^base_", path.stem)
    defined = [
        n.name
        for n in ast.walk(ast.parse(read(path)))
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    assert not [n for n in defined if re.match(r"_?get_|base_|Base[A-Z]|\w*(Manager|Helper|Utils?)$", n)]


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_nothing_is_silenced_without_a_rule(path):
    bare = re.compile(r"#\s*(type|pyright):\s*ignore(?!\[)|#\s*noqa(?!:)|#\s*ruff:\s*noqa(?!:)")
    assert not [line for line in read(path).splitlines() if bare.search(line)]


DOORS = sorted([*(ROOT / "src" / "tapetum").glob("*/__init__.py"), ROOT / "src" / "tapetum" / "__init__.py"])


@pytest.mark.parametrize("door", DOORS, ids=place)
def test_doors_are_small(door):
    tree = ast.parse(read(door))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            assert len(names) <= 10
            assert len(names) == len(set(names))


def test_every_interval_in_the_readme_stands_on_the_results_page():
    """A number in README comes from a recipe: it must stand, with its interval, on the page that the recipes write."""
    number = re.compile(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]")
    results = read(ROOT / "docs" / "reference" / "results.md")
    claimed = number.findall(read(ROOT / "README.md"))
    assert claimed
    assert [n for n in claimed if n not in results] == []
