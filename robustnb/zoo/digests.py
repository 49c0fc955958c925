"""SHA-256 of each file of weights, written by `robustnb zoo publish`.

In code and not only in the manifest: a run's key covers code, so a page that leans on the zoo runs
again when its weights change.
"""

from __future__ import annotations

SHA256: dict[str, str] = {}
