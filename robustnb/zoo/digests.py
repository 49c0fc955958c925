"""SHA-256 of each file of weights, written by `robustnb zoo publish`.

In code and not only in the manifest: a run's key covers code, so a page that leans on the zoo runs
again when its weights change.
"""

from __future__ import annotations

SHA256: dict[str, str] = {
    "cifar10_l2": "b39c8f62888270b64bd835e990934eb75bd9ee28caf0bd8d0c037605fea284a9",
    "cifar10_linf": "dd57493d98b3e70bc7cf687f9f4a10680ec47979d1df9cbb4c4f7597d9043774",
    "cifar10_standard": "2089e0661e6897680447c5cde45441adf8906c810417625721db8cd9461a0845",
}
