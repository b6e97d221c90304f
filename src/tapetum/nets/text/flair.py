"""FLAIR's text tower: BioClinicalBERT trained with fundus photographs."""

from __future__ import annotations

from pathlib import Path

from tapetum.core.errors import ArtefactError
from tapetum.nets.local import read_json
from tapetum.nets.published import layouts
from tapetum.nets.published.foreign import stem_of, weights_file
from tapetum.nets.published.foreign_text import BertText, ForeignText, bert, tokenizer_of
from tapetum.nets.published.keys import fill, rename, shortened, without_prefix
from tapetum.nets.published.towers import unfilled
from tapetum.nets.spec import read_state

__all__ = ["flair"]

_FILES = ("model.safetensors", "flair_resnet.safetensors")
_WHERE = (
    "fetch flair_resnet.pth (linked from documents/FAQ.md of jusiro/FLAIR on github.com) or model.safetensors "
    "(jusiro2/FLAIR on huggingface.co), copy it here; make a folder of a .pth with tapetum.learn.convert.convert"
)
_TRUNK = "text_model.model."
_PROJECTION = "text_model.projection_head_text.projection.weight"
_MAX_TOKENS = 77  # upstream cuts there


def flair(*, path: Path | str, weights: Path | str) -> ForeignText:
    """FLAIR's text tower; its rows share a space with the block `projection` of the image encoder `flair`.

    Args:
        path: a folder with `config.json` and `vocab.txt` (or `tokenizer.json`) of emilyalsentzer/Bio_ClinicalBERT; its
            own weights are not needed, FLAIR's file holds the trained ones.
        weights: FLAIR's file, or a folder with `model.safetensors`. Nothing is ever downloaded.

    Returns:
        A text encoder with 512 columns, every row of length 1; texts are cut after 77 tokens.

    Raises:
        ArtefactError: a file is missing, or of another architecture; the message lists the keys on both sides.

    Source: Silva-Rodríguez et al., Medical Image Analysis 2025, arXiv 2308.07898; code: jusiro/FLAIR; Alsentzer et al.,
    2019, arXiv 1904.03323 (BioClinicalBERT). The mean over tokens of the first, second and last layers, projected.
    Differs: padding is left out of the mean (upstream averages over it too, so that a text's row depends on the longest
    text beside it; alone, a text gets the same row); upstream writes "A fundus photograph of" before a category, here a
    text is taken as it is; the published weights could not be had here, so that only the layout is proven.
    """
    folder = Path(path)
    file = weights_file(weights, _FILES, _WHERE)
    config = read_json(folder / "config.json")
    if config.get("model_type") != "bert":
        raise ArtefactError(f"{folder} holds a {config.get('model_type')!r}", "'bert', as BioClinicalBERT")
    state = read_state(file)
    trunk = without_prefix(state, _TRUNK)
    if not trunk or _PROJECTION not in state:
        raise ArtefactError(
            f"{file} holds no FLAIR text tower; its {len(state)} keys: {shortened(sorted(state))}",
            f"keys that begin with {_TRUNK}, and {_PROJECTION}",
            _WHERE,
        )
    matrix = state[_PROJECTION]
    net = bert(trunk, str(file), int(config.get("num_attention_heads", 0)))
    tower = BertText(net, unfilled(int(matrix.shape[1]), int(matrix.shape[0])), "flair")
    renamed = rename(trunk, layouts.BERT)
    renamed.state["projection.weight"] = matrix
    fill(tower, renamed, str(file))
    tokenizer = tokenizer_of(folder, "AutoTokenizer", (("tokenizer.json",), ("vocab.txt",)))
    dim, longest = int(matrix.shape[0]), min(_MAX_TOKENS, int(net.config.max_position_embeddings))
    return ForeignText(f"flair-{stem_of(file)}", tower, tokenizer, dim, longest, unescape=False, lower=False).eval()
