"""The Square attack (Andriushchenko et al. 2020): random search that asks for no gradient.

Each query repaints one window of the image and is kept where it raises the margin. Windows and
signs are drawn once for all examples, so what happens to one depends on no other: neither on the
batch nor on which others are misclassified. In l1 the l2 moves are made with l1 lengths (Croce &
Hein 2021).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustnb.attacks import projections, validation
from robustnb.attacks.apgd_attack import APGDResult
from robustnb.attacks.losses import margin
from robustnb.attacks.projections import Clip, Norm
from robustnb.attacks.queries import ModelQueries
from robustnb.generators import check_generator
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode
from robustnb.scalars import whole

_FIRST_SHARE = 0.8  # of the image that the first windows cover
_HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries, section 5
_TILES = 5  # a side, of the first image in l2 and l1
_PACK = 10
Window = tuple[slice, slice]


def square(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    queries: int = 5000,
    norm: Norm = "linf",
    restarts: int = 1,
    clip: Clip = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random search over windows; returns per example the image of highest margin found.

    x: (N, C, H, W) in `clip`; (N, H, W) is one channel and (N, D) one row of one channel. `eps` in
    pixel units, one or one each (N,). `queries` counts forward passes after the clean image's.
    Guarantee: norm(x_adv - x) <= eps and x_adv in `clip`, in x's dtype; eps = 0 returns x to the
    bit; never weaker than x; more restarts never give a weaker image; modes are restored.
    """
    clip = projections.check_box(clip)
    eps, _, _ = validation.check_attack(
        model, x, y, eps=eps, step=1.0, steps=1, norm=norm, clip=clip, gradients=False
    )
    restarts = validation.check_restarts(restarts, "uniform")
    queries, device = whole("queries", queries), check_generator(generator)
    if len(x) == 0 or not bool((torch.as_tensor(eps) > 0).any()):
        return x.detach().clone()
    model_queries, x = ModelQueries(model), x.detach()
    with eval_mode(model), fastest_layout(model):
        model_queries.check_labels(y)
        loss, hit, *_ = model_queries.loss_and_misclassified(x, y, margin)
        best = APGDResult(x.clone(), loss, hit)
        for _ in range(restarts):
            seed = int(torch.randint(2**62, (1,), generator=generator, device=device))
            best = best.merge_worst(
                random_search(
                    model_queries, x, y, eps=eps, queries=queries, norm=norm, clip=clip, seed=seed
                )
            )
    return best.x_adv


def random_search(
    model_queries: ModelQueries,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    queries: int,
    norm: Norm,
    clip: Clip,
    seed: int,
    stop: bool = False,
) -> APGDResult:
    """One run with the draws of `seed`; nothing is checked. `stop` drops the misclassified."""
    radii = torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x))
    proposal = _SquareProposal(x, radii, norm, clip, seed)
    row = torch.arange(len(x), device=x.device)
    loss, hit, *_ = model_queries.loss_and_misclassified(proposal.at, y, margin)
    found = APGDResult(proposal.at.clone(), loss.clone(), hit.clone())
    for query in range(1, queries):
        if stop and query % _PACK == 1 and bool(hit.any()):
            found.x_adv[row], found.loss[row], found.misclassified[row] = proposal.at, loss, hit
            alive = ~hit
            row, y, loss, hit = row[alive], y[alive], loss[alive], hit[alive]
            if len(row) == 0:
                return found
            proposal.keep(alive)
        proposal.paint(query / queries)
        new_loss, new_hit, *_ = model_queries.loss_and_misclassified(proposal.at, y, margin)
        better = torch.where(new_hit == hit, new_loss > loss, new_hit)
        proposal.undo(~better)
        loss, hit = torch.where(better, new_loss, loss), hit | new_hit
    found.x_adv[row], found.loss[row], found.misclassified[row] = proposal.at, loss, hit
    return found


