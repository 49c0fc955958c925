"""Checks of what this room is given."""

from __future__ import annotations

from torch import Tensor

from robustnb.attacks.validation import check_images, check_labels, check_place
from robustnb.models.ask import check_model
from robustnb.models.modes import Model


def check_examples(model: Model, x: Tensor, y: Tensor) -> None:
    """Refuse what is no model, no images (N, ...) in [0, 1], or not one label for each."""
    check_model(model)
    check_images(x)
    check_labels(y, x)
    check_place(model, x)
