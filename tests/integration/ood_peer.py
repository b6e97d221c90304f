"""Run in a process of its own: the scores that pytorch-ood gives, and the CPU seconds that they take.

`python ood_peer.py PEERS GIVEN TOLD [SCORE ...]`: PEERS is a folder with pytorch-ood and torchvision; GIVEN holds
`train`, `labels`, `weight`, `bias` and `query`; TOLD gets an array per score, and its seconds as `NAME.seconds`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch


def main(given: Path, told: Path) -> None:
    """Fit and score, one detector after the other."""
    from pytorch_ood import detector as d

    arrays = {k: torch.from_numpy(v) for k, v in np.load(given).items()}
    z, y, query = arrays["train"].float(), arrays["labels"].long(), arrays["query"].float()
    weight, bias = arrays["weight"].float(), arrays["bias"].float()
    head = torch.nn.Linear(weight.shape[1], len(weight))
    head.weight.data, head.bias.data = weight, bias
    z4, query4 = z[:, :, None, None], query[:, :, None, None]

    def flat(x):
        return head(x.flatten(1))

    def on_features(made):
        made.fit_features(z, y)
        return made.predict_features(query)

    def on_maps(made):
        if hasattr(made, "fit_feature_maps"):
            made.fit_feature_maps(z4, y)
        return made.predict_feature_maps(query4)

    def on_logits(made):
        if hasattr(made, "fit_logits"):
            made.fit_logits(head(z), y)
        return made.predict_logits(head(query))

    runs = {
        "msp": lambda: on_logits(d.MaxSoftmax(head)),
        "max_logit": lambda: on_logits(d.MaxLogit(head)),
        "energy": lambda: on_logits(d.EnergyBased(head)),
        "entropy": lambda: on_logits(d.Entropy(head)),
        "gen": lambda: on_logits(d.GEN(head)),
        "kl_matching": lambda: on_logits(d.KLMatching(head)),
        "knn": lambda: on_features(d.KNN(None, k=10)),
        "nnguide": lambda: on_features(d.NNGuide(None, head, k=10)),
        "mahalanobis": lambda: on_features(d.Mahalanobis(None)),
        "relative_mahalanobis": lambda: on_features(d.RMD(None)),
        "vim": lambda: on_features(d.ViM(None, 512 if z.shape[1] > 768 else 16, weight, bias)),
        "she": lambda: on_features(d.SHE(None, head)),
        "fdbd": lambda: on_features(d.fDBD(None, head)),
        "dice": lambda: on_features(d.DICE(None, weight, bias, 0.7)),
        "react": lambda: on_maps(d.ReAct(None, flat, percentile=0.9)),
        "ash": lambda: on_maps(d.ASH(None, flat, variant="ash-s", percentile=0.65)),
        "ash_p": lambda: on_maps(d.ASH(None, flat, variant="ash-p", percentile=0.65)),
        "ash_b": lambda: on_maps(d.ASH(None, flat, variant="ash-b", percentile=0.65)),
        "scale": lambda: on_maps(d.SCALE(None, flat, percentile=0.85)),
        "odin": lambda: d.ODIN(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Tanh(), head),
            eps=0.05,
            temperature=10.0,
            norm_std=[0.25] * z.shape[1],
        ).predict(query4),
        "gradnorm": lambda: d.GradNorm(head, param_filter=lambda name: name == "weight").predict(query),
    }
    wanted = sys.argv[4:] or list(runs)
    out: dict[str, np.ndarray] = {}
    for name in wanted:
        start = time.process_time()
        with torch.no_grad():
            found = runs[name]()
        out[f"{name}.seconds"] = np.array(time.process_time() - start)
        out[name] = found.detach().numpy()
    np.savez(told, **out)


if __name__ == "__main__":
    import transformers  # noqa: F401 - before torchvision can be found, which it would pick up

    sys.path.insert(0, str(Path(__file__).parent))
    from peers import without_compiled_ops

    torch.set_num_threads(1)
    without_compiled_ops()
    sys.path.append(sys.argv[1])
    main(Path(sys.argv[2]), Path(sys.argv[3]))
