"""Free adversarial training (Shafahi 2019, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.attacks import validation
from robustnb.attacks.queries import usable
from robustnb.generators import check_generator
from robustnb.models.ask import ask
from robustnb.scalars import finite, whole
from robustnb.training.objectives import check_targets, full_precision


class FreeTraining:
    """The objective of `free_training`: cross-entropy at x + delta, where delta outlives a batch.

    `fit` takes `replays` steps on each batch. The backward pass of a step gives the gradient of the
    weights, for the optimizer, and that of delta (batch, ...), which then moves by `step` times its
    sign and is cut to [-eps, eps]. delta begins at 0, once: so each training wants an objective
    of its own. A short last batch uses and moves the first rows of delta.
    """

    def __init__(self, *, eps: float, step: float, replays: int) -> None:
        """Keep the settings; delta takes its shape from the first batch."""
        self.eps, self.step, self.replays = eps, step, replays
        self.delta: Tensor | None = None

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """The mean cross-entropy at clip(x + delta), in the mode that the model is in."""
        check_generator(generator)
        delta = self._rows(x).clone().requires_grad_()
        delta.register_hook(self._ascend)  # type: ignore[no-untyped-call]
        logits = full_precision(ask(model, (x.detach() + delta).clamp(0, 1)))
        check_targets(logits, y)
        return F.cross_entropy(logits, y)

    def _rows(self, x: Tensor) -> Tensor:
        """The perturbation of this batch; it has zeros where no batch was as large before."""
        old = self.delta
        if old is None or old.shape[1:] != x.shape[1:]:
            old = x.new_zeros(0, *x.shape[1:])
        missing = x.new_zeros(max(0, len(x) - len(old)), *x.shape[1:])
        self.delta = torch.cat([old.to(x), missing])
        return self.delta[: len(x)]

    @torch.no_grad()
    def _ascend(self, slope: Tensor) -> None:
        assert self.delta is not None
        rows = self.delta[: len(slope)]
        rows.add_(usable(slope)[0].sign(), alpha=self.step).clamp_(-self.eps, self.eps)


def free_training(*, eps: float, replays: int = 4, step: float | None = None) -> FreeTraining:
    """Free adversarial training (Shafahi 2019, Algorithm 1), in the linf ball of radius `eps`.

    Every batch is used `replays` times (the paper's m), and one backward pass serves the weights
    and the perturbation. The paper divides the number of epochs by m, so that it costs as much as
    natural training. `step` is eps unless given, as in the paper. The perturbation is in no
    checkpoint: `fit` warns of that, and one epoch over `robustnb.data.repeat_to` needs none.
    """
    eps, replays = validation.check_radius(eps), whole("replays", replays)
    step = eps if step is None else finite("step", step, above=0.0)
    return FreeTraining(eps=eps, step=step, replays=replays)
