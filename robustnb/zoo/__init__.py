"""The zoo: a few small trained networks that more than one page needs, known by their digest."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Recipe": "robustnb.zoo.manifest",
        "build": "robustnb.zoo.trainer",
        "load": "robustnb.zoo.loading",
        "manifest": "robustnb.zoo.manifest",
        "names": "robustnb.zoo.manifest",
        "train": "robustnb.zoo.trainer",
    },
)
