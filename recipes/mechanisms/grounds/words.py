"""A phantom clinic whose reports teach an aligner, and whose other patients are asked for by words alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from grounds.clinic import labelled_clinic
from tapetum.archive import Archive
from tapetum.bench.demo import enough
from tapetum.core.types import Embeddings, Interval, Split
from tapetum.knowledge import Pack, load_pack
from tapetum.learn import Model, PretrainConfig, embed, pretrain
from tapetum.learn.model import prompt_vectors
from tapetum.learn.pairing.pairs import Pairs
from tapetum.phantom import ClinicConfig
from tapetum.score.stats import mean_interval, paired_runs_difference, runs_auroc_interval

ENCODER, PATIENTS, RUNS, SEED, DRAWS = "efficientnet_lite(size=96)", 300, 3, 6, 400
SMALL = "batch=64, dim=64, epochs=30"
Rearrange = Callable[[Pairs], Pairs]


@dataclasses.dataclass(frozen=True)
class Ground:
    """A phantom clinic, embedded."""

    archive: Archive
    emb: Embeddings
    tested: Embeddings
    truth: np.ndarray
    findings: tuple[str, ...]
    pack: Pack

    @property
    def who(self) -> np.ndarray:
        """Patients of the tested images."""
        return np.asarray(self.tested.patient_ids)

    def models(
        self,
        rearrange: Rearrange | None = None,
        *,
        task: str = f"contrastive({SMALL})",
        text: str = "findings",
        matching: str = "",
        sampler: str = "",
    ) -> list[Model]:
        """One model per run; runs differ in their seed alone."""
        base = PretrainConfig(
            ENCODER, task=task, text=text, matching=matching, sampler=sampler, prompt_set="name", threads=1
        )
        configs = [dataclasses.replace(base, seed=run) for run in range(RUNS)]
        return [pretrain(self.archive, c, embeddings=self.emb, rearrange=rearrange) for c in configs]

    def scores(self, models: list[Model], ask: Callable[[Model], np.ndarray] | None = None) -> np.ndarray:
        """Cosines of the tested images with the findings, run by run: by name, or by what `ask` says."""

        def named(model: Model) -> np.ndarray:
            return prompt_vectors(model, self.findings, self.pack, "name")

        return np.stack([m.encode_image(self.tested.features) @ (ask or named)(m).T for m in models])

    def apart(self, a: np.ndarray, b: np.ndarray) -> Interval:
        """Paired difference of the macro AUROC."""
        rng = np.random.default_rng(SEED)
        return paired_runs_difference(a, b, self.truth, self.who, rng=rng, draws=DRAWS).interval

    def level(self, a: np.ndarray) -> str:
        """Macro AUROC."""
        return str(runs_auroc_interval(a, self.truth, self.who, rng=np.random.default_rng(SEED), draws=DRAWS))

    def mean_apart(self, a: np.ndarray, b: np.ndarray) -> Interval:
        """Mean of a − b over images, patients drawn."""
        return mean_interval(a - b, self.who, rng=np.random.default_rng(SEED), draws=DRAWS)

    def pairs(self, text: str) -> Pairs:
        """The training pairs."""
        found: list[Pairs] = []
        config = PretrainConfig(encoders=ENCODER, text=text, threads=1)
        pretrain(self.archive, config, embeddings=self.emb, rearrange=lambda pairs: found.append(pairs) or pairs)
        return found[0]


def ground(folder: Path, seed: int = SEED) -> Ground:
    """Make, ingest and embed the clinic of this seed."""
    archive = labelled_clinic(folder, ClinicConfig(patients=PATIENTS, size=64, seed=seed), (0.45, 0.2, 0.35))
    emb, findings = embed(archive, ENCODER, threads=1), enough(archive)
    # one pooled output of four: a quarter of the time
    emb = dataclasses.replace(emb, features=emb.features[:, slice(*next(iter(emb.blocks.values())))].copy(), blocks={})
    held = [r.image_id for r in archive.in_split(Split.TEST)]
    truth = archive.labels(findings, image_ids=held)
    return Ground(archive, emb, emb.rows(held), truth, findings, load_pack("fundus"))
