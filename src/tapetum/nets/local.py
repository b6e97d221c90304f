"""Load a `transformers` model from a folder or the local cache: what the families with foreign weights share.

Nothing is ever downloaded. `transformers` 5 reads the key layout of published checkpoints and its own; what it could
not place is counted here and refused, so that no layer stays random unseen.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from tapetum.core.errors import ArtefactError

_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt"})
_SCALARS = ("logit_scale", "logit_bias")
_MUCH = 700.0  # its exponential is still a number, that of a little more is not
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# Weights that no encoder misses when they are left over: heads of the pre-training, and buffers that are computed.
_HARMLESS = re.compile(
    r"^(classifier|cls_classifier|distillation_classifier|heads?|fc|cls|lm_head|decoder|dino_head|ibot_head)\."
    r"|(^|\.)pooler\."
    r"|(^|\.)(position_ids|mask_token|relative_position_index|relative_coords_table|num_batches_tracked)$"
    r"|^logit_(scale|bias)$"
)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ArtefactError: no such file, or no JSON object in it.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"no {path.name} in {path.parent}", "the model's folder, with this file in it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path} is damaged: {error}", "a JSON object") from None
    if not isinstance(values, dict):
        raise ArtefactError(f"{path} holds no JSON object", "{…}")
    return values


def local_folder(path: Path | str, files: Sequence[str]) -> Path:
    """The folder that a model lies in.

    Args:
        path: a folder, or an id such as `"facebook/dinov2-small"` that is in the local Hugging Face cache.
        files: what a model of this kind consists of; named where it is missing.

    Returns:
        The folder itself, or the one of the cache that holds the id's newest state.

    Raises:
        ArtefactError: neither a folder nor in the cache; the message says how to place it without a network here.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    name = str(path)
    if not _ID.fullmatch(name):
        raise ArtefactError(f"no folder {name}", f"a folder with {_listed(files)}")
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json", cache_dir=constants.HF_HUB_CACHE)
    if isinstance(cached, str):
        return Path(cached).parent
    place = name.partition("/")[2] or name
    raise ArtefactError(
        f"{name!r} is neither a folder here nor in the Hugging Face cache ({constants.HF_HUB_CACHE})",
        f"{_listed(files)} of that model; nothing is downloaded",
        f"on a connected machine: hf download {name} {' '.join(files)} --local-dir {place} "
        f"(huggingface-cli download in older versions); copy the folder here and give path='{place}'",
    )


def _listed(files: Sequence[str]) -> str:
    return ", ".join(files[:-1]) + f" and {files[-1]}"


def local_model(path: Path, what: str, *, other_side: str = "", **options: Any) -> Any:
    """Load a model: safetensors only, no network, every weight accounted for.

    Args:
        path: a folder with `config.json` and `model.safetensors`.
        what: name of the `transformers` class, for example `"AutoModel"`.
        other_side: pattern of weights that belong to another tower of the same file and are left out on purpose.
        options: passed to `from_pretrained`.

    Returns:
        The model in evaluation mode, float32.

    Raises:
        ArtefactError: a file is missing, is no safetensors, or its weights are not those of this architecture: some are
            lacking, have another shape, or are left over and no head of a known kind.
    """
    import transformers

    read_json(path / "config.json")
    tensors_in(path)
    try:
        with quiet_transformers():
            model, info = getattr(transformers, what).from_pretrained(
                path,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # to be told of all of them below, and refused
                **options,
            )
    except Exception as error:  # safetensors, json and transformers raise errors without a common class
        raise ArtefactError(
            f"{path} cannot be loaded: {error}", "config.json and a model.safetensors that fit"
        ) from error
    surplus = [
        key
        for key in map(str, info["unexpected_keys"])
        if not (_HARMLESS.search(key) or (other_side and re.match(other_side, key)))
    ]
    _account(path, what, info["missing_keys"], info["mismatched_keys"], surplus)
    return model.eval()


