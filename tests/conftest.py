"""Puts this folder on the path, so that tests of every kind share `toys`; the toy clinic, made once."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Workers share the cores: one thread each, or small networks wait for each other's threads. Before torch is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# how long an example takes is the machine's affair, and no property of the code
settings.register_profile("tapetum", deadline=None)
settings.load_profile("tapetum")


@pytest.fixture(scope="session")
def toy_archive(tmp_path_factory):
    """120 labelled images of 60 patients; nobody may write into it but the cache and the count of readings."""
    from toys import COLOURS, clinic

    return clinic(tmp_path_factory.mktemp("clinic") / "toy", labels={name: name for name in COLOURS})


@pytest.fixture(scope="session")
def toy_embeddings(toy_archive):
    from tapetum.learn import embed
    from toys import ENCODER

    return embed(toy_archive, ENCODER, threads=1)


@pytest.fixture(scope="session")
def toy_model(toy_archive, toy_embeddings):
    from tapetum.learn import PretrainConfig, pretrain
    from toys import ENCODER, TEXT

    config = PretrainConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1)
    return pretrain(toy_archive, config, embeddings=toy_embeddings)
