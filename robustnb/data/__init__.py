"""Data sets as uint8 images and int64 labels with known digests, from whichever source answers."""

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Dataset": "robustnb.data.sets",
        "Listing": "robustnb.data.loading",
        "Split": "robustnb.data.sets",
        "catalogue": "robustnb.data.sets",
        "describe": "robustnb.data.loading",
        "fetch": "robustnb.data.loading",
        "find": "robustnb.data.sets",
        "load": "robustnb.data.loading",
        "loaded": "robustnb.data.loading",
        "mail_texts": "robustnb.data.mails",
        "nested_subsets": "robustnb.data.subsets",
        "repeat_to": "robustnb.data.subsets",
        "subset": "robustnb.data.subsets",
        "to_unit": "robustnb.data.subsets",
        "vocabulary": "robustnb.data.mails",
        "verify": "robustnb.data.loading",
        "weights": "robustnb.data.weight_files",
        "word_counts": "robustnb.data.mails",
    },
)
