"""`python -m tapetum.cli`, also under `torchrun`: all processes work, and the first one speaks."""

from __future__ import annotations

import contextlib
import io
import os

from tapetum.cli import main

if __name__ == "__main__":
    first = os.environ.get("RANK", "0") == "0"
    with contextlib.nullcontext() if first else contextlib.redirect_stdout(io.StringIO()):
        main()
