"""Gradient caching: the gradients are those of the whole batch, the memory that of a chunk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import AlignmentLoss
from tapetum.learn.training.gradcache import cached_embedding, refuse_batch_statistics
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.memory import activation_bytes, has_bf16, memory_estimate, refuse_too_large
from tapetum.nets import Aligner, build_encoder
from toys import pairs

ROWS = np.arange(37)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def network(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Dropout(dropout), nn.Flatten(), nn.LazyLinear(5))


def images():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(37, 3, 8, 8)).astype(np.float32))


def contrastive(features, scale):
    """Every row's loss depends on every other row."""
    unit = nn.functional.normalize(features, dim=1)
    return nn.functional.cross_entropy(scale * unit @ unit.roll(1, 0).T, torch.arange(len(unit)))


def gradients(chunk, dropout=0.0):
    net, x, scale = network(dropout), images(), nn.Parameter(torch.tensor(3.0))
    net(x[:1])
    torch.manual_seed(1)
    loss = contrastive(cached_embedding(lambda rows: net(x[torch.from_numpy(rows)]), ROWS, chunk), scale)
    loss.backward()
    return float(loss.detach()), [p.grad for p in (*net.parameters(), scale)]


@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 100])
def test_gradients_are_those_of_the_whole_batch(chunk):
    loss, found = gradients(chunk)
    expected_loss, expected = gradients(0)
    assert loss == pytest.approx(expected_loss, abs=1e-6)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_the_second_pass_drops_what_the_first_dropped():
    """With dropout both passes agree only where the generator is put back: checked by finite difference."""
    net, x = network(0.5), images()
    net(x[:1])

    def value(shift):
        torch.manual_seed(1)
        with torch.no_grad():
            net[3].bias[0] += shift
            found = contrastive(cached_embedding(lambda r: net(x[torch.from_numpy(r)]), ROWS, 5), torch.tensor(3.0))
            net[3].bias[0] -= shift
        return float(found)

    torch.manual_seed(1)
    contrastive(cached_embedding(lambda r: net(x[torch.from_numpy(r)]), ROWS, 5), torch.tensor(3.0)).backward()
    expected = (value(1e-2) - value(-1e-2)) / 2e-2
    assert float(net[3].bias.grad[0]) == pytest.approx(expected, abs=2e-3)


def test_the_state_of_the_generator_is_that_of_one_pass():
    net, x = network(0.5), images()
    net(x[:1])
    torch.manual_seed(1)
    features = cached_embedding(lambda r: net(x[torch.from_numpy(r)]), ROWS, 5)
    state = torch.get_rng_state()
    features.sum().backward()
    assert torch.equal(torch.get_rng_state(), state)


def test_only_a_chunk_is_ever_embedded_with_a_graph():
    net, x, seen = network(), images(), []
    net(x[:1])

    def embed(rows):
        seen.append((len(rows), torch.is_grad_enabled()))
        return net(x[torch.from_numpy(rows)])

    cached_embedding(embed, ROWS, 10).sum().backward()
    assert seen == [(10, False)] * 3 + [(7, False)] + [(10, True)] * 3 + [(7, True)]
    seen.clear()
    with torch.no_grad():
        cached_embedding(embed, ROWS, 10)
    assert seen == [(10, False)] * 3 + [(7, False)]


def test_wrong_use_is_refused():
    with pytest.raises(UsageError):
        cached_embedding(lambda rows: torch.zeros(len(rows), 1), ROWS, -1)
    with pytest.raises(UsageError, match="1 normalises by the batch"):
        refuse_batch_statistics(nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)))
    refuse_batch_statistics(nn.BatchNorm1d(1).eval())


@pytest.mark.parametrize("chunk", [0, 7])
def test_the_aligner_and_its_tower_train_to_the_same_in_chunks(chunk):
    found = pairs()
    inputs = torch.from_numpy(found.features)

    def train(chunk):
        torch.manual_seed(0)
        tower = nn.Linear(24, 24)
        result = train_aligner(
            Aligner(24, 10, 8, normalise=True), found, AlignmentLoss("clip"), LoopSettings(epochs=2, batch=40),
            np.random.default_rng(0), held_out=0.2, tower=tower, chunk=chunk,
            features_of=lambda rows, epoch: tower(inputs[torch.from_numpy(rows)]),
        )  # fmt: skip
        return result.log["train_loss"], tower.weight.detach()

    (losses, weight), (others, other) = train(chunk), train(0)
    np.testing.assert_allclose(losses, others, atol=1e-5)
    torch.testing.assert_close(weight, other, atol=2e-4, rtol=0)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_by_hand():
    module = nn.Sequential(nn.Linear(10, 20, bias=False), nn.Linear(20, 5, bias=False))
    module[0].requires_grad_(False)
    found = memory_estimate(module, 1000, activations=500, average=True)
    assert vars(found) == {
        "weights": 1200, "gradients": 400, "optimiser": 800, "copies": 800 + 1200, "batch": 1000, "activations": 500,
    }  # fmt: skip
    assert found.total == 5900
    assert "optimiser 0.00" in found.line()


def test_activations_grow_with_the_batch_and_leave_parameters_out():
    tower = build_encoder("tiny(size=32, dim=16)").requires_grad_(True)
    sizes = [activation_bytes(lambda n=n: tower(torch.zeros(n, 3, 32, 32))) for n in (1, 4)]
    assert sizes[0] > 3 * 32 * 32 * 4
    assert sizes[1] == pytest.approx(4 * sizes[0], rel=0.05)
    with torch.no_grad():
        assert activation_bytes(lambda: tower(torch.zeros(1, 3, 32, 32))) == 0


def test_too_large_a_run_is_refused_with_what_to_change():
    found = memory_estimate(nn.Linear(1000, 1000), 0)
    refuse_too_large(found, available=10**9)
    with pytest.raises(UsageError) as caught:
        refuse_too_large(found, available=10**6)
    assert "smaller batch" in caught.value.next_step
    assert "which are free" in caught.value.expected


def test_a_cpu_never_has_bf16():
    assert not has_bf16("cpu")
