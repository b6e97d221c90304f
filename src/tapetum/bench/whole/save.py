"""The folder of a whole run: page, table, records, card, checklists, and each part's own folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tapetum.archive import Archive
from tapetum.bench.pages.card import Card, Part, model_card, records_of_model
from tapetum.bench.pages.checklist import CHECKLISTS, checklist
from tapetum.bench.tables.metric_words import head_of
from tapetum.bench.tables.results import as_json
from tapetum.bench.whole.facts import facts_of
from tapetum.bench.whole.page import whole_page
from tapetum.bench.whole.result import DONE, Whole, number, told_of
from tapetum.core.errors import ArtefactError
from tapetum.core.store import Meta, new_artefact, plain_json
from tapetum.learn import Model, load_model


def save_whole(whole: Whole, archive: Archive, out: Path, *, made: Path | None = None) -> Path:
    """Write everything as one artefact.

    Args:
        whole: the run; its parts lie in folders of their own.
        archive: that was learned on.
        out: the folder to write.
        made: the checkpoint that the card speaks of; None = no card.

    Raises:
        ArtefactError: `out` exists and is something else.
    """
    model = load_model(made) if made is not None else None
    lists = [checklist(name, facts_of(whole, archive, model)) for name in CHECKLISTS]
    with new_artefact(out, Meta("records", parents=dict(whole.digests))) as folder:
        for one in whole.outcomes:
            if one.folder is not None:
                shutil.copytree(one.folder, folder / one.planned.name)
                shutil.copyfile(one.folder.with_suffix(".json"), folder / f"{one.planned.name}.json")
        lines = (json.dumps(as_json(r), ensure_ascii=False) + "\n" for r in whole.records)
        (folder / "records.jsonl").write_text("".join(lines), encoding="utf-8")
        (folder / "table.txt").write_text(whole.table() + "\n", encoding="utf-8")
        summary = json.dumps(plain_json(whole.as_dict()), indent=1, ensure_ascii=False)
        (folder / "summary.json").write_text(summary + "\n", encoding="utf-8")
        (folder / "checklists").mkdir()
        for one in lists:
            (folder / "checklists" / f"{one.name}.md").write_text(one.markdown(), encoding="utf-8")
        if model is not None and made is not None:
            shutil.copytree(made, folder / "model")
            (folder / "card.md").write_text(whole_card(model, whole).markdown(), encoding="utf-8")
        (folder / "report.html").write_text(whole_page(whole, lists, card=model is not None), encoding="utf-8")
    return out


def whole_card(model: Model, whole: Whole) -> Card:
    """The card of the model that the detection part fitted or was handed, with what the other parts found beside it.

    Args:
        model: its quality is told only by Records of this very model.
        whole: the run.
    """
    places = [one.folder for one in whole.outcomes if one.folder is not None]
    mine = [place for place in places if _measured(model, place)]
    rows = tuple(
        (one.planned.title, told_of(r), head_of(r.metric), number(r))
        for one in whole.outcomes
        if one.status == DONE
        for r in one.main
    )
    told = (
        "The same run, the same archive and the same features; not of this very model, but of what each part fitted.",
    )
    beside = Part("Beside it", told, heads=("part", "of", "metric", "result"), rows=rows)
    absent = tuple((one.planned.title, one.reason) for one in whole.outcomes if one.status != DONE)
    parts = (beside, Part("Not asked, or without an answer", facts=absent)) if absent else (beside,)
    warnings = tuple(f"{where}: {words}" for where, words in whole.warnings)
    return model_card(model, mine, also=parts, warnings=warnings)


def _measured(model: Model, place: Path) -> bool:
    try:
        return bool(records_of_model(model, place))
    except ArtefactError:
        return False
