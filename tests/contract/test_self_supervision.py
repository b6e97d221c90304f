"""What every task without labels promises of every kind of tower; a new file in the family is tested by being there."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.features.loader import parse_augmentations
from tapetum.learn.pretext.vocabulary import words_of
from tapetum.nets import build_encoder
from toy_nets import network

TASKS = Family("tapetum.learn.self_supervision")
SMALL = {
    "simclr": "simclr(hidden=16, dim=8)",
    "moco": "moco(hidden=16, dim=8, queue=6)",
    "dino": "dino(hidden=16, dim=8, prototypes=12)",
    "mae": "mae(width=16, heads=2)",
    "gradient_masked": "gradient_masked(width=16, heads=2)",
    "knowledge_masked": "knowledge_masked(width=16, heads=2)",
}
NETS = ("tiny", "vit", "dinov3_vit", "swinv2", "efficientnet_lite")
WORDS = words_of(["hard exudate", "drusen", "", "hard drusen at the macula"])
ROWS = np.array([2, 0, 3, 1])
each_task = pytest.mark.parametrize("name", TASKS.names())
each_net = pytest.mark.parametrize("net", NETS)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Each tower, built once; tests take copies."""
    folder = tmp_path_factory.mktemp("nets")
    specs = {n: network(folder / n, n) for n in ("vit", "dinov3_vit", "swinv2")}
    specs |= {"tiny": "tiny(size=32, dim=16)", "efficientnet_lite": "efficientnet_lite(size=64)"}
    built = {n: build_encoder(spec) for n, spec in specs.items()}
    return lambda n: copy.deepcopy(built[n])


def task_of(name, encoder, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    member = TASKS.build(SMALL.get(name, name), **options)
    return member.on(encoder, generator, WORDS if "words" in member.NEEDS else None)


def views_of(name, encoder, seed=0, count=4):
    size, generator = encoder.spec.size, torch.Generator().manual_seed(seed)
    views = TASKS.build(SMALL.get(name, name)).VIEWS
    return tuple(torch.randn((count, 3, size, size), generator=generator) for _ in range(views))


@each_task
def test_what_it_declares_is_known(name):
    member = TASKS.member(name)
    assert set(member.NEEDS) <= {"tokens", "words"}
    assert member.VIEWS in (1, 2)
    known = Family("tapetum.learn.augment").names()
    assert all(spec.name in known for spec in parse_augmentations(member.AUGMENT))


@each_task
@each_net
def test_one_finite_loss_per_image_and_a_gradient_for_the_tower(name, net, plain):
    encoder = plain(net)
    task = task_of(name, encoder)
    losses = task.loss(views_of(name, encoder), ROWS, 0)
    assert losses.shape == (4,)
    assert losses.isfinite().all()
    assert math.isfinite(task.chance)
    losses.mean().backward()
    reached = [p for p in task.tower.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(reached) >= 0.5 * len(list(task.tower.parameters()))
    assert all(p.grad.isfinite().all() for p in reached)
    heads = {n for n, _ in task.named_parameters() if not n.startswith(("tower.", "teacher."))}
    assert heads
    assert all(p.grad is not None for n, p in task.named_parameters() if n in heads)


@each_task
def test_a_loss_leaves_everything_as_it_was(name, plain):
    encoder = plain("tiny")
    task = task_of(name, encoder)
    before = {k: v.clone() for k, v in task.state_dict().items()}
    first = task.loss(views_of(name, encoder), ROWS, 0)
    assert all(torch.equal(v, before[k]) for k, v in task.state_dict().items())
    assert torch.equal(task.loss(views_of(name, encoder), ROWS, 0), first)


@each_task
def test_images_keep_their_loss_in_another_order(name, plain):
    encoder = plain("tiny")
    task = task_of(name, encoder)
    views, order = views_of(name, encoder), torch.tensor([3, 0, 2, 1])
    moved = task.loss(tuple(v[order] for v in views), ROWS[order.numpy()], 0)
    torch.testing.assert_close(moved, task.loss(views, ROWS, 0)[order], atol=1e-5, rtol=1e-5)


@each_task
def test_the_state_says_all_that_the_next_step_depends_on(name, plain):
    """Two steps, a state taken after the first: a task made anew that takes it goes on the same."""
    encoder = plain("tiny")
    task = task_of(name, encoder)
    optimiser = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=0.1)

    def step(this, how, number):
        loss = this.loss(views_of(name, this.encoder, seed=number), ROWS, number).mean()
        how.zero_grad()
        loss.backward()
        how.step()
        this.settle(number, 3)

    step(task, optimiser, 0)
    again = task_of(name, plain("tiny"))
    again.load_state_dict(task.state_dict())
    step(task, optimiser, 1)
    step(again, torch.optim.SGD([p for p in again.parameters() if p.requires_grad], lr=0.1), 1)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in task.state_dict().items())


@each_task
def test_the_seed_alone_decides(name, plain):
    state = torch.random.get_rng_state()
    tasks = [task_of(name, plain("tiny"), seed=seed).state_dict() for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(v, tasks[1][k]) for k, v in tasks[0].items())
    assert any(not torch.equal(v, tasks[2][k]) for k, v in tasks[0].items())


@each_task
def test_only_the_tower_is_kept_and_it_fits(name, plain):
    encoder = plain("vit")
    task = task_of(name, encoder)
    task.loss(views_of(name, encoder), ROWS, 0).mean().backward()
    task.settle(0, 2)
    plain("vit").load_state_dict(task.tower.state_dict())
    assert not encoder._forward_hooks
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in encoder.modules())


@each_task
def test_steps_on_the_same_images_lower_the_loss(name, plain):
    encoder = plain("tiny")
    task = task_of(name, encoder)
    views = views_of(name, encoder, count=4)
    optimiser = torch.optim.Adam([p for p in task.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(40):
        loss = task.loss(views, ROWS, 0).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", [n for n in TASKS.names() if "tokens" in TASKS.member(n).NEEDS])
def test_a_tower_whose_tokens_do_not_tile_the_image_is_refused(name, plain):
    import dataclasses

    encoder = plain("tiny")
    encoder.spec = dataclasses.replace(encoder.spec, grid=(1, 16))
    with pytest.raises(UsageError, match="1 × 16 tokens"):
        task_of(name, encoder)


@pytest.mark.parametrize("name", [n for n in TASKS.names() if "words" in TASKS.member(n).NEEDS])
def test_words_must_be_given_where_they_are_read(name, plain):
    with pytest.raises(UsageError, match="without words"):
        TASKS.build(name).on(plain("tiny"), torch.Generator(), None)


@pytest.mark.parametrize(
    "spec",
    [
        "simclr(temperature=0)", "simclr(dim=0)", "moco(queue=0)", "moco(momentum=1.5)", "dino(prototypes=1)",
        "dino(student=0)", "dino(centring=-0.1)", "mae(masked=0)", "mae(masked=1.0)", "mae(depth=0)", "mae(width=30)",
        "gradient_masked(gradient=-1)", "gradient_masked(masked=2)", "knowledge_masked(words=-1)",
        "knowledge_masked(masked_words=0)",
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(spec, plain):
    with pytest.raises(UsageError):
        TASKS.build(spec).on(plain("tiny"), torch.Generator(), WORDS)
