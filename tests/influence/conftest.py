"""Small strictly convex problems in float64, minimised to 1e-12."""

from __future__ import annotations

import pytest
import torch

from robustnb.influence import LinearClassifier, cross_entropy, empirical_risk, fit_risk

N, D = 120, 5


def make_risk(kind="binary", *, l2=0.05, decay="inside", linear="auto", minimised=True, n=N,
              loss=cross_entropy, dtype=torch.float64, **settings):  # fmt: skip
    """Logistic ("binary", no bias) or softmax ("softmax", with bias) regression on noise."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(n, D, generator=generator, dtype=torch.float64).to(dtype)
    if kind == "binary":
        y = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
        model = LinearClassifier(D)
    else:
        y = torch.randint(0, 3, (n,), generator=generator)
        model = LinearClassifier(D, classes=3, bias=True)
    risk = empirical_risk(
        model.to(dtype), loss, x, y, l2=l2, decay=decay, linear=linear, **settings
    )
    return fit_risk(risk, tol=1e-12) if minimised else risk


def smooth_network(generator, *, hidden=4):
    """A small tanh network of two layers in float64, its weights drawn from the generator."""
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(D, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 3)
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return net


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=["binary", "softmax"])
def risk(request):
    return make_risk(request.param)


@pytest.fixture
def network_risk(generator):
    x = torch.randn(30, D, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (30,), generator=generator)
    return empirical_risk(smooth_network(generator), cross_entropy, x, y, l2=0.01)
