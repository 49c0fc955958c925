"""A network as a feature extractor and a head (Shafahi 2020, section 3: h = g_w after z_theta)."""

from __future__ import annotations

import copy
from typing import Literal

from torch import Tensor, nn

from robustnb.attacks.validation import check_choice
from robustnb.models.ask import check_feature_form, check_layers

Statistics = Literal["source", "batch"]


def split(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """Copies of a model's feature extractor, (N, ...) -> (N, k), and of its last linear layer.

    The extractor is the model with its last linear layer replaced by the identity, so that layer
    must come last. ValueError if the model has none, or is that layer alone.
    """
    check_layers(model, "cutting off its last layer")
    names = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not names or names[-1] == "":
        raise ValueError(
            "the model has no linear layer inside it to cut at; build TransferNet(extractor, head) "
            "from a module that gives features (N, k) and a head for them"
        )
    extractor = copy.deepcopy(model)
    place, _, name = names[-1].rpartition(".")
    parent = extractor.get_submodule(place)
    head = parent.get_submodule(name)
    assert isinstance(head, nn.Linear)
    setattr(parent, name, nn.Identity())
    return extractor, head


class TransferNet(nn.Module):
    """A head on a copy of an extractor. x: (N, ...) -> logits (N, classes).

    frozen: only the head trains. statistics: with "source" the extractor stays in evaluation mode
    while the head trains, so that batch norm keeps the source's statistics and dropout is off, as
    in the paper's code, whether it is frozen or not; with "batch" it follows the training mode,
    and running statistics move even where no weight does.
    """

    def __init__(
        self,
        extractor: nn.Module,
        head: nn.Module,
        *,
        frozen: bool = True,
        statistics: Statistics = "source",
    ) -> None:
        """Copy both parts; the weights of the extractor want gradients unless it is frozen."""
        super().__init__()
        check_choice("statistics", statistics, ("source", "batch"))
        self.frozen, self.statistics = frozen, statistics
        self.extractor = copy.deepcopy(extractor).requires_grad_(not frozen)
        self.head = copy.deepcopy(head).requires_grad_(True)
        self.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """What the head is given, (N, k)."""
        found: Tensor = self.extractor(x)
        check_feature_form(found, len(x))
        return found

    def train(self, mode: bool = True) -> TransferNet:
        """As of any module, but an extractor with the source's statistics stays in evaluation."""
        super().train(mode)
        if self.statistics == "source":
            self.extractor.eval()
        return self

    def unfrozen(self) -> TransferNet:
        """A copy of the same weights in which the extractor trains, too."""
        return TransferNet(self.extractor, self.head, frozen=False, statistics=self.statistics)
