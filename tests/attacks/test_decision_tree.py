"""The attack on decision trees, beside a literal reading of Algorithm 2."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from robustnb.attacks import decision_tree_attack
from robustnb.attacks.decision_tree import TreePaths


def fitted(seed=0, *, n=400, d=6, classes=3, **settings):
    rng = np.random.default_rng(seed)
    x = rng.random((n, d)).astype(np.float32)
    y = (np.digitize(x[:, 0] + 0.5 * x[:, 1], [0.5, 0.9]) + (x[:, 2] > 0.6)) % classes
    tree = DecisionTreeClassifier(random_state=seed, **settings).fit(x, y)
    return tree, torch.from_numpy(x)


def one_by_one(tree, point, offset):
    """Climb, look at the other child, go down: for one point, with lists and recursion."""
    arrays = tree.tree_

    def leaves(node, depth):
        if arrays.children_left[node] < 0:
            return [(depth, node)]
        return leaves(arrays.children_left[node], depth + 1) + leaves(
            arrays.children_right[node], depth + 1
        )

    def label(node):
        return int(arrays.value[node, 0].argmax())

    trail = list(tree.decision_path(point[None].astype(np.float32)).indices)
    own = label(trail[-1])
    for below, node in zip(trail[::-1], trail[-2::-1], strict=False):
        left, right = arrays.children_left[node], arrays.children_right[node]
        others = leaves(right if below == left else left, 0)
        found = sorted((pair for pair in others if label(pair[1]) != own), key=lambda p: p[0])
        if found:
            goal = found[0][1]
            break
    else:
        return point
    low, high = {}, {}
    parents = {int(c): n for n in range(arrays.node_count)
               for c in (arrays.children_left[n], arrays.children_right[n]) if c >= 0}  # fmt: skip
    node = goal
    while node:
        up = parents[node]
        feature, threshold = int(arrays.feature[up]), float(arrays.threshold[up])
        if arrays.children_left[up] == node:
            high[feature] = min(threshold, high.get(feature, np.inf))
        else:
            low[feature] = max(threshold, low.get(feature, -np.inf))
        node = up
    moved = point.astype(np.float64)
    for feature in {*low, *high}:
        a, b = low.get(feature, -np.inf), high.get(feature, np.inf)
        if moved[feature] <= a:
            moved[feature] = min(a + offset, (a + b) / 2)
        elif moved[feature] > b:
            moved[feature] = max(b - offset, (a + b) / 2)
    return moved.astype(np.float32)


@pytest.mark.parametrize("settings", [{}, {"max_depth": 3}, {"min_samples_leaf": 20}])
def test_the_tree_errs_on_every_point_and_few_features_move(settings):
    tree, x = fitted(**settings)
    x_adv = decision_tree_attack(tree, x)
    assert (tree.predict(x.numpy()) != tree.predict(x_adv.numpy())).all()
    assert (x_adv != x).sum(1).max() <= tree.get_depth()
    assert x_adv.min() >= 0 and x_adv.max() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_it_is_algorithm_2_read_literally(seed):
    tree, x = fitted(seed, min_samples_leaf=5)
    found = decision_tree_attack(tree, x[:80], offset=0.01, clip=None).numpy()
    for point, moved in zip(x[:80].numpy(), found, strict=True):
        np.testing.assert_allclose(moved, one_by_one(tree, point, 0.01), atol=1e-6)


def test_a_box_holds_its_leaf_and_no_other():
    tree, x = fitted()
    paths, leaves = TreePaths(tree.tree_), tree.apply(x.numpy())
    for leaf in np.unique(leaves)[:20]:
        above, most = paths.box(int(leaf))
        inside = np.ones(len(x), dtype=bool)
        for feature, bound in above.items():
            inside &= x.numpy()[:, feature] > bound
        for feature, bound in most.items():
            inside &= x.numpy()[:, feature] <= bound
        assert (inside == (leaves == leaf)).all()


def test_a_leaf_narrower_than_the_offset_is_met_in_its_middle():
    x = np.array([[0.1], [0.5], [0.5001], [0.9]])
    tree = DecisionTreeClassifier(random_state=0).fit(x, [0, 1, 0, 0])
    start = torch.tensor([[0.9], [0.1]])
    found = decision_tree_attack(tree, start, offset=0.3)
    assert tree.predict(found.numpy()).tolist() == [1, 1]


def test_what_cannot_fall_is_returned_as_it_is():
    x = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    alone = DecisionTreeClassifier().fit(x.numpy(), np.zeros(10))
    assert torch.equal(decision_tree_attack(alone, x), x)
    far = DecisionTreeClassifier().fit(np.array([[0.5], [5.0]]), [0, 1])
    assert torch.equal(decision_tree_attack(far, torch.tensor([[0.5]])), torch.tensor([[0.5]]))
    outside = decision_tree_attack(far, torch.tensor([[0.5]]), clip=None)
    assert far.predict(outside.numpy()).tolist() == [1]


def test_what_is_no_tree_and_no_table_is_refused():
    tree, x = fitted()
    with pytest.raises(TypeError, match="fitted"):
        decision_tree_attack(DecisionTreeClassifier(), x)
    with pytest.raises(ValueError, match=r"\(N, 6\)"):
        decision_tree_attack(tree, x[:, :3])
    with pytest.raises(ValueError, match="offset"):
        decision_tree_attack(tree, x, offset=0)
