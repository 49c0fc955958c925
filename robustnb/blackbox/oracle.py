"""A model that answers with labels only, and counts what it is asked (Papernot 2016, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustnb.attacks.losses import predicted
from robustnb.attacks.validation import check_place, check_tensor
from robustnb.errors import RobustnbError
from robustnb.models.ask import ask, check_finite, check_model
from robustnb.models.modes import eval_mode
from robustnb.scalars import shown, whole

LabelFunction = Callable[[Tensor], Tensor]
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


class QueryBudgetError(RobustnbError):
    """A question would cost more queries than are left."""


class Oracle:
    """Labels (N,) int64 for examples (N, ...), nothing else; every example asked is one query.

    `answer` is a function of labels, such as `labels_of(model)`. `queries` counts the examples that
    were answered. With a `budget`, a call that would exceed it raises QueryBudgetError before
    anything is asked.
    """

    def __init__(
        self, answer: LabelFunction, *, budget: int | None = None, batch_size: int = 1000
    ) -> None:
        """Ask `answer` at most `batch_size` examples at a time."""
        if isinstance(answer, nn.Module) or not callable(answer):
            raise TypeError(
                f"answer must be a function from examples to labels, got {type(answer).__name__}; "
                "wrap a model: Oracle(labels_of(model))"
            )
        self._answer = answer
        self.budget = None if budget is None else whole("budget", budget, least=0)
        self.batch_size = whole("batch_size", batch_size)
        self.queries = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The labels of x (N, ...)."""
        check_tensor("x", x)
        check_budget(self.queries, len(x), self.budget)
        found = [torch.empty(0, dtype=torch.int64)]
        for start in range(0, len(x), self.batch_size):
            part = x.detach()[start : start + self.batch_size]
            found.append(check_answers(self._answer(part.clone()), len(part)))
            self.queries += len(part)
        return torch.cat(found).to(x.device)


def check_budget(spent: int, asked: int, budget: int | None) -> None:
    """Raise QueryBudgetError if `asked` more queries exceed the budget."""
    if budget is not None and spent + asked > budget:
        raise QueryBudgetError(
            f"{asked} more queries after {spent} exceed the budget of {budget}; nothing was asked. "
            "Pass fewer examples, or a larger budget"
        )


def check_answers(labels: Any, count: int) -> Tensor:
    """Answers as int64 labels (count,) on the CPU; TypeError or ValueError for anything else."""
    labels = _as_tensor(labels)
    if labels.dtype not in _INTEGERS:
        raise TypeError(
            f"an oracle must answer with integer labels, got {labels.dtype}; pass "
            "labels_of(model), which takes the class of the largest score"
        )
    if labels.shape != (count,):
        raise ValueError(f"{count} examples need labels ({count},), got {tuple(labels.shape)}")
    found: Tensor = labels.detach().to("cpu", torch.int64)
    return found


def _as_tensor(labels: Any) -> Tensor:
    try:
        return labels if isinstance(labels, Tensor) else torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"an oracle must answer with integer labels, got {shown(labels)}; number the classes "
            "from 0 on, for names by names.index(label)"
        ) from error


def labels_of(model: Any, *, batch_size: int = 1000) -> LabelFunction:
    """The labels that a torch module or a scikit-learn classifier answers with, as a function.

    A module is asked in evaluation mode; a classifier sees examples flattened, in float32.
    """
    batch_size = whole("batch_size", batch_size)
    if isinstance(model, type):
        check_model(model)
    if isinstance(model, nn.Module):

        def of_module(x: Tensor) -> Tensor:
            check_place(model, x)
            with eval_mode(model), torch.no_grad():
                parts = [torch.empty(0, dtype=torch.int64, device=x.device)]
                for start in range(0, len(x), batch_size):
                    logits = ask(model, x[start : start + batch_size])
                    check_finite(logits)
                    parts.append(predicted(logits))
            return torch.cat(parts)

        return of_module
    if not hasattr(model, "predict"):
        raise TypeError(
            f"model must be a torch module or have a predict method, got {shown(model)}; for a "
            "function of labels pass it to Oracle as it is"
        )

    def of_classifier(x: Tensor) -> Tensor:
        rows = x.detach().cpu().flatten(1).float().numpy() if len(x) else ()
        parts = [torch.empty(0, dtype=torch.int64)]
        for start in range(0, len(rows), batch_size):
            parts.append(_as_tensor(model.predict(rows[start : start + batch_size])))
        return torch.cat(parts)

    return of_classifier


def majority_vote(voters: Sequence[LabelFunction], *, classes: int) -> LabelFunction:
    """The label that most voters give; among equals the smallest (Papernot 2016, section 3)."""
    classes = whole("classes", classes, least=2)
    if not voters:
        raise ValueError("voters must name at least one function of labels")

    def vote(x: Tensor) -> Tensor:
        ballots = [check_answers(voter(x.detach().clone()), len(x)) for voter in voters]
        return majority(ballots, classes=classes)

    return vote


def majority(votes: Sequence[Tensor], *, classes: int) -> Tensor:
    """The label (N,) that most of the votes, each (N,), give; among equals the smallest."""
    every = torch.stack(list(votes))
    if every.numel() and not 0 <= int(every.min()) <= int(every.max()) < classes:
        raise ValueError(
            f"votes must be labels 0..{classes - 1}, got {int(every.min())}..{int(every.max())}; "
            "check classes, or give scores' -1 and +1 as (label + 1) // 2"
        )
    counts = nn.functional.one_hot(every, classes).sum(0)
    return counts.argmax(1)
