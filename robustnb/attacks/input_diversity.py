"""Input diversity (Xie 2019, DI-FGSM): each image is resized and padded at random at each pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from robustnb.generators import check_generator
from robustnb.models.modes import Model
from robustnb.scalars import finite


class InputDiversity(nn.Module):
    """A model that is asked about an image made smaller and padded with zeros, or about it itself.

    For each image of a batch (N, C, H, W): with probability `probability` a side is drawn
    uniformly from the whole numbers from `smallest` times its own to its own less one, the image
    is resized to it by nearest neighbours, and put at a uniformly drawn place of zeros of the old
    size. Gradients pass through. Xie 2019 makes images larger by up to a tenth; the smaller
    images here have the size that the model was made for.

    It is a source of attacks: craft on it by `pgd` or `mifgsm` with keep="last", as a draw belongs
    to one pass, and try the images on models as they are.
    """

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        probability: float = 0.5,
        smallest: float = 0.875,
    ) -> None:
        """Ask `model`; the draws come from `generator`, on its device."""
        super().__init__()
        check_generator(generator, needed="input diversity draws sizes and places")
        self.probability = finite("probability", probability, least=0)
        self.smallest = finite("smallest", smallest, above=0)
        if self.probability > 1 or self.smallest > 1:
            raise ValueError(
                "probability must lie in [0, 1] and smallest in (0, 1], a share of the side, got "
                f"{probability} and {smallest}"
            )
        self.model, self.generator = model, generator

    def forward(self, x: Tensor) -> Tensor:
        """The model's answer to the changed images."""
        if x.ndim != 4 or x.shape[2] != x.shape[3]:
            raise ValueError(f"x must be square images (N, C, H, H), got {tuple(x.shape)}")
        draws = torch.rand(len(x), 4, generator=self.generator, device=self.generator.device)
        return self.model(torch.cat([self._changed(x[k : k + 1], *row) for k, row in
                                     enumerate(draws.tolist())]) if len(x) else x)  # fmt: skip

    def _changed(self, x: Tensor, chance: float, size: float, down: float, right: float) -> Tensor:
        own = x.shape[-1]
        least = max(1, round(self.smallest * own))
        if chance >= self.probability or least >= own:
            return x
        side = least + int(size * (own - least))
        top, left = int(down * (own - side + 1)), int(right * (own - side + 1))
        rest = own - side
        return pad(interpolate(x, side), (left, rest - left, top, rest - top))
