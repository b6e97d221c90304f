"""The graph over the tree: parity with loops, nothing wasted, held-out images in no mean, what ends in the text map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.aligner.objective import LevelLoss
from tapetum.learn.aligner.starting import Start
from tapetum.learn.granular.tree_graph import Nodes, fold
from tapetum.nets import Aligner
from tapetum.nets.graph import TreeAttention
from toys import pairs

PARENT = torch.tensor([-1, -1, 0, 0, 2])
BESIDE = {0: [0, 2, 3], 1: [1], 2: [0, 2, 4], 3: [0, 3], 4: [2, 4]}


def network(parent=PARENT, columns=4, seed=0, **changed):
    options = {"layers": 2, "heads": 3, **changed}
    found = TreeAttention(parent, columns, **options, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():  # it starts at 0, which would hide errors
        found.change.normal_(generator=torch.Generator().manual_seed(seed + 1))
    return found.double()


def by_loops(net, nodes):
    start, layers = nodes, list(zip(net.maps, net.queries, net.keys, strict=True))
    for number, (weight, query, key) in enumerate(layers):
        taken = []
        for k in range(len(nodes)):
            heads = []
            for h in range(len(weight)):
                own = nodes[k] @ weight[h]
                others = [nodes[j] @ weight[h] for j in BESIDE[k]]
                logits = torch.stack([own @ query[h] + other @ key[h] for other in others])
                share = torch.softmax(torch.where(logits > 0, logits, 0.2 * logits), 0)
                heads.append(sum(s * other for s, other in zip(share, others, strict=True)))
            mean = sum(heads) / len(heads)
            taken.append(mean if number == len(layers) - 1 else torch.where(mean > 0, mean, mean.exp() - 1))
        nodes = nodes + torch.stack(taken)
    return start + net.change * (nodes - start)


def test_attention_on_the_tree_against_loops_with_gradients():
    net = network()
    nodes = torch.randn(5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    mine, other = net(nodes), by_loops(net, nodes)
    torch.testing.assert_close(mine, other)
    leaves = [nodes, *net.parameters()]
    gradients = [torch.autograd.grad(x.square().sum(), leaves) for x in (mine, other)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_one_node_by_hand():
    net = network(torch.tensor([-1]), 2, layers=1, heads=1)
    with torch.no_grad():
        net.maps[0].copy_(torch.tensor([[[0.0, 2.0], [1.0, 0.0]]]))
        net.change.copy_(torch.tensor([1.0, 0.5]))
    # alone, a node takes in itself: (3 5)·W = (5 6), the second column by half
    torch.testing.assert_close(net(torch.tensor([[3.0, 5.0]]).double()), torch.tensor([[8.0, 8.0]]).double())


def test_no_head_is_computed_for_nothing():
    """The published code kept one head of eight."""
    net = network()
    nodes = torch.randn(5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for gradient in torch.autograd.grad(net(nodes).square().sum(), list(net.parameters())):
        assert (gradient.reshape(len(gradient), -1).abs().sum(1) > 0).all()


def test_an_untrained_network_gives_back_what_it_was_given():
    net = TreeAttention(PARENT, 4, layers=2, heads=3, generator=torch.Generator().manual_seed(0))
    nodes = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(net(nodes), nodes, rtol=0, atol=0)
    again = TreeAttention(PARENT, 4, layers=2, heads=3, generator=torch.Generator().manual_seed(0))
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    for changed in ({"layers": 0, "heads": 1}, {"layers": 1, "heads": 0}):
        with pytest.raises(UsageError):
            TreeAttention(PARENT, 4, **changed, generator=torch.Generator())


def nodes_of(given, images=1.0, finest=2.0):
    aligner = Start("random", 6, 0.5, 0.1).aligner(given, np.random.default_rng(0))
    net = TreeAttention(
        torch.from_numpy(given.tree.parent), 6, layers=2, heads=2, generator=torch.Generator().manual_seed(0)
    )
    return aligner, Nodes(given, net, finest=finest, images=images)


def test_before_training_the_loss_is_that_of_the_levels():
    given = pairs(tree=True)
    rows = np.arange(30)
    for images in (0.0, 1.0):
        aligner, nodes = nodes_of(given, images)
        plain = LevelLoss(2.0).on(given, np.random.default_rng(0))
        image = aligner.encode_image(torch.from_numpy(given.features[rows]))
        torch.testing.assert_close(nodes(aligner, image, rows, 0), plain(aligner, image, rows, 0), rtol=1e-4, atol=1e-5)
        assert nodes.chance(rows) == pytest.approx(plain.chance(rows))
        assert float(nodes.offset(rows)) == 0


def test_held_out_images_are_in_no_mean():
    given = pairs(tree=True)
    aligner, nodes = nodes_of(given)
    with torch.no_grad():
        nodes.network.change.normal_(generator=torch.Generator().manual_seed(1))
    train = np.arange(100)
    nodes.taught_by(train)
    before = nodes.become(aligner)
    nodes.features[100:] = 1e3
    torch.testing.assert_close(nodes.become(aligner), before, rtol=0, atol=0)
    nodes.features[:100] = 1e3
    assert not torch.allclose(nodes.become(aligner), before)


def test_a_node_without_images_has_its_name_alone():
    given = pairs(tree=True)
    aligner, nodes = nodes_of(given)
    nodes.taught_by(np.flatnonzero(given.labels[:, 3] == 0))
    assert torch.isfinite(nodes.become(aligner)).all()
    torch.testing.assert_close(nodes.become(aligner)[3], aligner.encode_text(nodes.names)[3], rtol=1e-4, atol=1e-5)


def test_the_fold_puts_names_where_they_belong_by_the_least_change():
    generator = torch.Generator().manual_seed(0)
    aligner = Aligner(4, 12, 5, normalise=True)
    with torch.no_grad():
        aligner.text_weight.normal_(generator=generator)
        aligner.text_mean.normal_(generator=generator)
    start = aligner.text_weight.detach().clone()
    names = torch.randn(6, 12, generator=generator)
    become = normalize(torch.randn(6, 5, generator=generator), dim=1)
    kept = fold(aligner, names, become, ridge=1e-9)
    torch.testing.assert_close(kept, torch.ones(6), rtol=1e-4, atol=0)
    torch.testing.assert_close(aligner.encode_text(names), become, rtol=1e-3, atol=1e-3)
    given = (names - aligner.text_mean).detach()
    wanted = become * (given @ start).norm(dim=1, keepdim=True) - given @ start
    expected = torch.linalg.lstsq(given.double(), wanted.double(), driver="gelsd").solution.float()
    torch.testing.assert_close(aligner.text_weight - start, expected, rtol=1e-3, atol=1e-3)
    # a text at a right angle to all names goes where it went
    other = torch.linalg.svd(given)[2][-1] + aligner.text_mean
    torch.testing.assert_close(
        (other - aligner.text_mean) @ start, (other - aligner.text_mean) @ aligner.text_weight, rtol=1e-3, atol=1e-3
    )


def test_names_that_stay_change_nothing():
    aligner = Aligner(4, 12, 5, normalise=True)
    torch.nn.init.normal_(aligner.text_weight, generator=torch.Generator().manual_seed(0))
    start, names = aligner.text_weight.detach().clone(), torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    fold(aligner, names, aligner.encode_text(names).detach())
    torch.testing.assert_close(aligner.text_weight.detach(), start, rtol=1e-4, atol=1e-5)


def test_the_log_says_how_well_the_names_are_kept_and_wrong_use_is_refused():
    task = Family("tapetum.learn.tasks").build("hierarchy_graph(epochs=2, batch=40, dim=16)")
    log = task.fit(pairs(tree=True), np.random.default_rng(0)).log
    assert 0.5 < log["names_kept_least"] <= log["names_kept"] <= 1 + 1e-6
    with pytest.raises(UsageError, match="without a tree"):
        task.fit(pairs(), np.random.default_rng(0))
    for changed in ({"images": -1.0}, {"finest": 0.0}):
        with pytest.raises(UsageError):
            nodes_of(pairs(tree=True), **changed)
