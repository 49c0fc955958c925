"""robustnb: the shared code of a book that re-derives and re-runs papers on adversarial robustness.

Importing it loads neither torch nor numpy; each room (`robustnb.attacks`, `robustnb.training`, ...)
loads what it needs on first use.
"""

__version__ = "0.1.0"
