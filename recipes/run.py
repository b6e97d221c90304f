"""Run recipes and write the pages of numbers: numbers only, with their command and time.

A recipe is a TOML file of commands, or a script of `measures/`, on the real public images: docs/reference/results.md.
The scripts of `mechanisms/` show on the phantom what each method is for: docs/reference/mechanisms.md.

python recipes/run.py [NAME …]        run them (all real ones by default) and write their page
python recipes/run.py mechanisms      run all of `mechanisms/`
python recipes/run.py --check [NAME]  run them and compare with the committed page, within each recipe's tolerance
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "recipes"
PAGE = ROOT / "docs" / "reference" / "results.md"
MECHANISMS = ROOT / "docs" / "reference" / "mechanisms.md"
DATA = Path(os.environ.get("TAPETUM_DATA", ROOT.parent / "shared" / "data"))
OUT = Path(os.environ.get("TAPETUM_RUNS", ROOT / "runs"))
MARK = "<!-- {name} -->"
HEAD = """# Results on real images

> Research and second-reader support, not a cleared device.

Written by `make results` (`python recipes/run.py`) from the recipes named below; nothing here is typed by hand.
Intervals are 95 %, percentile, over bootstrap draws of patients. *Report-supervised* and *unseen finding* are different
questions: only the second, where no training text named the finding, is zero-shot in the strict sense.

"Test set read N time(s)" counts the readings of the archive that the recipe made. While this version was developed,
ODIR's test patients had been read before, and the linear probe was changed after it had missed its bar of 0.87 there by
0.002: its value is therefore not a blind one. A few ODIR eyes stand under two patient numbers; `tapetum audit` lists
them, and tested ones that look like learned ones are left out.
"""


MECHANISMS_HEAD = """# What each mechanism does, on the phantom

> PHANTOM: these numbers prove that a mechanism works; they say nothing about medicine.

Written by `python recipes/run.py mechanisms` from the scripts of `recipes/mechanisms/`; nothing here is typed by hand.
Each section sets a method beside its baseline on computed images with known truth. Intervals are 95 %. Where an effect
does not show, the section says so.
"""


def main(arguments: list[str]) -> int:
    """Run, then write or compare."""
    check = "--check" in arguments
    known = [*real_names(), *mechanism_names()]
    unknown = [a for a in arguments if a not in {"--check", "mechanisms", *known}]
    if unknown:
        asked = unknown in (["--help"], ["-h"])
        found = "" if asked else f"found {', '.join(unknown)}; "
        print(f"{__doc__}\n{found}NAME is one of {', '.join(known)}", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    names = [a for a in arguments if not a.startswith("-")] or real_names()
    if "mechanisms" in names:
        names = [*(n for n in names if n != "mechanisms"), *mechanism_names()]
    failed = 0
    for page, head in ((PAGE, HEAD), (MECHANISMS, MECHANISMS_HEAD)):
        own = [n for n in names if (n in mechanism_names()) == (page == MECHANISMS)]
        for name in own:
            text, wrong = one(name, existing(page).get(name, ""), check=check)
            failed += wrong
            if text and not check:
                # read anew: another run may have written its section meanwhile
                parts = existing(page) | {name: text}
                sections = "".join(f"\n{MARK.format(name=n)}\n{t}" for n, t in sorted(parts.items()))
                page.write_text(head + sections, encoding="utf-8")
    return 1 if failed else 0


def real_names() -> list[str]:
    """Recipes and measures on real images."""
    return sorted(p.stem for p in (*HERE.glob("*.toml"), *HERE.glob("measures/*.py")))


def mechanism_names() -> list[str]:
    """Scripts on the phantom."""
    return sorted(p.stem for p in HERE.glob("mechanisms/*.py"))


def one(name: str, committed: str, *, check: bool) -> tuple[str, bool]:
    """A recipe's section, and whether it failed or, when checking, disagrees with the committed one."""
    script = next((p for f in ("measures", "mechanisms") if (p := HERE / f / f"{name}.py").exists()), None)
    if script is not None:
        text = measured(script)
        return text, check and not same_tables(name, committed, text)
    recipe = tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))
    if not (DATA / recipe["recipe"]["data"]).exists():
        print(f"{name}: no {DATA / recipe['recipe']['data']}; set TAPETUM_DATA", file=sys.stderr)
        return "", True
    text = section(name, recipe)
    return text, check and not agrees(name, committed, text, recipe["recipe"]["tolerance"])


