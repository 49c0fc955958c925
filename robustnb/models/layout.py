"""Ask a convolutional network in the memory format in which it answers faster.

Convolutions work in two formats: the plain one, in which torch makes weights, and channels-last.
Which is faster depends on the network, the batch and the machine. A network that comes in the
plain format is therefore timed in both, on passes that an attack or a certification makes anyway,
and asked in the faster one from then on. Its weights get their own memory back when the call ends.

The two formats round differently, so the last bits of a result may depend on the choice.
`use_layout("keep")`, or ROBUSTNB_LAYOUT=keep in the environment, asks every network as it comes;
so is a network that is in channels-last already, or whose builder has chosen.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeVar, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustnb.models.modes import Model

Layout = Literal["auto", "keep"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
VARIABLE = "ROBUSTNB_LAYOUT"
_OFTEN = 20  # passes before formats are compared, which costs about two passes
_REPEATS = 4  # timed passes in each format, of which the first warms up
_SHARE = 0.97  # of the plain format's time that channels-last may take to be chosen
_Kind = tuple[object, ...]
_T = TypeVar("_T")

_set: ContextVar[Layout | None] = ContextVar("layout", default=None)
_comparisons: WeakKeyDictionary[nn.Module, dict[_Kind, Comparison]] = WeakKeyDictionary()
_open: WeakKeyDictionary[nn.Module, Weights] = WeakKeyDictionary()
_opening = threading.Lock()


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """Within the block, choose the faster format ("auto") or ask networks as they come ("keep").

    It goes before the environment's ROBUSTNB_LAYOUT, and holds for this thread.

    >>> with use_layout("keep"):
    ...     layout_in_use()
    'keep'
    """
    token = _set.set(_checked(layout, "layout"))
    try:
        yield
    finally:
        _set.reset(token)


def layout_in_use() -> Layout:
    """What `use_layout` says, else the environment's ROBUSTNB_LAYOUT, else "auto"."""
    return _set.get() or _checked(os.environ.get(VARIABLE) or "auto", VARIABLE)


@contextmanager
def fastest_layout(model: Model) -> Iterator[None]:
    """A block in which `in_faster_format` may ask `model` in either format.

    Afterwards, also after an error, each parameter has the memory it had, with the strides it had.
    """
    with contextlib.ExitStack() as block:
        if isinstance(model, nn.Module) and layout_in_use() == "auto":
            if _weights_in_use(model) is not None or _may_choose(model):
                block.enter_context(_weights_of(model))
        yield


@contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """A block with `model` in channels-last; afterwards its weights, as they are by then, have
    the memory and the strides that they had before."""
    with _weights_of(model) as weights:
        weights.put(last=True)
        yield


def in_faster_format(model: Model, x: Tensor, run: Callable[[], _T], *, backward: bool) -> _T:
    """What `run` gives, a pass of `model` over x (N, ...) and, if `backward`, back.

    Inside `fastest_layout`, passes of one kind (image shape, batch size up to a factor of two,
    dtype, device, direction) are made as the model comes at first, then in both formats in turn,
    and in the faster one from then on. Where a model cannot work in channels-last (it takes a
    `view` of its activations, say), `run` is called once more in the plain format.
    """
    weights = _weights_in_use(model)
    if weights is None or x.ndim != 4 or len(x) == 0:
        return run()
    kind = (x.shape[1:], len(x).bit_length(), x.dtype, x.device, backward)
    comparison = weights.comparisons.setdefault(kind, Comparison())
    if comparison.wants_channels_last():
        with contextlib.suppress(Exception):  # a fault of the caller's is raised again below
            weights.put(last=True)
            return comparison.timed(run, x)
        weights.put(last=False)
        result = run()
        comparison.chosen = False
        return result
    weights.put(last=False)
    return comparison.timed(run, x)


def format_in_use(model: Model, x: Tensor) -> torch.memory_format:
    """The format in which `model` is to get its copy of x now."""
    weights = _weights_in_use(model)
    last = weights is not None and weights.last and x.ndim == 4
    return torch.channels_last if last else torch.preserve_format


def is_faster_in_channels_last(model: nn.Module, x: Tensor, run: Callable[[], object]) -> bool:
    """Whether `run`, a step of training on x that changes no weight, takes less time that way.

    It is run a few times in each format. False where the format is not to be chosen.
    """
    if layout_in_use() == "keep" or x.ndim != 4 or not _may_choose(model):
        return False
    comparison = Comparison(after=0)
    with _weights_of(model) as weights:
        while comparison.chosen is None:
            weights.put(last=comparison.wants_channels_last())
            try:
                comparison.timed(run, x)
            except RuntimeError:
                if not weights.last:
                    raise
                return False
    return comparison.chosen


