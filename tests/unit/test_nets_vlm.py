"""The aligner: hand-computed values, what is trained and what is measured, invalid use."""

from __future__ import annotations

import math

import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.nets import Aligner


def _filled(**options: float | bool) -> Aligner:
    aligner = Aligner(2, 3, 2, **options)
    with torch.no_grad():
        aligner.image_mean.copy_(torch.tensor([1.0, 0.0]))
        aligner.image_scale.copy_(torch.tensor([2.0, 0.5]))
        aligner.image_weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 1.0]]))
        aligner.image_bias.copy_(torch.tensor([0.5, -1.0]))
        aligner.text_mean.copy_(torch.tensor([1.0, 1.0, 1.0]))
        aligner.text_weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    return aligner


def test_image_side_by_hand() -> None:
    # (9, −4): roots 3, −2; standardised (3−1)/2 = 1 and −2/0.5 = −4; 1·1 + −4·2 + 0.5 = −6.5 and −4 − 1 = −5.
    encoded = _filled(power=0.5).encode_image(torch.tensor([[9.0, -4.0]]))
    torch.testing.assert_close(encoded, torch.tensor([[-6.5, -5.0]]))


def test_power_one_leaves_features_alone() -> None:
    # (9−1)/2 = 4, −4/0.5 = −8: 4 − 16 + 0.5 and −8 − 1.
    torch.testing.assert_close(_filled().encode_image(torch.tensor([[9.0, -4.0]])), torch.tensor([[-11.5, -9.0]]))


def test_text_side_by_hand() -> None:
    torch.testing.assert_close(_filled().encode_text(torch.tensor([[2.0, 1.0, 3.0]])), torch.tensor([[3.0, 2.0]]))


def test_logits_by_hand() -> None:
    aligner = _filled()
    with torch.no_grad():
        aligner.logit_log_scale.fill_(math.log(10))
        aligner.logit_bias.fill_(-2)
    logits = aligner.logits(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    torch.testing.assert_close(logits, torch.tensor([[108.0, 18.0]]))


def test_normalised_outputs_have_length_one() -> None:
    aligner = _filled(normalise=True, power=0.5)
    image = aligner.encode_image(torch.tensor([[9.0, -4.0], [1.0, 0.0]]))
    text = aligner.encode_text(torch.tensor([[2.0, 1.0, 3.0]]))
    torch.testing.assert_close(image.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(text, torch.tensor([[3.0, 2.0]]) / math.sqrt(13))


def test_a_new_aligner_passes_features_through() -> None:
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Aligner(5, 5, 5).encode_image(x), x)


def test_weights_are_trained_and_statistics_are_not() -> None:
    aligner = Aligner(2, 3, 2)
    assert {n for n, _ in aligner.named_parameters()} == {
        "image_weight", "image_bias", "text_weight", "logit_log_scale", "logit_bias",
    }  # fmt: skip
    assert {n for n, _ in aligner.named_buffers()} == {"image_mean", "image_scale", "power", "text_mean"}


def test_state_carries_everything_but_the_flag() -> None:
    other = Aligner(2, 3, 2)
    other.load_state_dict(_filled(power=0.5).state_dict())
    x = torch.tensor([[9.0, -4.0]])
    torch.testing.assert_close(other.encode_image(x), _filled(power=0.5).encode_image(x))


def test_gradient_is_finite_at_zero_features() -> None:
    aligner = _filled(power=0.5)
    x = torch.tensor([[0.0, 4.0]], requires_grad=True)
    aligner.encode_image(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert aligner.image_weight.grad is not None
    assert aligner.standardise(torch.zeros(1, 2))[0, 0] == pytest.approx(-0.5, abs=1e-5)


@pytest.mark.parametrize("power", [0.0, -1.0, 1.5])
def test_wrong_power(power: float) -> None:
    with pytest.raises(UsageError, match="power"):
        Aligner(2, 2, 2, power=power)


def test_wrong_dimension() -> None:
    with pytest.raises(UsageError, match="dimensions"):
        Aligner(2, 0, 2)
