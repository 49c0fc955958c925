"""The attack on a decision tree (Papernot 2016, Algorithm 2): a path to a leaf of another class."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustnb.attacks.projections import Clip, check_box
from robustnb.scalars import finite

Floats = NDArray[np.float64]
Box = tuple[dict[int, float], dict[int, float]]  # by feature: above what, and at most what


def decision_tree_attack(
    tree: Any, x: Tensor, *, offset: float = 1e-3, clip: Clip = (0.0, 1.0)
) -> Tensor:
    """Move each x (N, d) to a near leaf where the tree answers otherwise; returns x_adv (N, d).

    tree: a fitted sklearn.tree.DecisionTreeClassifier. From the leaf of x it climbs to the first
    ancestor below whose other child some leaf has another class, and takes the one that is fewest
    edges below it (the left one of two). Only features that violate a test on the way there are
    moved, `offset` beyond the threshold or, where the leaf is narrower, to its middle. All tests
    from the root on are kept, so the tree errs on every x_adv, unless it has one class only or the
    leaf lies outside `clip`: those x are returned as they are.
    """
    offset, clip = finite("offset", offset, above=0), check_box(clip)
    if not hasattr(tree, "tree_"):
        raise TypeError(
            f"tree must be a fitted DecisionTreeClassifier, got {type(tree).__name__}; call fit"
        )
    if x.ndim != 2 or x.shape[1] != tree.n_features_in_:
        raise ValueError(
            f"x must be (N, {tree.n_features_in_}) as the tree was fitted, got {tuple(x.shape)}"
        )
    paths = TreePaths(tree.tree_)
    # as scikit-learn reads them
    points = x.detach().cpu().numpy().astype(np.float32)
    leaves = tree.apply(points)
    for leaf in np.unique(leaves):
        target = paths.nearest_other(int(leaf))
        if target is not None:
            rows = leaves == leaf
            points[rows] = _into(points[rows], paths.box(target), offset, clip)
    return torch.from_numpy(points).to(x)


class TreePaths:
    """Leaves, ancestors and boxes of scikit-learn's arrays of a tree."""

    def __init__(self, arrays: Any) -> None:
        """Read the arrays; nothing is copied."""
        self.left, self.right = arrays.children_left, arrays.children_right
        self.feature, self.threshold = arrays.feature, arrays.threshold
        self.classes = arrays.value[:, 0].argmax(1)
        self.parent = np.full(len(self.left), -1)
        for child in (self.left, self.right):
            inner = np.flatnonzero(child >= 0)
            self.parent[child[inner]] = inner

    def nearest_other(self, leaf: int) -> int | None:
        """The leaf of another class that climbing from `leaf` finds first; None without one."""
        node = leaf
        while (above := int(self.parent[node])) >= 0:
            left, right = int(self.left[above]), int(self.right[above])
            found = self._shallowest(right if node == left else left, int(self.classes[leaf]))
            if found is not None:
                return found
            node = above
        return None

    def box(self, leaf: int) -> Box:
        """The tests on the way from the root: what each feature exceeds, and what it is at most."""
        above: dict[int, float] = {}
        most: dict[int, float] = {}
        node = leaf
        while (parent := int(self.parent[node])) >= 0:
            feature, threshold = int(self.feature[parent]), float(self.threshold[parent])
            if node == self.left[parent]:
                most[feature] = min(threshold, most.get(feature, np.inf))
            else:
                above[feature] = max(threshold, above.get(feature, -np.inf))
            node = parent
        return above, most

    def _shallowest(self, root: int, unlike: int) -> int | None:
        queue = deque([root])
        while queue:
            node = queue.popleft()
            if self.left[node] < 0:
                if self.classes[node] != unlike:
                    return node
            else:
                queue += (int(self.left[node]), int(self.right[node]))
        return None


def _into(points: Any, box: Box, offset: float, clip: Clip) -> Any:
    """float32 points (m, d) moved into the box of a leaf; as they are where `clip` forbids it."""
    moved = points.copy()
    above, most = box
    for feature in sorted(set(above) | set(most)):
        low, high = above.get(feature, -np.inf), most.get(feature, np.inf)
        value = points[:, feature].astype(np.float64)
        middle = (low + high) / 2
        reach_low, reach_high = min(low + offset, middle), max(high - offset, middle)
        goal = np.where(value <= low, reach_low, np.where(value > high, reach_high, value))
        if clip is not None:
            goal = goal.clip(*clip)
        moved[:, feature] = _between(goal, low, high)
    inside = np.ones(len(points), dtype=bool)
    for feature in set(above) | set(most):
        value = moved[:, feature].astype(np.float64)
        inside &= (value > above.get(feature, -np.inf)) & (value <= most.get(feature, np.inf))
        if clip is not None:
            inside &= (value >= clip[0]) & (value <= clip[1])
    moved[~inside] = points[~inside]
    return moved


def _between(goal: Floats, low: float, high: float) -> Any:
    """The goal in float32, one step inside where rounding left (low, high]."""
    found = goal.astype(np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    found = np.where(found.astype(np.float64) <= low, np.nextafter(found, up), found)
    return np.where(found.astype(np.float64) > high, np.nextafter(found, down), found)