class _SquareProposal:
    """Repaints one window of each image in place, and puts back what was no gain.

    `at` holds the images, (N, ...), inside ball and box before and after every query. A query
    costs passes over the window, not over the image, as most windows are small.
    """

    def __init__(self, x: Tensor, eps: Tensor, norm: Norm, clip: Clip, seed: int) -> None:
        self.x, self.eps, self.norm, self.clip = x, eps, norm, clip
        self.shape = image_shape(x)
        self.generator = torch.Generator().manual_seed(seed)
        self.order = {"linf": math.inf, "l2": 2, "l1": 1}[norm]
        project = projections.projector(x, eps=eps, norm=norm, clip=clip)
        self.at = project(x + _column(eps.to(x.dtype), x) * self._first()).contiguous()
        self.old: list[tuple[Window, Tensor]] = []
        self._measure()

    def _measure(self) -> None:
        """What depends on x alone."""
        self.clean = self.x.reshape(len(self.x), *self.shape)
        wide = 2 * _column(self.eps.to(self.x.dtype), self.x)
        if self.norm == "linf":  # the lowest and highest pixel, to the float
            project = projections.projector(self.x, eps=self.eps, norm=self.norm, clip=self.clip)
            self.low = project(self.x - wide).reshape(self.clean.shape)
            self.high = project(self.x + wide).reshape(self.clean.shape)
        else:
            self.radius = _inner_radius(self.x, self.eps, self.order)

    def keep(self, which: Tensor) -> None:
        """Go on with those alone."""
        self.x, self.at, self.eps = self.x[which], self.at[which], self.eps[which]
        self._measure()

    def paint(self, done: float) -> None:
        """Repaint one window of every image; `done` is the share of queries spent."""
        size, images = self._size(p_selection(done)), self.at.view(self.clean.shape)
        if self.norm == "linf":
            self._repaint(images, self._window(*size))
        else:
            self._shift(images, size)

    def undo(self, which: Tensor) -> None:
        """Put back what the last query painted over."""
        rows, images = which.nonzero()[:, 0], self.at.view(self.clean.shape)
        for window, old in self.old:
            images[(rows, slice(None), *window)] = old[rows]

    def _first(self) -> Tensor:
        """Vertical stripes of +-1 in linf; a grid of peaks and pits of length 1 in l2 and l1."""
        channels, height, width = self.shape
        if self.norm == "linf":
            delta = self._signs(channels, 1, width).expand(1, *self.shape)
        else:
            delta = self.x.new_zeros(1, *self.shape)
            tall, wide = -(-height // _TILES), -(-width // _TILES)
            for top in range(0, height, tall):
                for left in range(0, width, wide):
                    tile = delta[..., top : top + tall, left : left + wide]
                    tile += peak(*tile.shape[-2:]).to(delta) * self._signs(channels, 1, 1)
            length = projections.lp_distance(delta, delta * 0, self.norm)
            delta = delta / length.reshape(1, 1, 1, 1)
        return delta.reshape(1, *self.x.shape[1:])

    def _repaint(self, images: Tensor, window: Window) -> None:
        """Every channel of the window to +-eps; the other sign where that changes nothing."""
        part, signs = (..., *window), self._signs(self.shape[0], 1, 1)
        old = images[part].clone()
        same = (old - self.clean[part]).sign_().sub_(signs).abs_().amax((1, 2, 3)) == 0
        up = (signs > 0) ^ _column(same, old)
        images[part] = torch.where(up, self.high[part], self.low[part])
        self.old = [(window, old)]

    def _shift(self, images: Tensor, size: tuple[int, int]) -> None:
        """The length of one window, and what eps leaves over, to a new pattern in another.

        The length stays within the radius and clipping only shortens it: no projection is needed.
        """
        to, out = self._window(*size), self._window(*size)
        halves, order = self._halves(*size).to(images), self.order
        pattern = halves * self._signs(self.shape[0], 1, 1)
        total = projections.lp_distance(self.at, self.x, self.norm).reshape(-1, 1, 1, 1)
        self.old = [(window, images[(..., *window)].clone()) for window in (to, out)]
        clean = self.clean[(..., *to)]
        new = images[(..., *to)] - clean
        length = _length(new, order)  # of each channel, as are the others
        images[(..., *to)] = clean
        left = _length(images[(..., *out)] - self.clean[(..., *out)], order)
        images[(..., *out)] = self.clean[(..., *out)]
        spare = (self.radius**order - total**order) / self.shape[0]
        budget = (length**order + left**order + spare).clamp_min(0) ** (1 / order)
        new = pattern + new / length.clamp_min(1e-10)
        new = clean + new / _length(new, order).clamp_min(1e-10) * budget
        images[(..., *to)] = new if self.clip is None else new.clamp(*self.clip)

    def _size(self, part: float) -> tuple[int, int]:
        _, height, width = self.shape
        area = part * height * width
        tall = min(max(round(math.sqrt(area)), 1), height)
        wide = min(max(round(area / tall), 1), width)
        if self.norm != "linf":  # a pattern needs a middle
            tall, wide = max(tall, min(3, height)), max(wide, min(3, width))
        return tall, wide

    def _window(self, tall: int, wide: int) -> Window:
        _, height, width = self.shape
        top, left = self._number(height - tall + 1), self._number(width - wide + 1)
        return slice(top, top + tall), slice(left, left + wide)

    def _halves(self, tall: int, wide: int) -> Tensor:
        """A peak beside a pit, of length 1: section 4, figure 3."""
        pattern = torch.zeros(tall, wide, dtype=torch.float64)
        upright = bool(self._number(2)) if min(tall, wide) > 1 else tall > 1
        canvas = pattern if upright else pattern.T
        middle = canvas.shape[0] // 2
        canvas[:middle] = peak(middle, canvas.shape[1])
        canvas[middle:] = -peak(canvas.shape[0] - middle, canvas.shape[1])
        length: Tensor = torch.linalg.vector_norm(pattern, self.order)
        return pattern / length

    def _number(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self.generator))

    def _signs(self, *shape: int) -> Tensor:
        bits = torch.randint(2, shape, generator=self.generator)
        return (2 * bits - 1).to(self.x)


