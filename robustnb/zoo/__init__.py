"""The zoo: a few small trained networks that more than one page needs, known by their digest."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Adversary": "robustnb.zoo.recipes",
        "Count": "robustnb.zoo.accuracy",
        "Entry": "robustnb.zoo.recipes",
        "Recipe": "robustnb.zoo.recipes",
        "build": "robustnb.zoo.trainer",
        "collapsed": "robustnb.zoo.accuracy",
        "counts": "robustnb.zoo.accuracy",
        "load": "robustnb.zoo.loading",
        "manifest": "robustnb.zoo.recipes",
        "measure": "robustnb.zoo.measuring",
        "names": "robustnb.zoo.recipes",
        "train": "robustnb.zoo.trainer",
    },
)