def _account(path: Path, what: str, missing: Collection[Any], other: Collection[Any], surplus: Sequence[str]) -> None:
    """Refuse what does not fit: a layer that the file does not hold would be filled with random numbers.

    Raises:
        ArtefactError: with counts and the first names of each kind.
    """
    parts: list[str] = []
    if missing:
        parts.append(f"lacks {len(missing)} weights (first {_first(map(str, missing))})")
    if other:
        shapes = [f"{key} {tuple(file)} instead of {tuple(model)}" for key, file, model in other]
        parts.append(f"has {len(other)} of another shape (first {_first(shapes)})")
    if surplus:
        parts.append(f"holds {len(surplus)} that have no place (first {_first(surplus)})")
    if parts:
        raise ArtefactError(
            f"{path} {', '.join(parts)}",
            f"all weights of a {what} with the sizes of config.json, and beside them only heads",
            "take config.json and model.safetensors from the same model",
        )


def _first(names: Any, count: int = 3) -> str:
    return ", ".join(sorted(names)[:count])


def tensors_in(path: Path) -> dict[str, Path]:
    """Names of the tensors in a model's safetensors and the file that each stands in; nothing is read but headers.

    Raises:
        ArtefactError: no safetensors, or a damaged one.
    """
    from safetensors import safe_open

    names: dict[str, Path] = {}
    for file in sorted(path.glob("model*.safetensors")):
        try:
            with safe_open(file, "pt") as opened:
                names |= dict.fromkeys(opened.keys(), file)
        except Exception as error:  # its error class is not public
            raise ArtefactError(f"{file} cannot be loaded: {error}", "a safetensors file") from error
    if not names:
        others = sorted(p.name for p in path.iterdir() if p.suffix in _PICKLED)
        found = f"it holds {', '.join(others)}, which may run code when opened" if others else "it holds no weights"
        raise ArtefactError(f"{path} cannot be loaded: {found}", "model.safetensors", "save the weights as safetensors")
    return names


def stored_shape(path: Path, name: str) -> tuple[int, ...]:
    """The shape of one tensor in a model's safetensors.

    Raises:
        ArtefactError: no safetensors, or no such tensor in it.
    """
    from safetensors import safe_open

    names = tensors_in(path)
    if name not in names:
        raise ArtefactError(f"{path} holds no {name}", f"a model with it, not only the {len(names)} weights found")
    with safe_open(names[name], "pt") as opened:
        return tuple(opened.get_slice(name).get_shape())


def joint_scale(path: Path | str) -> tuple[float, float]:
    """How an image-text model turns a cosine into a logit: `scale · cosine + bias`.

    Args:
        path: folder or cached id of a whole CLIP or SigLIP model, or the one file that a model of open_clip or FLAIR
            is stored in (`.safetensors`, or a pickle with tensors only).

    Returns:
        (scale, bias); the scale is the exponential of the stored `logit_scale`; the bias is 0 where none is stored.

    Raises:
        ArtefactError: no such model, or no whole one: it stores no `logit_scale`, or no finite one.
    """
    stored = _scalars(Path(path)) if Path(path).is_file() else _scalars_in(path)
    if "logit_scale" not in stored:
        raise ArtefactError(f"{path} stores no logit_scale", "a whole image-text model, not one of its towers")
    if not all(abs(value) < _MUCH for value in stored.values()):
        raise ArtefactError(f"{path} stores {stored}", "numbers, and a scale of which the exponential is one")
    return math.exp(stored["logit_scale"]), stored.get("logit_bias", 0.0)


def _scalars_in(path: Path | str) -> dict[str, float]:
    """Scale and bias from the safetensors of a folder."""
    places = tensors_in(local_folder(path, ("config.json", "model.safetensors")))
    found: dict[str, float] = {}
    for file in {places[name] for name in _SCALARS if name in places}:
        found |= _scalars(file)
    return found


def _scalars(file: Path) -> dict[str, float]:
    """Scale and bias as one file stores them."""
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        try:
            with safe_open(file, "pt") as opened:
                state = {name: opened.get_tensor(name) for name in set(_SCALARS) & set(opened.keys())}
        except Exception as error:  # its error class is not public
            raise ArtefactError(f"{file} cannot be loaded: {error}", "a safetensors file") from error
    else:
        from tapetum.nets.spec import read_state

        state = {name: tensor for name, tensor in read_state(file).items() if name in _SCALARS}
    return {name: float(tensor.reshape(-1)[0]) for name, tensor in state.items()}


@contextlib.contextmanager
def quiet_transformers() -> Generator[None]:
    """Without its progress bar and its table of surplus weights; missing weights are checked by `local_model`."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
