"""`ModelRisk`: any twice-differentiable torch model and loss, by forward-over-reverse products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from robustnb.influence.checks import check_theta
from robustnb.influence.forward_mode import jvp, plain_attention
from robustnb.influence.losses import Loss
from robustnb.influence.risk import Decay, EmpiricalRisk
from robustnb.influence.solution import Curvature
from robustnb.models.modes import eval_mode

_NUMBERS = 2**25  # of one forward pass over a chunk, by default at most so many
_COLUMNS = 16  # taken through a chunk at once: each holds the activations of all its examples


def fixed_tensors(model: nn.Module, names: Sequence[str]) -> dict[str, Tensor]:
    """Copies of all parameters and buffers but `names`: the model may be trained on meanwhile."""
    every = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in every if name not in names}


def _by_columns(function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    """A function of a vector at each column of v (p, k), some columns at once."""
    every = vmap(function, in_dims=1, out_dims=1, randomness="same")
    return torch.cat([every(part) for part in torch.split(v, _COLUMNS, dim=1)], dim=1)


class ModelRisk(EmpiricalRisk):
    """The empirical risk of a module in evaluation mode; `names` are the parameters that vary."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        x: Tensor,
        y: Tensor,
        *,
        names: Sequence[str],
        decayed: Mapping[str, bool],
        l2: float = 0.0,
        decay: Decay = "inside",
        chunk_size: int | None = None,
        theta: Tensor | None = None,
        fixed: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Take the parameters as they are now; `robustnb.influence.empirical_risk` is easier."""
        self.model, self.loss, self.x, self.y = model, loss, x, y
        self.l2, self.decay, self.names = l2, decay, tuple(names)
        self._decayed_names = dict(decayed)
        every = dict(model.named_parameters())
        self._shapes = {name: every[name].shape for name in self.names}
        self._fixed = fixed_tensors(model, names) if fixed is None else dict(fixed)
        flat = torch.cat([every[name].detach().reshape(-1) for name in self.names])
        self.theta = flat.clone() if theta is None else theta
        marks = [
            torch.full((shape.numel(),), float(decayed[name])) for name, shape in self._sizes()
        ]
        self.decayed = torch.cat(marks).to(self.theta)
        self.chunk_size = chunk_size or max(1, min(1024, _NUMBERS // max(1, 64 * x[0].numel())))

    def at(self, theta: Tensor) -> ModelRisk:
        """The same risk at other parameters (p,); the model is left as it is."""
        check_theta(self, theta)
        return ModelRisk(
            self.model_module, self.loss, self.x, self.y, names=self.names,
            decayed=self._decayed_names, l2=self.l2, decay=self.decay,
            chunk_size=self.chunk_size, theta=theta, fixed=self._fixed,
        )  # fmt: skip

    @property
    def model_module(self) -> nn.Module:
        """The model as the module that it is."""
        assert isinstance(self.model, nn.Module)
        return self.model

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """The model's outputs for x (m, ...) at theta (p,), by torch.func."""
        parts = torch.split(theta, [shape.numel() for shape in self._shapes.values()])
        chosen = {
            name: part.view(shape) for part, (name, shape) in zip(parts, self._sizes(), strict=True)
        }
        with eval_mode(self.model), plain_attention():
            answer: Tensor = functional_call(
                self.model_module, {**self._fixed, **chosen}, (x.clone(),)
            )
        return answer

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """The losses (m,) of examples, without weight decay."""
        with torch.no_grad():
            return self._losses(self.theta, x, y)

    def data_gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of each loss, (m, p), by vmap over examples."""

        def one(x_i: Tensor, y_i: Tensor) -> Tensor:
            gradient: Tensor = grad(lambda t: self._losses(t, x_i[None], y_i[None]).sum())(
                self.theta
            )
            return gradient

        found: Tensor = vmap(one, randomness="different")(x, y).detach()
        return found

    def data_slopes(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The derivative of each loss along each column of v: (m, k), one forward pass each."""

        def along(direction: Tensor) -> Tensor:
            return jvp(lambda t: self._losses(t, x, y), self.theta, direction)[1]

        return _by_columns(along, v)

    def data_gradient(self) -> Tensor:
        """The mean gradient of the training losses, (p,)."""
        total = torch.zeros_like(self.theta)
        for rows in self.chunks():
            total += grad(self._sum(self.x[rows], self.y[rows]))(self.theta).detach()
        return total / self.n

    def data_product(self, v: Tensor, rows: Tensor | None, curvature: Curvature) -> Tensor:
        """The mean Hessian or Gauss-Newton matrix of the losses times v (p, k)."""
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])
        total = torch.zeros_like(v)
        one = self._hessian_column if curvature == "hessian" else self._gauss_newton_column
        for part in self.chunks(len(y)):
            column: Any = one(x[part], y[part])
            total += _by_columns(column, v).detach()
        return total / len(y)

    def _sizes(self) -> list[tuple[str, torch.Size]]:
        return list(self._shapes.items())

    def _losses(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.loss(self.outputs(theta, x), y)

    def _sum(self, x: Tensor, y: Tensor) -> Any:
        return lambda theta: self._losses(theta, x, y).sum()

    def _hessian_column(self, x: Tensor, y: Tensor) -> Any:
        gradient = grad(self._sum(x, y))
        return lambda v: jvp(gradient, self.theta, v)[1]

    def _gauss_newton_column(self, x: Tensor, y: Tensor) -> Any:
        def column(v: Tensor) -> Tensor:
            def model(theta: Tensor) -> Tensor:
                return self.outputs(theta, x)

            answers, along = jvp(model, self.theta, v)
            slope = grad(lambda z: self.loss(z, y).sum())
            curved = jvp(slope, answers, along)[1]
            back: Tensor = vjp(model, self.theta)[1](curved)[0]
            return back

        return column
