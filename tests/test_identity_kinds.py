"""Kinds of objects, functions and modules that differ in one thing have other descriptions."""

from __future__ import annotations

import collections
import enum
import functools
import re
import sys
import types
import warnings
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from robustnb.identity import describe, settings, weights
from robustnb.identity_code import in_library, names_read
from robustnb.identity_modules import is_compiled
from robustnb.identity_tree import without
from robustnb.models.fingerprint import facts_of

X = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))


def of_class(**members):
    return type("Model", (), members)()


def wrapped(scale):
    @functools.wraps(torch.nn.functional.relu)
    def function(x):
        return scale * x

    return function


def with_attribute(scale):
    def function(x):
        return function.scale * x

    function.scale = scale
    return function


class Pipeline(list):
    def __call__(self, x):
        return x


class Backwards(list):
    def __call__(self, x):
        return -x


class Base:
    __slots__ = ("__scale", "open")

    def __init__(self, scale, shown):
        self.__scale, self.open = scale, shown


class Derived(Base):
    pass


class Descriptor:
    def __init__(self, value):
        self.value = value

    def __get__(self, owner, kind=None):
        return self.value


class Forwarding(nn.Module):
    """Passes unknown names on to a module that torch.compile made."""

    def __init__(self, scale):
        super().__init__()
        self.net, self.scale = torch.compile(nn.Identity(), backend="eager"), scale

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x * self.scale


def scripted(scale):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Sequential(Scaled(scale)))


def parametrized(scale):
    torch.manual_seed(0)
    kind = type("Linear", (nn.Linear,), {"scale": scale, "__module__": "users"})
    return torch.nn.utils.parametrizations.weight_norm(kind(2, 2))


def teacher(train):
    net = nn.Sequential(nn.Dropout(0.5)).train(train)
    return lambda x: net(x)


def metaclass(value):
    kind = type("Meta", (type,), {"__call__": lambda cls: value, "__module__": "users"})
    return kind("Model", (), {})


MAKES = {
    "wraps of a library's function": wrapped,
    "a function's attribute": with_attribute,
    "a library's closure": lambda v: get_ema_multi_avg_fn(v / 4),
    "a bound method of C code": lambda v: {0: v}.get,
    "a tensor's method": lambda v: torch.tensor([v]).matmul,
    "a cached property": lambda v: of_class(k=functools.cached_property(lambda self: v)),
    "a cached method": lambda v: of_class(k=functools.lru_cache(lambda self: v)),
    "a partial method": lambda v: of_class(k=functools.partialmethod(lambda self, a: a, v)),
    "a descriptor": lambda v: of_class(k=Descriptor(v)),
    "a bound method in a class": lambda v: of_class(k=types.MethodType(lambda self: self, v)),
    "a metaclass": metaclass,
    "a user's class below a library's": parametrized,
    "slots of a base class": lambda v: Derived(v, 0),
    "a list's class": lambda v: (Pipeline if v == 1.0 else Backwards)([1]),
    "a list's items": lambda v: Pipeline([v]),
    "a named tuple": lambda v: collections.namedtuple(f"Pair{v:.0f}", "a")(1),
    "an enumeration": lambda v: enum.Enum("Level", {"high": v}).high,
    "a default factory": lambda v: collections.defaultdict(lambda: v),
    "the order of keys": lambda v: dict(sorted({"a": 1, "b": 2}.items(), reverse=v == 1.0)),
    "the type of a key": lambda v: {1 if v == 1.0 else "1": 0},
    "a module that forwards names": Forwarding,
    "a scripted attribute": scripted,
    "the mode of a teacher": lambda v: teacher(v == 1.0),
    "a queue": lambda v: collections.deque([v], maxlen=2),
    "the length of a queue": lambda v: collections.deque([1], maxlen=int(v)),
    "a masked array": lambda v: np.ma.array([1.0, 2.0], mask=[v == 1.0, v == 2.0]),
    "a sparse tensor": lambda v: torch.tensor([v, 0.0]).to_sparse(),
    "a pattern": lambda v: re.compile(str(v)),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_what_differs_in_one_value_has_another_description(make):
    assert describe(make(1.0)) != describe(make(2.0))
    assert describe(make(1.0)) == describe(make(1.0))


def layers(*, frozen=False, again=False, tied=False):
    torch.manual_seed(0)
    first, relu, second = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)
    second.load_state_dict(first.state_dict())
    first.requires_grad_(not frozen)
    if tied:
        second.weight = first.weight
    return nn.Sequential(first, relu, second, *([relu] if again else []))


