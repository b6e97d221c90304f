"""Every method of learning once, on a phantom clinic of 64 px with random towers: a line each, seconds each.

python recipes/smoke.py                       all of them
python recipes/smoke.py adapters tasks/ridge  a family, or one method

The methods are those that lie in the families' folders: a new file has its recipe by existing. PHANTOM, and towers that
learned nothing: the AUROC says that the method ran and gave scores, not how good it is.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel, logging

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench.demo import LABELLED, add_truth
from tapetum.bench.tables.results import read_records
from tapetum.core.registry import Family
from tapetum.core.types import Interval, Split
from tapetum.learn import embed, load_model, zero_shot
from tapetum.phantom import ClinicConfig, make_clinic
from tapetum.score.stats import macro_auroc_interval

PATIENTS, SIZE = 40, 64
CAMERAS = ("cam_a", "cam_b", "cam_c")  # two to learn on where the third is tested
FINDINGS = ("normal_fundus", "cataract", "drusen")
ASKED = f"findings={','.join(FINDINGS)}"
SHORT = "epochs=10, batch=16, learning_rate=0.01"
BRIEF = "epochs=2, batch=16, augment=''"
# two classes that exclude each other
ONE_EACH = ["{clinic}", "encoders=tiny()", "findings=normal_fundus,diabetic_retinopathy", "draws=200", "{mode}"]
SEEN = "seeds=1, epochs=3"
ONCE = "strengths=(1.0,), decays=(0.1,), rates=(0.01,), epochs=3, tested='all', rules=('training_domain',)"
METHOD = f"longtail(methods=('{{name}}',), {SEEN})"
# What is typed for a member of each family; {name} is the member, {vit} a small transformer, {model} an aligner.
COMMANDS = {
    "adapters": ["adapt", "{clinic}", "--model", "{model}", "adapter={name}", "shots=5", ASKED],
    "tuners": ["adapt", "{clinic}", "encoders={vit}", "tuner={name}", f"tuning={BRIEF}", ASKED],
    "augment": [
        "adapt", "{clinic}", "encoders=tiny()", "tuner=full", "tuning=epochs=2, batch=16, augment='{name}()'", ASKED,
    ],
    "alignment": ["pretrain", "{clinic}", "{towers}", f"task=contrastive(loss='{{name}}', {SHORT})"],
    "tasks": ["pretrain", "{clinic}", "{towers}", "task={name}"],
    "matching": ["pretrain", "{clinic}", "{towers}", f"task=contrastive({SHORT})", "matching={name}"],
    "wording": ["pretrain", "{clinic}", "{towers}", "text={name}"],
    "samplers": ["pretrain", "{clinic}", "{towers}", f"task=contrastive({SHORT})", "sampler={name}"],
    "self_supervision": [
        "pretrain", "{clinic}", "{towers}", "self_supervision={name}", "self_supervision_epochs=1",
        "self_supervision_batch=16",
    ],
    "losses": ["bench", f"longtail(methods=(\"one_stage(loss='{{name}}')\",), {SEEN})", *ONE_EACH],
    "rebalancing": ["bench", f"longtail(methods=(\"one_stage(sampler='{{name}}')\",), {SEEN})", *ONE_EACH],
    "invariance": [
        "bench", "shift(by='device', methods=(\"one_stage(head='hidden(units=8)', invariance='{name}(weight="
        f"{{{{strength}}}})')\",), {ONCE})", *ONE_EACH,
    ],
    "mixing": [
        "bench", f"longtail(methods=(\"one_stage(mixing='{{name}}')\",), {SEEN})", *ONE_EACH,
    ],
    "compactness": [
        "bench", f"longtail(methods=(\"one_stage(compactness='{{name}}', head='hidden')\",), {SEEN})", *ONE_EACH,
    ],
    "methods": ["bench", METHOD, *ONE_EACH],
}  # fmt: skip
# Methods that learn from several domains, and so from two cameras; and those that need pictures of them.
OF_DOMAINS = ("dann", "group_dro", "nuisance_projection", "restyled")
OF_PICTURES = ("gdr_net", "mix_style", "sag_net")
DEVICES = f"shift(by='device', methods=('{{name}}',), {ONCE})"
SEEING = f"shift(by='device', methods=('{{name}}',), batch=16, {ONCE})"
BETWEEN = f"shift(by='device', methods=(\"one_stage(mixing='{{name}}')\",), {ONCE})"
PIXELS = f"longtail(methods=(\"one_stage(mixing='{{name}}')\",), batch=16, {SEEN})"
TOGETHER = f"longtail(methods=(\"one_stage(loss='{{name}}')\",), together=True, {SEEN})"
TUNED = {"{mode}": "mode=finetune"}
# What a method needs beside the above.
ALSO = {
    **{
        f"mixing/{name}": {COMMANDS["mixing"][1]: PIXELS, **TUNED}
        for name in ("augmix", "cropmix", "cutmix", "snapmix", "yoco")
    },
    **{
        f"losses/{name}": {COMMANDS["losses"][1]: TOGETHER}
        for name in ("asymmetric", "binary_cross_entropy", "distribution_balanced")
    },
    "mixing/domain_mixup": {COMMANDS["mixing"][1]: BETWEEN},
    **{f"methods/{name}": {METHOD: DEVICES} for name in OF_DOMAINS},
    **{f"methods/{name}": {METHOD: SEEING, **TUNED} for name in OF_PICTURES},
    "tuners/dynamic_prompts": {"tuner={name}": "tuner=dynamic_prompts(count=2, width=4)"},
    "tuners/prompts": {"tuner={name}": "tuner=prompts(count=2)"},
    "tuners/lora": {"tuner={name}": "tuner=lora(rank=1)"},
    "tuners/scratch": {"encoders={vit}": "encoders=tiny()"},
    "tasks/joint": {"{towers}": "{joint}"},
}


def methods(asked: list[str]) -> Iterator[tuple[str, str]]:
    """Family and member of everything asked for; all of them if nothing was."""
    for family in COMMANDS:
        for name in Family(f"tapetum.learn.{family}").names():
            if not asked or family in asked or f"{family}/{name}" in asked:
                yield family, name


class Ground:
    """The clinic and the towers that all methods are tried on."""

    def __init__(self, folder: Path) -> None:
        logging.disable_progress_bar()
        self.folder = folder
        make_clinic(folder / "clinic", ClinicConfig(patients=PATIENTS, size=SIZE, cameras=CAMERAS))
        add_truth(folder / "clinic")
        settings = IngestConfig(
            name="phantom clinic", labels="truth", pack="fundus", table=LABELLED, fractions=(0.4, 0.3, 0.3)
        )
        ingest([folder / "clinic"], folder / "clinic.tap", settings)
        self.archive: Archive = open_archive(folder / "clinic.tap")
        self.words = {
            "clinic": str(folder / "clinic.tap"),
            "towers": "encoders=tiny() text_encoder=tiny()",
            "vit": vit(folder / "vit"),
        }
        run(["pretrain", self.words["clinic"], *self.words["towers"].split(), "--out", str(folder / "model")])
        self.words["model"] = str(folder / "model")

    def line(self, family: str, name: str) -> str:
        """Run one method's command; its row of the table."""
        also = ALSO.get(f"{family}/{name}", {})
        typed = [also.get(word, word) for word in COMMANDS[family]]
        words = [part for word in typed for part in self.said(word, name)]
        out = self.folder / f"{family}-{name}"
        start = time.monotonic()
        run([*words, "--out", str(out)])
        seconds = time.monotonic() - start
        found = self.benched(out, name if "shift(" in typed[1] else "") if typed[0] == "bench" else self.tried(out)
        shown = " ".join(f'"{w}"' if " " in w or "(" in w or "'" in w else w for w in words)
        shown = shown.replace(str(self.folder), "…")
        return f"| {family}/{name} | `tapetum {shown}` | {found} | {seconds:.1f} |"

    def tried(self, out: Path) -> Interval:
        """Macro AUROC of a model on the images of validation and test patients."""
        model = load_model(out)
        rows = embed(self.archive, model.embedder(threads=1), image_ids=self.tested())
        truth = self.archive.labels(FINDINGS, image_ids=rows.image_ids)
        logits = zero_shot(model, rows, FINDINGS).logits
        who = np.asarray(rows.patient_ids)
        return macro_auroc_interval(logits, truth, who, rng=np.random.default_rng(0), draws=200)

    def benched(self, out: Path, name: str) -> Interval:
        """Macro AUROC that a table says of a method, whatever else stands there."""
        records = read_records(out / "records.jsonl")
        return next(r.interval for r in records if (r.finding, r.metric) == ("macro", "auroc_score") and name in r.row)

    def said(self, word: str, name: str) -> list[str]:
        """A word of a command with its places filled; several where it stands for several."""
        if word == "{joint}":
            place = clip(self.folder / "clip")
            return [f"encoders=transformer(path='{place}')", f"text_encoder=transformer(path='{place}')"]
        if word == "{mode}":
            return []
        if word == "{towers}":
            return self.words["towers"].split()
        return [word.format(name=name, **self.words)]

    def tested(self) -> list[str]:
        """Images of validation and test patients."""
        return [r.image_id for split in (Split.VAL, Split.TEST) for r in self.archive.in_split(split)]