class Comparison:
    """Which format passes of one kind are made in, and the seconds an image took in each."""

    def __init__(self, *, after: int = _OFTEN) -> None:
        """Compare after so many passes in the plain format."""
        self.chosen: bool | None = None
        self._waiting = after
        self._seconds: dict[bool, list[float]] = {False: [], True: []}

    def wants_channels_last(self) -> bool:
        """Whether the next pass is to be made in channels-last."""
        if self.chosen is not None:
            return self.chosen
        return self._waiting == 0 and len(self._seconds[True]) == len(self._seconds[False])

    def timed(self, run: Callable[[], _T], x: Tensor) -> _T:
        """Make the pass, and note its time if the formats are being compared."""
        if self.chosen is not None or self._waiting:
            result = run()
            self._waiting = max(self._waiting - 1, 0)
            return result
        last, started = self.wants_channels_last(), now(x.device)
        result = run()
        self._seconds[last].append((now(x.device) - started) / len(x))
        if all(len(seconds) == _REPEATS for seconds in self._seconds.values()):
            plain, other = (statistics.median(self._seconds[way][1:]) for way in (False, True))
            self.chosen = other <= _SHARE * plain
        return result


class Weights:
    """A model's image weights (four dimensions) in both formats, one of them in use."""

    def __init__(self, model: nn.Module) -> None:
        """The plain format is the model's own memory."""
        self.last, self.users = False, 0
        self.comparisons = _comparisons.setdefault(model, {})
        self._lock = threading.Lock()
        self._parameters = image_weights(model)
        self._own = [weight.data for weight in self._parameters]
        self._other: list[Tensor] = []

    @torch.no_grad()
    def put(self, *, last: bool) -> None:
        """Let the parameters, which stay the same objects, have their values in that format."""
        with self._lock:
            if last == self.last:
                return
            if last and not self._other:
                form = torch.channels_last
                self._other = [own.clone(memory_format=form) for own in self._own]
            memories = self._other if last else self._own
            for weight, memory in zip(self._parameters, memories, strict=True):
                if not torch.equal(weight.data, memory):  # changed since, as training does
                    memory.copy_(weight.data)
                weight.data = memory
            self.last = last


@contextmanager
def _weights_of(model: nn.Module) -> Iterator[Weights]:
    """The weights for a block, one object for all blocks and threads that are in one."""
    with _opening:
        weights = _open.get(model) or _open.setdefault(model, Weights(model))
        weights.users += 1
    try:
        yield weights
    finally:
        with _opening:
            weights.users -= 1
            if weights.users == 0:
                _open.pop(model, None)
                weights.put(last=False)


def _weights_in_use(model: Model) -> Weights | None:
    if not _open or not isinstance(model, nn.Module) or type(model).__hash__ is None:
        return None
    return _open.get(model)


def image_weights(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of four dimensions, such as those of convolutions over images."""
    return [weight for weight in model.parameters() if weight.ndim == 4]


def now(device: torch.device) -> float:
    """Seconds of work so far: of this process on a CPU, where others may run, else by the clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def _may_choose(model: nn.Module) -> bool:
    """Whether it is a network with convolutions that leaves its format to others."""
    weights = image_weights(model)
    return (
        bool(weights)
        and all(map(_is_plain, weights))
        and type(model).__hash__ is not None  # or nothing can be remembered of it
        and not any(map(_is_settled, model.modules()))
    )


def _is_plain(weight: nn.Parameter) -> bool:
    """Whether it is an ordinary dense tensor on CPU or GPU in the plain format."""
    return (
        type(weight) is nn.Parameter
        and weight.layout == torch.strided
        and weight.device.type in ("cpu", "cuda")
        and not weight.is_inference()
        and weight.is_contiguous()
    )


def _is_settled(module: nn.Module) -> bool:
    """Whether its builder chose the format, or it was compiled for the one that it has."""
    return (
        getattr(module, "layout_chosen", False)
        or isinstance(module, torch.jit.ScriptModule)
        or hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
    )


def _checked(layout: str, what: str) -> Layout:
    for known in LAYOUTS:
        if layout == known:
            return known
    raise ValueError(f"{what} must be one of {', '.join(LAYOUTS)}, got {layout!r}")
