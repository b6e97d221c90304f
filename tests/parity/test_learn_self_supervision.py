"""Losses of tasks without labels against formulas written again in numpy: value, and gradient by differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from tapetum.learn.pretext.contrast import info_nce, nt_xent, self_distillation
from tapetum.learn.pretext.pixels import masked_error, patches_of, standardised, steepness
from tapetum.learn.pretext.redundancy import less_redundant

RNG = np.random.default_rng(0)


def unit(rows):
    return rows / np.sqrt((rows**2).sum(1, keepdims=True))


def numpy_nt_xent(first, second, temperature):
    """Loop over the 2b views."""
    z = unit(np.concatenate([first, second]))
    count, losses = len(first), np.zeros(2 * len(first))
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        others = [z[i] @ z[j] / temperature for j in range(2 * count) if j != i]
        losses[i] = np.log(np.exp(others).sum()) - z[i] @ z[partner] / temperature
    return (losses[:count] + losses[count:]) / 2


def numpy_info_nce(query, key, queue, temperature, same):
    q, k = unit(query), unit(key)
    found = []
    for i in range(len(q)):
        positive = np.exp(q[i] @ k[i] / temperature)
        negative = sum(np.exp(q[i] @ n / temperature) for n, own in zip(queue, same[i], strict=True) if not own)
        found.append(-np.log(positive / (positive + negative)))
    return np.array(found)


def numpy_distillation(student, teacher, centre, warm, sharp):
    p = np.exp((teacher - centre) / sharp)
    p /= p.sum(1, keepdims=True)
    s = student / warm
    return -(p * (s - np.log(np.exp(s).sum(1, keepdims=True)))).sum(1)


def differences(function, at, step=1e-6):
    found = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        found[place] = (function(up) - function(down)) / (2 * step)
    return found


def agrees(ours, theirs, at):
    """Value and gradient of the mean in the first argument, in float64."""
    x = torch.tensor(at, requires_grad=True)
    loss = ours(x)
    np.testing.assert_allclose(loss.detach().numpy(), theirs(at), atol=1e-9, rtol=1e-9)
    loss.mean().backward()
    np.testing.assert_allclose(x.grad.numpy(), differences(lambda a: theirs(a).mean(), at), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent(temperature):
    first, second = RNG.standard_normal((2, 5, 4))
    fixed = torch.tensor(second)
    agrees(lambda x: nt_xent(x, fixed, temperature=temperature), lambda a: numpy_nt_xent(a, second, temperature), first)


def test_info_nce():
    query, key = RNG.standard_normal((2, 3, 4))
    queue, same = unit(RNG.standard_normal((6, 4))), RNG.random((3, 6)) < 0.3
    assert same.any()
    agrees(
        lambda x: info_nce(x, torch.tensor(key), torch.tensor(queue), temperature=0.3, same=torch.tensor(same)),
        lambda a: numpy_info_nce(a, key, queue, 0.3, same),
        query,
    )


def test_self_distillation():
    student, teacher = RNG.standard_normal((2, 3, 5))
    centre = RNG.standard_normal(5)
    agrees(
        lambda x: self_distillation(x, torch.tensor(teacher), torch.tensor(centre), student=0.5, teacher=0.3),
        lambda a: numpy_distillation(a, teacher, centre, 0.5, 0.3),
        student,
    )


def test_no_gradient_reaches_the_teacher():
    teacher = torch.randn((2, 3), requires_grad=True)
    self_distillation(
        torch.randn((2, 3), requires_grad=True), teacher, torch.zeros(3), student=1.0, teacher=1.0
    ).sum().backward()
    assert teacher.grad is None


def test_masked_error_of_standardised_patches():
    images = RNG.standard_normal((2, 3, 8, 8))
    side, masked = 4, np.array([[0, 3], [1, 2]])
    said = RNG.standard_normal((2, 2, side * side * 3))

    def theirs(a):
        found = np.zeros(2)
        for i in range(2):
            for place, number in enumerate(masked[i]):
                row, column = divmod(int(number), 2)
                block = images[i, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
                pixels = block.transpose(1, 2, 0).ravel()
                pixels = (pixels - pixels.mean()) / np.sqrt(pixels.var() + 1e-4)
                found[i] += ((a[i, place] - pixels) ** 2).mean() / len(masked[i])
        return found

    cut = patches_of(torch.tensor(images), side)
    target = standardised(torch.stack([cut[i, masked[i]] for i in range(2)]))
    agrees(lambda x: masked_error(x, target)[0], theirs, said)


def test_steepness_is_scipys_sobel():
    image = RNG.random((3, 9, 7))
    grey = image.mean(0)
    across, down = (ndimage.sobel(grey, axis=axis, mode="nearest") / 8 for axis in (0, 1))
    np.testing.assert_allclose(steepness(torch.tensor(image[None]))[0, 0].numpy(), np.hypot(across, down), atol=1e-12)


def test_information_is_the_largest_determinant_step_by_step():
    rows = RNG.standard_normal((12, 5))
    chosen = less_redundant(rows, keep=0.4, rule="information", rng=np.random.default_rng(3))
    unit_rows = unit(rows - rows.mean(0))
    order = np.random.default_rng(3).permutation(12)
    picked: list[int] = []
    for _ in range(len(chosen)):

        def volume(i, picked=tuple(picked)):
            some = unit_rows[[*picked, i]]
            return round(float(np.linalg.slogdet(some @ some.T + 0.1 * np.eye(len(some)))[1]), 9)

        picked.append(max((i for i in order if i not in picked), key=volume))
    assert sorted(picked) == chosen.tolist()