@pytest.mark.parametrize("change", ["frozen", "again", "tied"])
def test_frozen_shared_and_tied_layers_count(change):
    plain, other = layers(), layers(**{change: True})
    assert settings(plain) != settings(other) == settings(layers(**{change: True}))
    if change != "again":
        assert weights(plain) == weights(other)


READS = {
    "by name": "def f(): return conf_.LR",
    "from its package": "def f(): return package_.conf_.LR",
    "imported within": "def f():\n from package_.conf_ import LR\n return LR",
    "imported whole": "def f():\n import package_.conf_ as c\n return c.LR",
    "by another name": "def f():\n c = conf_\n return c.LR",
    "by getattr": "def f(): return getattr(conf_, 'LR')",
    "as a default": "def f(c=conf_): return c.LR",
}


@pytest.mark.parametrize("code", READS.values(), ids=READS)
def test_what_a_function_reads_in_a_users_module_counts(code, tmp_path, monkeypatch):
    (tmp_path / "package_").mkdir()
    (tmp_path / "package_" / "__init__.py").touch()
    (tmp_path / "package_" / "conf_.py").write_text("LR = 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        scope = {"__name__": "users"}
        exec("import package_.conf_\nfrom package_ import conf_\n" + code, scope)
        before = describe(scope["f"])
        assert describe(scope["f"]) == before
        scope["conf_"].LR = 0.1
        assert describe(scope["f"]) != before
    finally:
        for name in ("package_", "package_.conf_"):
            sys.modules.pop(name, None)


def test_a_counter_falls_out_and_what_stands_beside_it_counts():
    class Counting:
        def __init__(self, eps):
            self.eps, self.calls, self.sizes = eps, 0, {}

        def __call__(self, x):
            self.calls += 1
            self.sizes[len(x)] = True
            return x

    def facts(counting):
        return facts_of(lambda x: counting(x), X)

    used = Counting(0.1)
    first = facts_of(used, X)
    used(X)
    assert facts_of(used, X) == first
    assert facts(Counting(0.1)) == facts(Counting(0.1)) != facts(Counting(0.2))
    assert without({"a:keys": 2, "a[0]": 1, "b": 1}, {"a:keys"}) == {"b": 1}


def test_a_value_that_is_filled_at_first_use_is_the_same_model():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.mask, self.other = None, weakref.ref(nn.ReLU)

        def forward(self, x):
            self.mask = torch.ones(4) if self.mask is None else self.mask
            return x * self.mask

    model = Lazy()
    assert facts_of(model, X) == facts_of(model, X) == facts_of(Lazy(), X)


def test_compiled_functions_and_traced_modules_go_by_what_they_were_made_from():
    def double(x):
        return 2 * x

    again = [torch.compile(double, backend="eager") for _ in range(2)]
    assert describe(again[0]) == describe(again[1]) == describe(double)
    assert is_compiled(torch.compile(nn.ReLU(), backend="eager")) and not is_compiled(nn.ReLU())
    traced = [torch.fx.symbolic_trace(Scaled(scale)) for scale in (1.0, 1.0, 2.0)]
    assert settings(traced[0]) == settings(traced[1]) != settings(traced[2])
    exported = [torch.export.export(Scaled(s), (X,)).module() for s in (1.0, 1.0, 2.0)]
    assert settings(exported[0]) == settings(exported[1]) != settings(exported[2])


def test_an_object_that_answers_no_name_can_be_read():
    kind = type("Closed", (), {"__getattr__": lambda self, name: {}[name], "__slots__": ("a",)})
    assert describe(kind()) == describe(kind())


def test_libraries_are_known_and_a_module_read_twice_is_there_once():
    assert in_library("torch.nn") and in_library("sys") and not in_library("__main__")
    assert names_read((lambda: (X, X)).__code__, globals()).keys() == {"X"}
