"""The training loop: its schedule, its batches, when it stops, what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tapetum.core.errors import DataError, UsageError
from tapetum.learn.training.average import Average
from tapetum.learn.training.loop import (
    History,
    LoopSettings,
    ParameterGroup,
    batches,
    held_out_loss,
    learning_rate_at,
    run_loop,
)


class Line(nn.Module):
    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start))


def run(module, loss_of, settings, n=8, held=0, **more):
    return run_loop(module, loss_of, np.arange(n), np.arange(n, n + held), settings, np.random.default_rng(0), **more)


def test_schedule_by_hand():
    # 40 steps: 2 of warm-up (half, whole), then half a cosine over 38.
    found = [learning_rate_at(s, 40, 2.0) for s in (0, 1, 2, 21, 39)]
    np.testing.assert_allclose(
        found, [1.0, 2.0, 2.0, 2 * 0.5 * (1 + math.cos(math.pi * 19 / 38)), 1 + math.cos(math.pi * 37 / 38)]
    )


def test_schedule_of_a_single_step():
    assert learning_rate_at(0, 1, 1.0) == 1.0


@pytest.mark.parametrize(("n", "size"), [(10, 4), (513, 512), (5, 512), (12, 4), (1, 1)])
def test_batches_cover_the_rows_once_and_are_equal_in_size(n, size):
    found = batches(np.random.default_rng(0).permutation(n), size)
    assert sorted(np.concatenate(found).tolist()) == list(range(n))
    sizes = [len(b) for b in found]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == math.ceil(n / size)


def test_every_epoch_sees_every_row_in_a_fresh_order():
    seen: list[int] = []
    module = Line()

    def loss_of(rows, epoch):
        seen.extend(rows.tolist())
        return module.w.expand(len(rows)) ** 2

    run(module, loss_of, LoopSettings(epochs=2, batch=3, patience=0))
    assert sorted(seen[:8]) == sorted(seen[8:]) == list(range(8))
    assert seen[:8] != seen[8:]


def test_the_rate_falls_to_nearly_nothing_over_the_run():
    module, rates = Line(), []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        run(module, lambda rows, epoch: (module.w - 1).expand(len(rows)) ** 2, LoopSettings(epochs=10, batch=4))
    assert len(rates) == 20
    np.testing.assert_allclose(rates, [learning_rate_at(s, 20, 1e-3) for s in range(20)])


def test_it_finds_the_minimum():
    module = Line()
    run(module, lambda rows, epoch: (module.w - 3).expand(len(rows)) ** 2, LoopSettings(epochs=200, learning_rate=0.1))
    assert abs(float(module.w.detach()) - 3) < 1e-2


def test_the_epoch_with_the_best_held_out_loss_is_kept():
    """Training pulls to 3, the held-out rows are best at 1: it must come back from beyond."""
    module, path = Line(), []

    def loss_of(rows, epoch):
        return (module.w - (1.0 if rows[0] >= 8 else 3.0)).expand(len(rows)) ** 2

    settings = LoopSettings(epochs=60, learning_rate=0.2, patience=5)
    history = run(module, loss_of, settings, held=2, on_epoch=lambda e, h: path.append(float(module.w.detach())))
    assert history.best_epoch == int(np.argmin(history.held_loss))
    assert float(module.w.detach()) == path[history.best_epoch]
    assert len(path) == history.best_epoch + 1 + 5
    assert abs(path[-1] - 1) > abs(float(module.w.detach()) - 1)


def test_patience_zero_never_stops():
    module = Line()
    history = run(
        module,
        lambda rows, epoch: module.w.expand(len(rows)) + 1,
        LoopSettings(epochs=7, patience=0, learning_rate=0),
        held=2,
    )
    assert len(history.train_loss) == 7


def test_without_held_out_rows_the_last_epoch_stays():
    module, path = Line(), []
    history = run(
        module, lambda rows, epoch: (module.w - 1).expand(len(rows)) ** 2, LoopSettings(epochs=3),
        on_epoch=lambda e, h: path.append(float(module.w.detach())),
    )  # fmt: skip
    assert history.best_epoch == -1
    assert float(module.w.detach()) == path[-1]


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_not_taken(bad):
    module, calls = Line(1.0), []

    def loss_of(rows, epoch):
        calls.append(1)
        value = (module.w - 2).expand(len(rows)) ** 2
        if len(calls) == 3:
            return value * math.nan if bad == "loss" else torch.sqrt(module.w * 0).expand(len(rows))
        return value

    history = run(module, loss_of, LoopSettings(epochs=5, batch=8, learning_rate=0.1))
    assert len(history.train_loss) == 3
    assert math.isnan(history.train_loss[-1])
    assert math.isfinite(float(module.w.detach()))
    assert "not finite after 3 epochs" in history.alarms()[0]


def test_nan_after_a_good_epoch_goes_back_to_it():
    module, calls = Line(0.0), []

    def loss_of(rows, epoch):
        if rows[0] >= 8:
            return (module.w - 2).expand(len(rows)) ** 2
        calls.append(1)
        return (module.w - 2).expand(len(rows)) ** 2 * (math.nan if len(calls) == 4 else 1)

    history = run(module, loss_of, LoopSettings(epochs=9, batch=8, learning_rate=0.1), held=2)
    assert history.best_epoch in (2, 3)
    assert len(history.held_loss) == 4
    assert math.isfinite(float(module.w.detach()))


def test_only_matrices_decay_and_frozen_parameters_stay():
    module = nn.Linear(2, 2)
    module.extra = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    before = module.bias.detach().clone()
    settings = LoopSettings(epochs=1, weight_decay=0.5, learning_rate=0.1)
    weight = module.weight.detach().clone()
    run(module, lambda rows, epoch: (module.weight.sum() * 0 + module.bias.sum() * 0).expand(len(rows)), settings)
    torch.testing.assert_close(module.weight.detach(), weight * (1 - 0.1 * 0.5))
    torch.testing.assert_close(module.bias.detach(), before)
    torch.testing.assert_close(module.extra.detach(), torch.ones(2, 2))


def test_nothing_to_train_on_is_refused():
    with pytest.raises(DataError):
        run(Line(), lambda rows, epoch: torch.zeros(len(rows)), LoopSettings(), n=0)


def test_held_out_loss_is_the_mean_over_rows():
    assert held_out_loss(lambda rows, epoch: torch.from_numpy(rows.astype(np.float32)), np.arange(5), 2) == 2.0


def test_alarms():
    assert History([5.0, 4.0], chance=5.0).alarms() == ()
    assert "did not leave chance" in History([5.0, 4.95], chance=5.0).alarms()[0]
    assert History([5.0, 1.0], [3.0, 2.9], chance=5.0, held_chance=4.0).alarms() == ()
    learned_by_heart = History([5.0, 1.0], [4.2, 4.4], chance=5.0, held_chance=4.0)
    assert "held-out loss did not leave chance: best 4.200, chance 4.000" in learned_by_heart.alarms()[0]
    assert "not finite" in History([5.0, math.nan], chance=5.0).alarms()[0]
    assert History([5.0, 4.99]).alarms() == ()  # chance unknown: nothing to compare with


def test_the_line_names_both_chances():
    line = History([5.0, 1.0], [3.0, 2.0, 2.5], chance=4.9, held_chance=3.9, best_epoch=1).line()
    assert line == "loss 5.000 → 1.000 in 2 epochs (chance 4.900), held-out 2.000 at epoch 2 (chance 3.900)"
    assert History().line() == "nothing was trained"


# --- groups, moving average, hooks -----------------------------------------------------------------------------------


def test_groups_learn_at_their_own_pace_and_decay_as_told():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = [p.detach().clone() for p in module.parameters()]
    groups = [
        ParameterGroup(list(module[0].parameters()), rate=0.5, weight_decay=0.2),
        ParameterGroup(list(module[1].parameters())),
    ]
    settings = LoopSettings(epochs=1, weight_decay=0.5, learning_rate=0.1)
    run(module, lambda rows, epoch: sum(p.sum() * 0 for p in module.parameters()).expand(len(rows)), settings,
        groups=groups)  # fmt: skip
    after = [p.detach() for p in module.parameters()]
    torch.testing.assert_close(after[0], before[0] * (1 - 0.1 * 0.5 * 0.2))
    torch.testing.assert_close(after[2], before[2] * (1 - 0.1 * 0.5))
    assert torch.equal(after[1], before[1])
    assert torch.equal(after[3], before[3])


def test_a_parameter_outside_the_groups_or_in_two_of_them_is_refused():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    first, second = (list(layer.parameters()) for layer in module)

    def loss_of(rows, epoch):
        return module(torch.ones(len(rows), 2)).sum(1)

    for groups, named in (([first], "1.weight"), ([first, second, first], "two groups"),
                          ([first, second, [nn.Parameter(torch.ones(1))]], "none of the module")):  # fmt: skip
        with pytest.raises(UsageError, match=named):
            run(module, loss_of, LoopSettings(epochs=1), groups=[ParameterGroup(g) for g in groups])


def test_the_moving_average_by_hand():
    module = Line(0.0)
    average = Average({"w": module.w}, 0.2)
    for step, value in enumerate((1.0, 3.0, 5.0)):
        module.w.data.fill_(value)
        average.update(step)
    # decays 0.1, 2/11 and 0.2: (1 + step) / (10 + step), at most 0.2
    first = 0.9
    second = first * 2 / 11 + 3 * 9 / 11
    third = second * 0.2 + 5 * 0.8
    assert float(average.weights["w"]) == pytest.approx(third, rel=1e-6)
    with average.in_place():
        assert float(module.w.detach()) == pytest.approx(third, rel=1e-6)
    assert float(module.w.detach()) == 5.0


def test_the_average_is_kept_where_it_is_better_on_held_out_rows():
    """Training pulls past the held-out optimum: the slower average is nearer to it."""
    module = Line(0.0)

    def loss_of(rows, epoch):
        return (module.w - (1.0 if epoch == -1 else 3.0)).expand(len(rows)) ** 2

    settings = LoopSettings(epochs=1, batch=2, learning_rate=1.0, ema=0.9)
    history = run(module, loss_of, settings, held=2)
    assert history.averaged
    assert history.average_loss[0] < history.held_loss[0]
    assert float((module.w.detach() - 1) ** 2) == pytest.approx(history.average_loss[0], rel=1e-5)
    assert history.line().endswith("moving average kept")


def test_without_held_out_rows_the_average_stays():
    module, last = Line(0.0), []
    settings = LoopSettings(epochs=2, batch=4, learning_rate=0.5, ema=0.9)
    history = run(module, lambda rows, epoch: (module.w - 3).expand(len(rows)) ** 2, settings,
                  on_epoch=lambda e, h: last.append(float(module.w.detach())))  # fmt: skip
    assert history.averaged
    assert float(module.w.detach()) < last[-1]


def test_bf16_and_other_processes_are_refused_where_there_are_none():
    for settings in (LoopSettings(bf16=True), LoopSettings(parallel="ddp"), LoopSettings(parallel="two")):
        with pytest.raises(UsageError):
            run(Line(), lambda rows, epoch: torch.zeros(len(rows)), settings)
