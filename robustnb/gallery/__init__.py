"""Known wrong, shown wrong: mistakes of public code as pairs of functions with a measured error."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Pitfall": "robustnb.gallery.pitfall",
        "Masked": "robustnb.gallery.gradient_masking",
        "MaskedFindings": "robustnb.gallery.gradient_masking",
        "pitfalls": "robustnb.gallery.catalogue",
        "inspect_masked": "robustnb.gallery.gradient_masking",
    },
)
