"""Known wrong, shown wrong: mistakes of public code as pairs of functions with a measured error."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Exhibit": "robustnb.gallery.exhibit",
        "Masked": "robustnb.gallery.masked",
        "MaskedFindings": "robustnb.gallery.masked",
        "exhibits": "robustnb.gallery.catalogue",
        "inspect_masked": "robustnb.gallery.masked",
    },
)
