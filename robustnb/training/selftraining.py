"""Robust self-training (Carmon et al. 2019, Meta-Algorithm 1): pseudo-labels and mixed batches.

Step 1 trains an intermediate model on the labelled images, step 2 is `pseudo_labels`, and step 3
trains on both sets with `self_training`, which makes any objective one on mixed batches.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from robustnb.attacks.losses import predicted
from robustnb.attacks.sanity_checks import check_batch_independence
from robustnb.attacks.validation import check_tensor
from robustnb.generators import check_cpu_generator, check_generator
from robustnb.models.ask import ask, check_finite, check_model, place_of
from robustnb.models.modes import eval_mode
from robustnb.scalars import real, whole
from robustnb.training.augment import Augment
from robustnb.training.objectives import Objective
from robustnb.training.validation import check_inputs, unit

_ASKED = 16  # images that are asked about in two batches


@torch.no_grad()
def pseudo_labels(model: nn.Module, images: Tensor, *, batch_size: int = 512) -> Tensor:
    """The class that `model`, in evaluation mode, gives to each image: (N,) int64, on the CPU.

    images: (N, C, H, W), uint8 or float in [0, 1]. Step 2 of Meta-Algorithm 1: hard labels.
    ValueError if the model's answers depend on the other images of a batch.
    """
    check_model(model)
    check_tensor("images", images)
    check_inputs(images, "images")
    device, dtype = place_of(model, images)
    batch_size = whole("batch_size", batch_size)
    with eval_mode(model):
        if len(images):
            first = unit(images[:_ASKED].to(device), dtype)
            check_batch_independence(model, first, ask(model, first))
        parts = [
            predicted(_finite(ask(model, unit(x.to(device), dtype)))).cpu()
            for x in (torch.split(images, batch_size) if len(images) else ())
        ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def corrupt_labels(
    labels: Tensor, *, share: float, classes: int, generator: torch.Generator
) -> Tensor:
    """A copy with exactly round(share N) labels, at random, each replaced by another class.

    The other class is uniform over the remaining ones. The same (CPU) generator state gives the
    same result.
    """
    share, classes = real("share", share), whole("classes", classes, least=2)
    check_cpu_generator(generator, needed="corrupt_labels draws labels")
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}; half of the labels is share=0.5")
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise ValueError(f"labels must lie in [0, {classes}) with at least 2 classes")
    wrong = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    shift = torch.randint(1, classes, (len(wrong),), generator=generator)
    out, wrong, shift = labels.clone(), wrong.to(labels.device), shift.to(labels.device)
    out[wrong] = ((labels[wrong] + shift) % classes).to(out.dtype)
    return out


def implied_weight(n: int, n_tilde: int, *, fraction: float = 0.5) -> float:
    """The weight w of an unlabelled image in Meta-Algorithm 1 that mixed batches amount to.

    A share `fraction` of every batch comes from the n_tilde unlabelled images, the rest from the
    n labelled ones: w = fraction / (1 - fraction) n / n_tilde.

    >>> implied_weight(50_000, 500_000)
    0.1
    """
    fraction, hint = _check_fraction(fraction), "; both sets need an image"
    n, n_tilde = whole("n", n, hint=hint), whole("n_tilde", n_tilde, hint=hint)
    return fraction / (1 - fraction) * n / n_tilde


def self_training(
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    *,
    fraction: float = 0.5,
    augment: Augment | None = None,
) -> Objective:
    """`objective` on batches that pseudo-labelled images fill up (Meta-Algorithm 1, step 3).

    Give `fit` the labelled images, with the batch size that they have in a batch. `images`
    (N, C, H, W), uint8 or float in [0, 1], and their `labels` (N,) are those from step 2;
    `augment` is for them, as `fit` augments the labelled ones only.
    """
    fraction = _check_fraction(fraction)
    check_tensor("images", images)
    check_tensor("labels", labels)
    check_inputs(images, "images")
    if len(labels) and not labels.dtype.is_floating_point and int(labels.min()) < -1:
        raise ValueError(
            f"labels must be class numbers, or -1 and +1 for scores, got {int(labels.min())}; "
            "leave images without a label out"
        )
    if len(images) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"self_training wants one label for each image and at least one of them, got "
            f"{len(images)} images and {len(labels)} labels"
        )
    return partial(
        self_training_loss, objective=objective, images=images, labels=labels, fraction=fraction,
        augment=augment,
    )  # fmt: skip


def self_training_loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
    *,
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    fraction: float = 0.5,
    augment: Augment | None = None,
) -> Tensor:
    """The loss of `self_training`: `objective` on x and as many drawn images as `fraction` asks.

    Unlabelled images are drawn with replacement, so that any number of them serves any number of
    labelled ones. All are shuffled together and pass as one batch, as batch norm requires.
    """
    place = check_generator(generator, needed="self-training draws images")
    assert generator is not None
    size = mixed_size(len(y), fraction=fraction)
    drawn = torch.randint(len(labels), (size - len(y),), generator=generator, device=place)
    more = images[drawn.to(images.device)].to(x.device)
    more_y = labels[drawn.to(labels.device)].to(y.device)
    if augment is not None:
        more = augment(more, generator)
    order = torch.randperm(size, generator=generator, device=place).to(y.device)
    x, y = torch.cat([x, unit(more, x.dtype)])[order], torch.cat([y, more_y])[order]
    return objective(model, x, y, generator)


def mixed_size(labelled: int, *, fraction: float) -> int:
    """The size of a batch with so many labelled images.

    >>> mixed_size(128, fraction=0.5)
    256
    """
    return labelled + round(labelled * fraction / (1 - fraction))


def _finite(logits: Tensor) -> Tensor:
    check_finite(logits)
    return logits


def _check_fraction(fraction: float) -> float:
    fraction = real("fraction", fraction)
    if not 0 <= fraction < 1:
        raise ValueError(
            f"fraction must lie in [0, 1), the unlabelled share of a batch, got {fraction}; 0.5 is "
            "half and half"
        )
    return fraction
