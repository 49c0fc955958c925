"""Training: objectives (cross-entropy, PGD training, TRADES), one loop, a store of models."""

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Epoch": "robustnb.training.training_loop",
        "History": "robustnb.training.training_loop",
        "Objective": "robustnb.training.objectives",
        "binary_trades": "robustnb.training.objectives",
        "binary_trades_loss": "robustnb.training.objectives",
        "constant": "robustnb.training.schedules",
        "corrupt_labels": "robustnb.training.selftraining",
        "cosine": "robustnb.training.schedules",
        "crop_and_flip": "robustnb.training.augment",
        "train_val_split": "robustnb.training.validation",
        "fingerprint": "robustnb.training.checkpoint",
        "fit": "robustnb.training.training_loop",
        "implied_weight": "robustnb.training.selftraining",
        "milestones": "robustnb.training.schedules",
        "models_folder": "robustnb.training.model_store",
        "natural_accuracy": "robustnb.training.validation",
        "pgd_training": "robustnb.training.objectives",
        "pgd_training_loss": "robustnb.training.objectives",
        "pseudo_labels": "robustnb.training.selftraining",
        "robust_accuracy": "robustnb.training.validation",
        "self_training": "robustnb.training.selftraining",
        "self_training_loss": "robustnb.training.selftraining",
        "stability_loss": "robustnb.training.stability",
        "stability_training": "robustnb.training.stability",
        "standard": "robustnb.training.objectives",
        "standard_loss": "robustnb.training.objectives",
        "trades": "robustnb.training.objectives",
        "trades_loss": "robustnb.training.objectives",
        "train_or_load": "robustnb.training.model_store",
        "triangular": "robustnb.training.schedules",
    },
)
