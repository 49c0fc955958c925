"""Who falls to whose adversarial examples: every pair of a source and a target (Papernot 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustnb.attacks.projections import Clip, check_box, lp_distance
from robustnb.attacks.rates import Rate, rate
from robustnb.attacks.validation import check_images, check_labels
from robustnb.blackbox.oracle import LabelFunction, check_answers, majority
from robustnb.generators import check_cpu_generator
from robustnb.scalars import finite, whole


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """Answers of every target to every source's examples, and to the clean ones.

    y: (N,), the true labels. clean[target] and answers[source, target]: (N,). size[source]: the
    mean l2 and linf length of its perturbations.
    """

    y: Tensor
    clean: Mapping[str, Tensor]
    answers: Mapping[tuple[str, str], Tensor]
    size: Mapping[str, tuple[float, float]]

    def misclassified(self, source: str, target: str) -> Tensor:
        """Where the target's answer is not the true label, (N,) bool: what the figures count."""
        return self._answers(source, target) != self.y

    def changed(self, source: str, target: str) -> Tensor:
        """Where the target's answer is not that to the clean example: equation 2 of the paper."""
        return self._answers(source, target) != self.clean[target]

    def error_rate(self, source: str, target: str, *, level: float = 0.95) -> Rate:
        """Misclassified among all examples."""
        return rate(self.misclassified(source, target), level=level)

    def success_rate(self, source: str, target: str, *, level: float = 0.95) -> Rate:
        """Misclassified among the examples that the target classifies correctly when clean."""
        correct = self.clean[target] == self.y
        return rate(self.misclassified(source, target), correct, level=level)

    def with_vote(self, name: str, voters: Sequence[str], *, classes: int) -> TransferMatrix:
        """The same with one more target, the majority of `voters`, which costs no question."""

        def vote(ballots: list[Tensor]) -> Tensor:
            return majority(ballots, classes=whole("classes", classes, least=2))

        voted = {
            (source, name): vote([self._answers(source, voter) for voter in voters])
            for source in self.size
        }
        clean = {**self.clean, name: vote([self.clean[voter] for voter in voters])}
        return TransferMatrix(self.y, clean, {**self.answers, **voted}, self.size)

    def _answers(self, source: str, target: str) -> Tensor:
        if (source, target) not in self.answers:
            sources = ", ".join(self.size)
            raise ValueError(
                f"no pair {source!r}, {target!r}; sources: {sources}; "
                f"targets: {', '.join(self.clean)}"
            )
        return self.answers[source, target]


def transfer_matrix(
    adversarial: Mapping[str, Tensor], targets: Mapping[str, LabelFunction], x: Tensor, y: Tensor
) -> TransferMatrix:
    """Ask every target about every source's examples, each once.

    adversarial: x_adv (N, ...) by the name of its source, made from x (N, ...) with true labels y
    (N,). targets: functions of labels, such as `labels_of(model)`, by name.
    """
    if not adversarial or not targets:
        raise ValueError("adversarial and targets must each name at least one model")
    for name, x_adv in adversarial.items():
        if x_adv.shape != x.shape:
            raise ValueError(
                f"{name}'s examples have shape {tuple(x_adv.shape)}, x has {tuple(x.shape)}; craft "
                "them all from the same x"
            )
    check_labels(y, x)
    if y.dtype.is_floating_point:
        raise TypeError(f"y must hold integer labels, got {y.dtype}; use y.long()")
    truth = check_answers(y, len(x))
    sets = {"": x, **adversarial}
    answers: dict[tuple[str, str], Tensor] = {}
    for target, answer in targets.items():
        for source, examples in sets.items():
            answers[source, target] = check_answers(answer(examples.detach().clone()), len(x))
    clean = {target: answers.pop(("", target)) for target in targets}
    size = {name: _mean_sizes(x_adv, x) for name, x_adv in adversarial.items()}
    return TransferMatrix(truth, clean, answers, size)


def random_signs(
    x: Tensor, *, eps: float, clip: Clip = (0.0, 1.0), generator: torch.Generator | None = None
) -> Tensor:
    """x with +eps or -eps, by a fair coin, on every coordinate: what a perturbation does by size.

    Clipped to the box afterwards, as the fast gradient sign method is.
    """
    eps, clip = finite("eps", eps, least=0), check_box(clip)
    check_images(x, clip)
    check_cpu_generator(generator)
    coins = torch.randint(0, 2, x.shape, generator=generator, device="cpu").to(x)
    moved = x + eps * (2 * coins - 1)
    return moved if clip is None else moved.clamp(*clip)


def _mean_sizes(x_adv: Tensor, x: Tensor) -> tuple[float, float]:
    l2, linf = (lp_distance(x_adv, x, norm=norm) for norm in ("l2", "linf"))
    return float(l2.double().mean()), float(linf.double().mean())
