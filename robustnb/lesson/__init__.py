"""What a notebook writes with: `derive` (checked steps), `Experiment`, `measure`, `plot`."""

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Evaluations": "robustnb.lesson.experiment",
        "Experiment": "robustnb.lesson.experiment",
        "measure": "robustnb.lesson.measurement",
    },
)
