"""Run in a process of its own: what netcal's calibrators and measures give.

`python calibration_peer.py PEERS GIVEN TOLD`: PEERS is a folder with netcal and pyro; GIVEN holds `probs` and `labels`
of a finding, `several` and `classes` of exclusive classes, and `query` and `query_several`; TOLD gets an array each.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import torch


def main(given: Path, told: Path) -> None:
    """Fit on the given, apply to the queries."""
    from netcal.binning import IsotonicRegression
    from netcal.metrics import ECE, MCE
    from netcal.scaling import BetaCalibration, LogisticCalibration, TemperatureScaling

    a = dict(np.load(given))
    one, many = (a["probs"], a["labels"]), (a["several"], a["classes"])
    out = {
        "temperature": TemperatureScaling().fit(*one).transform(a["query"]),
        "vector": LogisticCalibration().fit(*one).transform(a["query"]),
        "beta": BetaCalibration().fit(*one).transform(a["query"]),
        "isotonic": IsotonicRegression().fit(*one).transform(a["query"]),
        "temperature_softmax": TemperatureScaling().fit(*many).transform(a["query_several"]),
        "vector_softmax": LogisticCalibration().fit(*many).transform(a["query_several"]),
        "ece": np.array(ECE(bins=15).measure(*one)),
        "mce": np.array(MCE(bins=15).measure(*one)),
        "ece_softmax": np.array(ECE(bins=15).measure(*many)),
    }
    np.savez(told, **{name: np.asarray(values, np.float64).squeeze() for name, values in out.items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    board = types.ModuleType("torch.utils.tensorboard")  # imported for logs that nobody asks for
    board.SummaryWriter = object  # type: ignore[attr-defined]
    sys.modules["torch.utils.tensorboard"] = board
    sys.path.append(sys.argv[1])
    main(Path(sys.argv[2]), Path(sys.argv[3]))
