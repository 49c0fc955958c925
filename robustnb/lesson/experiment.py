"""`Experiment`: networks trained and attacked alike, with every random draw numbered by an offset.

A notebook says what its paper says (data, networks, objectives, attacks); what all notebooks do in
the same way stands here. Networks come from the store if one of the same recipe is there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from robustnb.attacks.attack import Attack
from robustnb.attacks.audit import robustness_audit, summary
from robustnb.attacks.autoattack import AttackEnsemble
from robustnb.attacks.config import PGDConfig
from robustnb.attacks.evaluation import Evaluation, evaluate
from robustnb.attacks.sanity_checks import Finding
from robustnb.data.loading import load
from robustnb.data.subsets import subset, to_unit
from robustnb.identity import describe, named
from robustnb.models.modes import Model
from robustnb.training.model_store import train_or_load
from robustnb.training.objectives import Objective
from robustnb.training.training_loop import History, fit

_SEEDS_APART = 1000  # offsets of one seed stay clear of those of the next

Outcome = Literal["natural", "paper", "strongest", "robust"]
COLUMNS: Mapping[str, Outcome] = {"natural": "natural", "paper": "paper", "robust": "robust"}


@dataclass(frozen=True)
class Experiment:
    """One seed of an experiment on a device; equal calls give equal results."""

    seed: int
    device: str = "cpu"

    def seeded(self, offset: int = 0) -> torch.Generator:
        """A new generator of this seed, on the CPU; every use has an offset of its own.

        >>> draws = [torch.rand(2, generator=Experiment(0).seeded(n)).tolist() for n in (1, 1, 2)]
        >>> draws[0] == draws[1] != draws[2]
        True
        """
        if not 0 <= offset < _SEEDS_APART:
            raise ValueError(f"offset must lie in [0, {_SEEDS_APART - 1}], got {offset}")
        return torch.Generator().manual_seed(_SEEDS_APART * self.seed + offset)

    def test_images(self, dataset: str, *, size: int) -> tuple[Tensor, Tensor]:
        """`size` test images (N, C, H, W) in [0, 1] with their labels (N,), on the device.

        They are the same for every seed, so that seeds and examples can be resampled together.
        """
        every_seed = torch.Generator().manual_seed(0)
        x, y = subset(*load(dataset, "test"), size=size, generator=every_seed)
        return to_unit(x).to(self.device), y.to(self.device)

    def train(
        self,
        name: str,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        objective: Objective,
        epochs: int,
        batch_size: int,
        lr: float,
        offset: int,
        **settings: Any,
    ) -> nn.Module:
        """A trained copy of `network` in evaluation mode, from the store or trained now.

        `network` is untrained, or trained already and to be trained further; it stays as it is.
        `settings` are further ones of `robustnb.training.fit`: validate, schedule, augment and so
        on. The generator at `offset` decides the order of the images, augmentation and noise. The
        recipe in the store holds all of this, data by their fingerprints and functions by their
        code; robustnb.identity.UnknownIdentity is raised for what cannot be told from others. An
        interrupted training goes on after its last whole epoch.
        """
        given = {
            "images": images, "labels": labels, "objective": objective, "epochs": epochs,
            "batch_size": batch_size, "lr": lr, **settings,
        }  # fmt: skip

        def train(net: nn.Module, checkpoint: Path) -> History:
            path = checkpoint if epochs > 1 else None  # one epoch leaves nothing to go on from
            draws = self.seeded(offset)
            return fit(net, **given, generator=draws, checkpoint=path, title=name)

        def untrained() -> nn.Module:
            return copy.deepcopy(network).to(self.device)

        described = {key: describe(value) for key, value in given.items()}
        recipe = {"name": name, "seed": self.seed, "offset": offset, **described}
        by_recipe = named(train, "robustnb.training.fit as the recipe says")
        trained: nn.Module = train_or_load(recipe, untrained, by_recipe)[0]
        return trained.eval()

    def evaluate(
        self,
        networks: Mapping[str, Model],
        x: Tensor,
        y: Tensor,
        *,
        paper: Attack,
        strongest: AttackEnsemble,
        offset: int,
        audit: PGDConfig | None = None,
        audit_size: int | None = None,
        sources: Mapping[str, Model | None] | None = None,
    ) -> Evaluations:
        """Every network under the paper's attack and under the strongest, on the same images.

        `sources` names the networks to audit by `audit` on the first `audit_size` images (all by
        default), each with the network whose adversarial examples are tried on it, or None. Each
        network is attacked with the generator at `offset` and audited with that at offset + 1.
        """
        sources = sources or {}
        unknown = sorted(set(sources) - set(networks))
        if unknown:
            raise ValueError(
                f"sources names {unknown[0]!r}, which is not among the networks "
                f"({', '.join(networks)}); its keys are the networks to audit"
            )
        if (audit is None) != (not sources):
            raise ValueError(
                "audit (such as multi_loss_pgd(eps)) and sources (the networks to audit) go "
                "together; pass both or neither"
            )
        found = {
            name: evaluate(net, x, y, attacks=[paper, strongest], generator=self.seeded(offset))
            for name, net in networks.items()
        }
        audits = {}
        for name, source in sources.items():
            assert audit is not None
            audits[name] = found[name].findings | robustness_audit(
                networks[name], x[:audit_size], y[:audit_size], attack=audit, source=source,
                queries=strongest.queries, generator=self.seeded(offset + 1),
            )  # fmt: skip
        return Evaluations(found, audits, paper, strongest, len(y))


@dataclass(frozen=True, eq=False)
class Evaluations(Mapping[str, Evaluation]):
    """The `Evaluation` of each network by its name, and what its audit found.

    Four outcomes of an example have names: "natural" (right when clean), "paper" and "strongest"
    (right under that attack), and "robust" (right when clean and under both).
    """

    evaluations: dict[str, Evaluation]
    audits: dict[str, dict[str, Finding]]
    paper: Attack
    strongest: AttackEnsemble
    n: int

    def __getitem__(self, name: str) -> Evaluation:
        """The evaluation of one network."""
        return self.evaluations[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the networks, in order."""
        return iter(self.evaluations)

    def __len__(self) -> int:
        """The number of networks."""
        return len(self.evaluations)

    def outcome(self, name: str, which: Outcome) -> Tensor:
        """One of the four outcomes of a network's examples, (N,) bool, on the CPU."""
        found = self.evaluations[name]
        if which == "natural":
            return found.natural_correct.cpu()
        if which == "robust":
            return found.robust.cpu()
        if which not in get_args(Outcome):
            raise ValueError(f"{which!r} is not one of {', '.join(get_args(Outcome))}")
        attack = self.paper if which == "paper" else self.strongest
        return found.robust_under(attack.name).cpu()

    def arms(
        self,
        names: Iterable[str] | None = None,
        *,
        columns: Mapping[str, Outcome] = COLUMNS,
        prefix: str = "",
    ) -> dict[str, Tensor]:
        """What `measure` wants as arms: {"{prefix}{name}.{column}": outcomes} of `names`, or all.

        `columns` gives an outcome to each ending of an arm's name.
        """
        return {
            f"{prefix}{name}.{column}": self.outcome(name, which)
            for name in (self if names is None else names)
            for column, which in columns.items()
        }

    def threat(self, *, data: str, model: str, access: str = "white box") -> dict[str, Any]:
        """What `measure` wants as threat: the strongest attack, on which data and networks."""
        attack = self.strongest
        return {
            "norm": attack.norm, "eps": attack.eps, "data": data, "n": self.n,
            "attack": attack.name, "access": access, "model": model, "settings": attack.to_json(),
        }  # fmt: skip

    def audit(self, names: Iterable[str] | Mapping[str, str] | None = None) -> Finding:
        """What `measure` wants as audit: one finding for those of `names`, or all audited.

        A mapping {label: name} gives them other labels in the finding.
        """
        names = list(self.audits) if names is None else names
        labels = names if isinstance(names, Mapping) else {name: name for name in names}
        missing = [name for name in labels.values() if name not in self.audits]
        if missing:
            raise ValueError(f"{missing[0]!r} was not audited; name it in sources={{...}}")
        return summary({label: self.audits[name] for label, name in labels.items()})

    def table(self, columns: Mapping[str, Outcome] | None = None) -> Any:
        """A pandas table of shares, a row for each network; by default of all four outcomes.

        `columns` gives an outcome to each heading.
        """
        import pandas as pd

        chosen = columns or {
            "natural": "natural", self.paper.name: "paper", self.strongest.name: "strongest",
            "both attacks": "robust",
        }  # fmt: skip
        shares = {
            name: {
                heading: float(self.outcome(name, which).double().mean())
                for heading, which in chosen.items()
            }
            for name in self
        }
        return pd.DataFrame(shares).T.map("{:.1%}".format)
