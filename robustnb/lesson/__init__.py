"""What a notebook writes with: `derive` (checked steps), `measure` (reports), `plot` (figures)."""

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(__name__, {"measure": "robustnb.lesson.measurement"})
