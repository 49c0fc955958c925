"""Load a network of the zoo, its file's digest checked first."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from robustnb import data, tensorfile
from robustnb.errors import DataError
from robustnb.models.modes import eval_mode
from robustnb.zoo import recipes
from robustnb.zoo.digests import SHA256
from robustnb.zoo.trainer import build

_CLOSE = 1e-3  # of logits on two machines, in float32


def file_of(name: str) -> Path:
    """The file of weights, beside the manifest."""
    return recipes.FOLDER / f"{name}.safetensors"


def load(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Module:
    """The network called `name`, in evaluation mode: images (N, 3, 32, 32) in [0, 1] to logits.

    Normalisation is its first layer, so radii are in pixel units. It is asked as any network of
    yours, and may be trained on. Raises UsageError for another name, and DataError if its file is
    not there or not the one that this version of robustnb knows.
    """
    entry, path = recipes.find(name), file_of(name)
    mend = f"install robustnb again, check the file out again, or run `robustnb zoo train {name}`"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {mend}") from error
    if hashlib.sha256(content).hexdigest() != SHA256.get(name):
        raise DataError(f"{path} is not the file of {name} that robustnb knows; {mend}")
    model = build(entry.recipe)
    model.load_state_dict(tensorfile.read(path)[0])
    return model.to(device=device, dtype=dtype).eval()


def probe(model: nn.Module, dataset: str) -> list[list[float]]:
    """The logits of two fixed images, a ramp of grey and its negative."""
    shape = data.catalogue()[dataset].shape
    ramp = torch.linspace(0, 1, math.prod(shape)).reshape(shape)
    images = torch.stack([ramp, 1 - ramp])
    with eval_mode(model), torch.no_grad():
        found: list[list[float]] = model(images).tolist()
    return found


def answers_as_recorded(name: str) -> bool:
    """Whether the network's logits at two fixed images are those of its training, up to rounding.

    The digest says that the weights are right; this says that the code still means the same.
    """
    entry = recipes.find(name)
    then = Tensor() if entry.trained is None else torch.tensor(entry.trained["probe"])
    now = torch.tensor(probe(load(name), entry.recipe.dataset))
    return then.shape == now.shape and bool(torch.allclose(then, now, rtol=0, atol=_CLOSE))
