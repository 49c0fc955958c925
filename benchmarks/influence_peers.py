"""The influence of every training image by us and by peers, for benchmarks/influence.py.

Each method takes a problem (data, weights, and what is added to the Hessian) and returns scores
(m, n) in the paper's sign. A peer gets the loosest setting that keeps Pearson and slope within
0.001 of 1 for softmax regression, where it has one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from robustnb.influence import CG, EmpiricalRisk, empirical_risk, up_loss
from robustnb.models import build

PRODUCTS = 200  # at most
DATTRI_PRODUCTS = 30  # it does not look at its residual; 20 leave slopes of 1.003
NETWORK_CHUNK = 100  # images at once, for every method: more of them leave the cache
State = dict[str, Tensor]
Given = dict[str, Any]


def is_softmax(state: State) -> bool:
    return set(state) == {"1.weight", "1.bias"}


def model_of(state: State) -> nn.Module:
    """Softmax regression with a bias, or the network, by the names of its weights."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model = linear if is_softmax(state) else build("tanh_cnn")
    model = model.to(next(iter(state.values())).dtype)
    model.load_state_dict(state)
    return model


def risk_of(state: State, x: Tensor, y: Tensor, l2: float = 0.0) -> EmpiricalRisk:
    return empirical_risk(
        model_of(state), cross_entropy_each, x, y, l2=l2, decay="outside",
        chunk_size=None if is_softmax(state) else NETWORK_CHUNK,
    )  # fmt: skip


def cross_entropy_each(logits: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(logits, y, reduction="none")


def ours(given: Given) -> Tensor:
    risk = risk_of(given["state"], given["x"], given["y"])
    return up_loss(
        risk, given["x_test"], given["y_test"], solver=CG(tol=1e-2), damping=given["added"]
    )


def published_loop(given: Given) -> Tensor:
    """As in the paper's code: fmin_ncg for one test point after the other, then every gradient."""
    import numpy as np
    from scipy.optimize import fmin_ncg

    model = model_of(given["state"])
    parameters = list(model.parameters())
    x, y = given["x"], given["y"]

    def gradient(images: Tensor, labels: Tensor, graph: bool = False) -> Tensor:
        loss = cross_entropy(model(images), labels)
        parts = torch.autograd.grad(loss, parameters, create_graph=graph)
        return torch.cat([part.reshape(-1) for part in parts])

    def product(v: np.ndarray) -> np.ndarray:
        t = torch.from_numpy(v).float()
        inner = gradient(x, y, graph=True) @ t
        parts = torch.autograd.grad(inner, parameters)
        return (torch.cat([p.reshape(-1) for p in parts]) + given["added"] * t).double().numpy()

    rows = []
    for image, label in zip(given["x_test"], given["y_test"], strict=True):
        v = gradient(image[None], label[None]).double().numpy()
        s = fmin_ncg(
            f=lambda t, v=v: 0.5 * t @ product(t) - v @ t,
            x0=v,
            fprime=lambda t, v=v: product(t) - v,
            fhess_p=lambda _, p: product(p),
            avextol=1e-8,
            maxiter=100,
            disp=False,
        )
        one = torch.from_numpy(s).float()
        rows.append(torch.stack([-(gradient(x[i : i + 1], y[i : i + 1]) @ one)
                                 for i in range(len(y))]))  # fmt: skip
    return torch.stack(rows)


def pydvl(given: Given) -> Tensor:
    from pydvl.influence.torch import CgInfluence

    model = model_of(given["state"])
    loader = DataLoader(TensorDataset(given["x"], given["y"]), batch_size=given["chunk"])
    method = CgInfluence(
        model, cross_entropy, regularization=given["added"], rtol=3e-2, atol=1e-6, maxiter=PRODUCTS,
        solve_simultaneously=True,
    ).fit(loader)  # fmt: skip
    factors = method.influence_factors(given["x_test"], given["y_test"])
    parts = [method.influences_from_factors(factors, x, y) for x, y in loader]
    return -torch.cat(parts, 1).detach()


def dattri(given: Given) -> Tensor:
    from dattri.algorithm.influence_function import IFAttributorCG
    from dattri.task import AttributionTask

    model = model_of(given["state"])

    def loss(parameters: State, pair: tuple[Tensor, Tensor]) -> Tensor:
        image, label = pair
        return cross_entropy(torch.func.functional_call(model, parameters, image), label)

    task = AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())
    method = IFAttributorCG(task, max_iter=DATTRI_PRODUCTS, regularization=given["added"])
    train = TensorDataset(given["x"], given["y"])
    test = TensorDataset(given["x_test"], given["y_test"])
    whole = DataLoader(train, batch_size=len(train))  # it solves anew for each batch
    method.cache(whole)
    found = method.attribute(whole, DataLoader(test, batch_size=len(test)))
    return -found.T.detach()


def dattri_without_graph(given: Given) -> Tensor:
    """dattri keeps the autograd graph of all products; here it need not."""
    with torch.no_grad():
        return dattri(given)


def captum(given: Given) -> Tensor:
    """Arnoldi keeps a hundred eigenvectors; the summed Hessian takes n times the decay."""
    from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction

    model = model_of(given["state"])
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save(model.state_dict(), file.name)
        method = ArnoldiInfluenceFunction(
            model, TensorDataset(given["x"], given["y"]), file.name,
            loss_fn=nn.CrossEntropyLoss(reduction="none"), batch_size=given["chunk"],
            projection_dim=100, arnoldi_dim=200, arnoldi_tol=1e-6,
            hessian_reg=given["added"] * len(given["y"]),
            checkpoints_load_func=lambda net, path: net.load_state_dict(torch.load(path)) and 1.0,
        )  # fmt: skip
        found = method.influence((given["x_test"], given["y_test"]))
    return -found * len(given["y"])


METHODS: dict[str, Callable[[Given], Tensor]] = {
    "robustnb": ours,
    "published loop": published_loop,
    "pyDVL": pydvl,
    "dattri": dattri,
    "dattri, no graph": dattri_without_graph,
    "captum Arnoldi": captum,
}
