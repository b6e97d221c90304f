"""Calibrators and errors in bins against netcal, on the same probabilities.

Needs a folder with netcal and pyro, named by TAPETUM_PEERS; they are no dependencies of ours.
"""

from __future__ import annotations

import numpy as np
import pytest
from asking import Arrays, told_by
from scipy import special

from tapetum.core.registry import Family
from tapetum.score.metrics.expected_calibration_error import expected_calibration_error
from tapetum.score.metrics.maximum_calibration_error import maximum_calibration_error

pytestmark = pytest.mark.slow

# ours → theirs, largest difference of a probability (theirs stop early, and clip what is near 0 and 1)
SAME = {
    "temperature": ("temperature", 1e-3),
    "vector": ("vector", 1e-3),
    "beta": ("beta", 1e-3),
    "isotonic": ("isotonic", 1e-4),  # theirs runs straight between probabilities, ours between log odds
    "temperature(mode='softmax')": ("temperature_softmax", 1e-3),
    "vector(mode='softmax')": ("vector_softmax", 1e-3),
}


def made() -> dict[str, np.ndarray]:
    """A finding and four classes, stated too surely and too often."""
    rng = np.random.default_rng(0)
    z, several = rng.normal(0, 1.5, 1000), rng.normal(0, 1, (1000, 4))
    labels = (rng.random(1000) < special.expit(0.6 * z - 0.5)).astype(np.int64)
    classes = np.argmax(0.7 * several + np.array([0.5, 0, 0, -0.5]) + rng.gumbel(size=several.shape), axis=1)
    query = rng.normal(0, 1.5, 100)
    return {
        "probs": special.expit(z), "labels": labels, "several": special.softmax(several, axis=1), "classes": classes,
        "query": special.expit(query), "query_several": special.softmax(rng.normal(0, 1, (100, 4)), axis=1),
    }  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Arrays, Arrays]:
    given = made()
    return given, told_by("netcal", "calibration_peer.py", given, tmp_path_factory.mktemp("calibration"))


@pytest.mark.parametrize("spec", SAME)
def test_equal_to_netcal(spec: str, both: tuple[Arrays, Arrays]) -> None:
    given, told = both
    name, tolerance = SAME[spec]
    calibrator = Family("tapetum.score.calibration").build(spec)
    if "softmax" in spec:
        ours = calibrator.fit(np.log(given["several"]), given["classes"])(np.log(given["query_several"]))
    else:
        z = special.logit(given["probs"])[:, None]
        ours = calibrator.fit(z, given["labels"][:, None].astype(float))(special.logit(given["query"])[:, None])[:, 0]
    np.testing.assert_allclose(ours, told[name], atol=tolerance)


def test_errors_are_netcals(both: tuple[Arrays, Arrays]) -> None:
    given, told = both
    assert expected_calibration_error(given["probs"], given["labels"]) == pytest.approx(float(told["ece"]), abs=1e-9)
    largest = maximum_calibration_error(given["probs"], given["labels"], spacing="width")
    assert largest == pytest.approx(float(told["mce"]), abs=1e-9)
    several = expected_calibration_error(given["several"], given["classes"])
    assert several == pytest.approx(float(told["ece_softmax"]), abs=1e-9)
