"""Load a `transformers` model from a folder: what the families with foreign weights share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

from tapetum.core.errors import ArtefactError


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


def local_model(path: Path, what: str, **options: Any) -> Any:
    """Load a model: safetensors only, no network, every weight accounted for.

    Args:
        path: a folder with `config.json` and `model.safetensors`.
        what: name of the `transformers` class, for example `"AutoModel"`.
        options: passed to `from_pretrained`.

    Returns:
        The model in evaluation mode, float32.

    Raises:
        ArtefactError: a file is missing, is no safetensors, or holds too few weights.
    """
    import transformers

    read_json(path / "config.json")
    try:
        with quiet_transformers():
            model, info = getattr(transformers, what).from_pretrained(
                path,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtefactError(
            f"{path} cannot be loaded: {error}", "config.json and a model.safetensors that fit"
        ) from error
    # A layer that the file does not hold would be filled with random numbers: refuse instead.
    missing = sorted({str(key) for key in (*info["missing_keys"], *info.get("mismatched_keys", ()))})
    if missing:
        raise ArtefactError(f"{path} lacks {len(missing)} weights, first {missing[0]}", f"all weights of a {what}")
    return model.eval()


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