def section(name: str, recipe: dict[str, Any]) -> str:
    """Run a recipe's commands and return its part of the page."""
    lines = [f"## {name}", "", f"`python recipes/run.py {name}`, tolerance {recipe['recipe']['tolerance']:g}.", ""]
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob(f"{name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    where = {"out": str(OUT), "data": str(DATA / recipe["recipe"]["data"]), "recipe": f"recipes/{name}.toml"}
    shown = {"out": "runs", "data": f"$TAPETUM_DATA/{recipe['recipe']['data']}", "recipe": f"recipes/{name}.toml"}
    for command in recipe["recipe"]["commands"]:
        started = time.perf_counter()
        done = subprocess.run(
            [str(Path(sys.executable).parent / "tapetum"), *shlex.split(command.format(**where))],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        print(f"{name}: {command.split()[0]} {seconds:.0f} s, exit {done.returncode}", file=sys.stderr, flush=True)
        # 3 = some items quarantined, or problems found by the audit: told in the output, and no reason to stop
        if done.returncode not in (0, 3) and not command.startswith("audit"):
            raise SystemExit(f"{command}\n{done.stdout}\n{done.stderr}")
        output = done.stdout.replace(str(OUT), "runs").replace(str(DATA), "$TAPETUM_DATA").replace(str(ROOT), ".")
        table = OUT / command.format(**where).split()[-1].split("/")[-1] / "table.txt"
        whole = command.startswith(("bench", "compare")) and table.exists()
        body = table.read_text(encoding="utf-8") if whole else brief(output)
        lines += [f"`tapetum {command.format(**shown)}`: {seconds:.0f} s", "", "```text", body.strip(), "```", ""]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return "\n".join([*lines, f"Largest memory of a command so far in this run: {peak:.2f} GiB.", ""])


def measured(script: Path) -> str:
    """Run a script and return its part of the page."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script.relative_to(ROOT))], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"TAPETUM_DATA": str(DATA)},
    )  # fmt: skip
    print(f"{script.stem}: {time.perf_counter() - started:.0f} s, exit {done.returncode}", file=sys.stderr, flush=True)
    if done.returncode:
        raise SystemExit(f"{script.stem}\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip().replace(str(DATA), "$TAPETUM_DATA") + "\n"


def same_tables(name: str, committed: str, fresh: str) -> bool:
    """Whether the numbers in the tables came out again, times left out."""
    old, new = table_numbers(committed), table_numbers(fresh)
    if not old or len(old) != len(new):
        print(f"{name}: {len(old)} numbers on the page, {len(new)} measured", file=sys.stderr)
        return False
    worst = max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(old, new, strict=True))
    print(f"{name}: {len(new)} numbers, largest difference {worst:.4f}, tolerance 0.01")
    return worst <= 0.01


def table_numbers(text: str) -> list[float]:
    """All numbers in a section's tables, but for columns of speed."""
    found: list[float] = []
    timed: set[int] = set()
    before = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells and not before.startswith("|"):
            timed = {i for i, cell in enumerate(cells) if cell.endswith(("/s", "ms", "seconds"))}
        kept = [cell for i, cell in enumerate(cells) if i not in timed]
        found += [float(n) for cell in kept for n in re.findall(r"\d+\.\d+|\d+|(?<!\d)\.\d+", cell)]
        before = line
    return found


def brief(output: str) -> str:
    """The head of a command's output: counts, not lists of files."""
    kept = [line for line in output.strip().splitlines() if not re.search(r"\.(jpe?g|png)\b", line)]
    return "\n".join(kept[:24])


def existing(page: Path) -> dict[str, str]:
    """The page's parts by recipe."""
    if not page.exists():
        return {}
    pieces = re.split(r"<!-- (\w+) -->\n", page.read_text(encoding="utf-8"))[1:]
    return {name: text.rstrip("\n") + "\n" for name, text in zip(pieces[::2], pieces[1::2], strict=True)}


def estimates(text: str) -> list[tuple[str, float]]:
    """The first estimate of a line that has one: macro, OOD, recall, a comparison, a method, a Markdown table."""
    compared = r"\S+ +(?:report-supervised|(?:reports \+ )?(?:all labels|\d+ shots?))"
    names = rf"macro|OOD|AUROC ↑|text → image|image → text|\| [\w.]+ \||{compared}|\w+\([^\n]*?\)(?=  )"
    names += r"|(?:learned so: )?(?:hidden|only|shape) [\d.]+|mean of all corruptions"
    found = re.findall(rf"^\s*({names})[^\n]*?(\d\.\d{{3}}) \[", text, flags=re.M)
    return [(str(what), float(value)) for what, value in found]


def agrees(name: str, committed: str, fresh: str, tolerance: float) -> bool:
    """Whether every main number of the committed page came out again."""
    old, new = estimates(committed), estimates(fresh)
    if not old or len(old) != len(new):
        print(f"{name}: {len(old)} numbers on the page, {len(new)} measured", file=sys.stderr)
        return False
    worst = max(abs(a - b) for (_, a), (_, b) in zip(old, new, strict=True))
    print(f"{name}: {len(new)} numbers, largest difference {worst:.4f}, tolerance {tolerance:g}")
    return worst <= tolerance


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
