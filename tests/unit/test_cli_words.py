"""What stands on a command line is told apart, filled into settings, and listed without importing anything heavy."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tapetum.cli import app
from tapetum.cli.listing import SETTINGS, families, listing, settings, settings_text
from tapetum.cli.words import Words, sort_words
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family


@dataclasses.dataclass(frozen=True)
class Config:
    findings: tuple[str, ...] = ()
    name: str = ""
    seed: int = 0
    map: str = ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.tap"], Words(("a.tap",))),
        (["a.tap", "seed=3", "r.toml"], Words(("a.tap",), Path("r.toml"), ("seed=3",))),
        (["./seed=3", "dir/x=1", "odir:DATA/odir"], Words(("./seed=3", "dir/x=1", "odir:DATA/odir"))),
        (["zero_shot(shuffles=5)", "a.tap"], Words(("zero_shot(shuffles=5)", "a.tap"))),
        (["map=image=file,patient=pid"], Words((), None, ("map=image=file,patient=pid",))),
        (["encoders=transformer(path='m.toml')"], Words((), None, ("encoders=transformer(path='m.toml')",))),
        (["name=a\nb"], Words((), None, ("name=a\nb",))),
        ([], Words()),
    ],
)
def test_words_are_sorted(words, expected):
    assert sort_words(words) == expected


def test_two_recipes_are_refused():
    with pytest.raises(UsageError, match=r"a\.toml and b\.toml"):
        sort_words(["a.toml", "b.toml"])


def test_settings_win_over_options_and_options_over_the_recipe(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[verb]\nname = "recipe"\nseed = 1\nmap = "recipe"\n')
    words = Words((), recipe, ("seed=3",))
    assert words.config(Config, "verb", also=["map=option", "seed=2", "name="]) == Config((), "recipe", 3, "option")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("findings=a,b", ("a", "b")),
        ("findings=a", ("a",)),
        ("findings=('a', 'b')", ("a", "b")),
        ("findings=", ()),
    ],
)
def test_lists_need_no_quotes(text, expected):
    assert Words((), None, (text,)).config(Config, "verb").findings == expected


def test_commas_of_a_text_stay():
    assert Words((), None, ("map=a=b,c=d",)).config(Config, "verb").map == "a=b,c=d"


def test_listed_families_are_those_that_the_registry_finds():
    known = families()
    assert {"score.metrics", "score.calibration", "learn.adapters", "nets.encoders", "bench.protocols"} <= set(known)
    for name, methods in known.items():
        family = Family(f"tapetum.{name}")
        assert tuple(m.name for m in methods) == family.names()
        for method in methods:
            assert method.summary == family.summary(method.name)
            assert set(method.options) == set(family.options(method.name)), method.name


@pytest.mark.parametrize("verb", SETTINGS)
def test_settings_shown_are_those_of_the_dataclass(verb):
    import importlib

    file, name = SETTINGS[verb]
    cls = getattr(importlib.import_module(f"tapetum.{file.removesuffix('.py').replace('/', '.')}"), name)
    fields = [f for f in dataclasses.fields(cls) if f.init]
    assert dict(settings(verb)).keys() == {f.name for f in fields}
    for f in fields:
        assert dict(settings(verb))[f.name] == repr(f.default), f.name
    assert all(f.name in settings_text(verb) for f in fields)


def test_verbs_are_short():
    from tapetum.cli import verbs

    for command in app.registered_commands:
        source = Path(inspect.getsourcefile(verbs)).read_text(encoding="utf-8")
        name = command.callback.__name__
        body = (
            source.partition(f"def {'list_' if name == 'list' else name}(")[2].partition('"""')[2].partition('"""')[2]
        )
        lines = [line for line in body.partition("\n\n\n")[0].splitlines() if line.strip()]
        assert len(lines) <= 15, name


def test_list_names_the_nearest():
    with pytest.raises(UsageError, match="no family or method 'metric'") as caught:
        listing(["metric"])
    assert "'score.metrics'" in caught.value.expected or "metrics" in caught.value.expected


def test_list_of_one_method_shows_its_options():
    text, plain = listing(["zero_shot"])
    assert "zero_shot(shuffles=20, unseen=True, compare=CONTRASTIVE)" in text
    assert plain["families"]["bench.protocols"][0]["options"]["shuffles"] == "20"
    assert "score.metrics" in listing(["metrics"])[0]


def test_packs_and_findings_are_listed():
    assert listing(["packs"])[1]["packs"]["fundus"] >= 40
    text, plain = listing(["findings"])
    assert "        mild_npdr (grade)" in text or "mild_npdr (grade)" in text
    assert {"id", "name", "level", "parent"} == set(plain["findings"][0])


@pytest.mark.parametrize("words", [["--help"], ["list"], ["pretrain", "--help"], ["--version"]])
def test_help_and_list_load_neither_torch_nor_images(words):
    script = (
        "import sys\nfrom tapetum.cli import main\n"
        f"sys.argv = ['tapetum', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'cv2', 'PIL', 'scipy', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_main_sets_the_environment_before_torch(monkeypatch, capsys):
    import os

    from tapetum.cli import main

    names = ("OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS", "HF_HUB_OFFLINE")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["tapetum", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert [os.environ[name] for name in names] == ["PASSIVE", "1", "1"]
    assert capsys.readouterr().out.count(".") == 2


def test_all_verbs_are_there():
    known = set(typer.main.get_command(app).commands)
    assert known == {
        "phantom", "ingest", "audit", "embed", "pretrain", "adapt", "predict", "bench", "compare", "distil", "onnx",
        "abstain", "search", "card",
        "verify", "convert", "gc", "export", "forget", "reidentify", "rekey", "demo", "list", "doctor",
    }  # fmt: skip


def test_the_reference_page_is_current():
    from tapetum.cli.page import cli_page

    page = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
    assert page.read_text(encoding="utf-8") == cli_page(), "write it anew with tapetum.cli.page.cli_page"