def run(words: list[str]) -> None:
    """What the command line would do."""
    from tapetum.cli.verbs import app

    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code: Any = typer.main.get_command(app).main(words, standalone_mode=False)
    if code:
        raise SystemExit(f"{' '.join(words)}\n{told.getvalue()}")


def vit(folder: Path) -> str:
    """A small transformer with random weights, as a local folder."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    ViTModel(ViTConfig(**shape, image_size=SIZE, patch_size=8), add_pooling_layer=False).save_pretrained(folder)
    means = {"size": SIZE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(means), encoding="utf-8")
    return f"transformer(path='{folder}')"


def clip(folder: Path) -> Path:
    """A small CLIP with random weights, both towers and a vocabulary of letters, as one is published."""
    torch.manual_seed(0)
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    letters = [f"{letter}{end}" for end in ("", "</w>") for letter in "abcdefghijklmnopqrstuvwxyz"]
    words = {word: i for i, word in enumerate((*letters, "<|startoftext|>", "<|endoftext|>"))}
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    text = {**layers, "vocab_size": len(words), "max_position_embeddings": 48, **ends}
    vision = {**layers, "image_size": SIZE, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    means = {"size": SIZE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(means), encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return folder


def main(arguments: list[str]) -> int:
    """Run what was asked for; one method that fails does not stop the rest, and is told at the end."""
    chosen = list(methods(arguments))
    if not chosen:
        print(f"no method for {arguments}; a family is one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    failed: list[str] = []
    print("| method | command | macro AUROC (phantom, random towers) | seconds |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="tapetum-smoke-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        at = Ground(Path(folder))
        for family, name in chosen:
            try:
                print(at.line(family, name), flush=True)
            except (Exception, SystemExit) as error:
                failed.append(f"{family}/{name}: {error}")
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} methods ran.", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main(sys.argv[1:]))