def image_shape(x: Tensor) -> tuple[int, int, int]:
    """Channels, height and width of a batch's images.

    >>> [image_shape(torch.zeros(2, *size)) for size in ((7,), (4, 5), (3, 4, 5))]
    [(1, 1, 7), (1, 4, 5), (3, 4, 5)]
    """
    if x.ndim <= 3:
        height, width = (1, 1, *x.shape[1:])[-2:]
        return 1, height, width
    return x.shape[1], x.shape[2], math.prod(x.shape[3:])


def p_selection(done: float) -> float:
    """The share of the image that a window covers when `done` of the queries are spent.

    >>> [p_selection(done) for done in (0.0, 0.002, 0.9)]
    [0.8, 0.4, 0.0015625]
    """
    halvings = sum(10_000 * done > at for at in _HALVED_AT)
    return math.ldexp(_FIRST_SHARE, -halvings)


def peak(tall: int, wide: int) -> Tensor:
    """A pile of nested rectangles: the inner the higher (the paper's eta), (tall, wide).

    >>> peak(3, 3)[1].tolist()
    [0.25, 1.25, 0.25]
    """
    rows, columns = torch.arange(tall), torch.arange(wide)
    ring = torch.minimum(
        torch.minimum(rows, tall - 1 - rows)[:, None], torch.minimum(columns, wide - 1 - columns)
    )
    depth = (min(tall, wide) + 1) // 2
    heights = torch.tensor(
        [1 / (depth - k) ** 2 for k in range(depth)], dtype=torch.float64
    ).cumsum(0)
    return heights[ring] if depth else torch.zeros(tall, wide, dtype=torch.float64)


def _inner_radius(x: Tensor, eps: Tensor, order: float) -> Tensor:
    """`eps` less what rounding x + delta to x's dtype can add to the norm, (N, 1, 1, 1)."""
    unit, size = torch.finfo(x.dtype).eps, x[0].numel()
    largest = x.abs().flatten(1).amax(1) + eps
    inner = eps * (1 - 16 * unit) - unit * size ** (1 / order) * largest
    column: Tensor = inner.clamp_min(0).to(x.dtype).reshape(-1, 1, 1, 1)
    return column


def _length(delta: Tensor, order: float) -> Tensor:
    """The norm of every channel of every example, (N, C, 1, 1)."""
    length: Tensor = torch.linalg.vector_norm(delta, order, dim=(-2, -1), keepdim=True)
    return length


def _column(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.device).reshape(-1, *[1] * (like.ndim - 1))
