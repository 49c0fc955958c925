"""Attacks on a model that answers with labels alone: oracles, substitutes, and a real service."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Adapter": "robustnb.blackbox.adapter",
        "AnswerCache": "robustnb.blackbox.answer_cache",
        "LocalService": "robustnb.blackbox.local_service",
        "Oracle": "robustnb.blackbox.oracle",
        "QueryBudgetError": "robustnb.blackbox.oracle",
        "RemoteError": "robustnb.blackbox.remote_oracle",
        "RemoteOracle": "robustnb.blackbox.remote_oracle",
        "ServiceLimits": "robustnb.blackbox.service",
        "Substitute": "robustnb.blackbox.substitute",
        "TransferMatrix": "robustnb.blackbox.matrices",
        "jacobian_augmentation": "robustnb.blackbox.augmentation",
        "labels_of": "robustnb.blackbox.oracle",
        "majority_vote": "robustnb.blackbox.oracle",
        "periodic_step": "robustnb.blackbox.augmentation",
        "query_budget": "robustnb.blackbox.augmentation",
        "random_signs": "robustnb.blackbox.matrices",
        "reservoir_sample": "robustnb.blackbox.augmentation",
        "train_substitute": "robustnb.blackbox.substitute",
        "transfer_matrix": "robustnb.blackbox.matrices",
    },
)
