"""`LinearRisk`: generalised linear models, where every product is two matrix products.

The outputs are W f + b with features f (n, d); the parameters in order are W (c, d), row by row,
then b (c,). Softmax and logistic regression, linear SVMs, and the last layer of any network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from robustnb.influence.checks import check_index, check_test, check_theta
from robustnb.influence.forward_mode import jvp
from robustnb.influence.losses import Loss
from robustnb.influence.risk import Decay, EmpiricalRisk, Preconditioner
from robustnb.influence.solution import Curvature
from robustnb.scalars import whole

_NUMBERS = 2**23  # of the intermediate outputs (rows, classes, columns) of a chunk
_SAVED = 20  # iterations of CG that the preconditioner is taken to save
_EIGENVALUES_FLOOR = 1e-12


class LinearClassifier(nn.Module):
    """Scores (N,) if `classes` is None, else logits (N, classes), linear in x flattened.

    The weights start at zero: a convex problem needs no random start.
    """

    def __init__(self, inputs: int, *, classes: int | None = None, bias: bool = False) -> None:
        """A linear map from `inputs` numbers per example."""
        super().__init__()
        inputs, classes = whole("inputs", inputs), classes and whole("classes", classes)
        self.classes = classes
        self.linear = nn.Linear(inputs, classes or 1, bias=bias)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Scores or logits of x (N, ...)."""
        found: Tensor = self.linear(x.flatten(1))
        return found[:, 0] if self.classes is None else found


class LinearRisk(EmpiricalRisk):
    """The empirical risk of W f + b on features (n, d) that `featurize` makes of examples."""

    def __init__(
        self,
        features: Tensor,
        loss: Loss,
        x: Tensor,
        y: Tensor,
        *,
        theta: Tensor,
        classes: int | None,
        bias: bool,
        decayed: Tensor,
        featurize: Callable[[Tensor], Tensor],
        l2: float = 0.0,
        decay: Decay = "inside",
        chunk_size: int | None = None,
    ) -> None:
        """`classes` None means one score an example; see `robustnb.influence.empirical_risk`."""
        self.features, self.loss, self.x, self.y = features, loss, x, y
        self.theta, self.decayed, self.l2, self.decay = theta, decayed, l2, decay
        self.classes, self.bias, self.featurize = classes, bias, featurize
        self.c, self.d = classes or 1, features.shape[1]
        self.chunk_size = chunk_size or max(256, _NUMBERS // (10 * self.c))
        self.model = self._answer

    def at(self, theta: Tensor) -> LinearRisk:
        """The same risk at other parameters (p,); the features are shared."""
        check_theta(self, theta)
        return self._with(self.x, self.y, self.features, theta)

    def replaced(self, index: Tensor, x: Tensor, y: Tensor | None = None) -> LinearRisk:
        """The same risk at theta with the training points `index` (k,) replaced by x (and y)."""
        index = check_index(index, self.n, device=self.y.device)
        check_test(self, x, self.y[index] if y is None else y)
        new_x, features, new_y = self.x.clone(), self.features.clone(), self.y.clone()
        new_x[index] = x
        with torch.no_grad():
            features[index] = self.featurize(x)
        if y is not None:
            new_y[index] = y
        return self._with(new_x, new_y, features, self.theta)

    def relabelled(self, y: Tensor) -> LinearRisk:
        """The same risk at theta with other labels (n,)."""
        check_test(self, self.x, y)
        return self._with(self.x, y, self.features, self.theta)

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """The losses (m,) of examples, without weight decay."""
        with torch.no_grad():
            return self.loss(self._answer(x), y)

    def outputs_of(self, features: Tensor) -> Tensor:
        """The scores (m,) or logits (m, c) of features (m, d)."""
        with torch.no_grad():
            return self._z(features, self.theta)

    def training_losses(self) -> Tensor:
        """The losses (n,) of the training points, from their features."""
        with torch.no_grad():
            return self.loss(self._z(self.features, self.theta), self.y)

    def data_gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of each loss, (m, p)."""
        with torch.no_grad():
            return self.feature_gradients(self.featurize(x), y)

    def feature_gradients(self, features: Tensor, y: Tensor) -> Tensor:
        """As `data_gradients`, of features (m, d)."""
        slope = self._slope(self._z(features, self.theta), y)
        parts = [(slope[:, :, None] * features[:, None, :]).flatten(1)]
        return torch.cat([*parts, slope] if self.bias else parts, dim=1)

    def data_slopes(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The derivative of each loss along each column of v: (m, k)."""
        return self.feature_slopes(v, self.featurize(x), y)

    def feature_slopes(self, v: Tensor, features: Tensor, y: Tensor) -> Tensor:
        """As `data_slopes`, of features (m, d)."""
        slope = self._slope(self._z(features, self.theta), y)
        along = self._along(features, v)
        found: Tensor = torch.einsum("mc,mkc->mk", slope, along)
        return found

    def data_gradient(self) -> Tensor:
        """The mean gradient of the training losses, (p,)."""
        return self.gradients_at(self.theta[:, None])[:, 0]

    def gradients_at(self, thetas: Tensor) -> Tensor:
        """The mean gradient of the training losses at each column of thetas (p, k): (p, k)."""
        total = torch.zeros_like(thetas)
        for rows in self.row_chunks(thetas.shape[1]):
            slope = self._slopes_at(self.features[rows], self.y[rows], thetas)
            total += self._back(self.features[rows], slope)
        return total / self.n

    def gradients_of(self, index: Tensor, thetas: Tensor) -> Tensor:
        """The gradient of training point index[j] (k,) at column j of thetas (p, k): (p, k)."""
        features, y = self.features[index], self.y[index]
        weight, shift = self._split(thetas)  # (k, c, d), (k, c)
        z = torch.einsum("kcd,kd->kc", weight, features) + shift
        slope = self._slope(z if self.classes is not None else z[:, 0], y)
        outer = (slope[:, :, None] * features[:, None, :]).flatten(1)
        return (torch.cat([outer, slope], 1) if self.bias else outer).T

    def losses_at(self, thetas: Tensor, features: Tensor, y: Tensor) -> Tensor:
        """The losses (k, m) of features (m, d) at each column of thetas (p, k)."""
        z = self._along(features, thetas).transpose(0, 1)  # (k, m, c)
        z = z if self.classes is not None else z[..., 0]
        return torch.stack([self.loss(each, y) for each in z])

    def data_product(self, v: Tensor, rows: Tensor | None, curvature: Curvature) -> Tensor:
        """The mean Hessian of the losses times v (p, k); the Gauss-Newton matrix is the same."""
        features, y = (self.features, self.y) if rows is None else (
            self.features[rows], self.y[rows])  # fmt: skip
        total = torch.zeros_like(v)
        for part in self.row_chunks(v.shape[1], len(y)):
            f = features[part]
            curved = self._curved(self._z(f, self.theta), y[part], self._along(f, v))
            total += self._back(f, curved)
        return total / len(y)

    def sample_products(self, v: Tensor, rows: Tensor, curvature: Curvature) -> Tensor:
        """As `data_product`, each column of v with its own examples rows[j] (k, b), at once."""
        k, b = rows.shape
        features, y = self.features[rows], self.y[rows].flatten(0, 1)  # (k, b, d)
        weight, shift = self._split(v)
        along = torch.einsum("kbd,kcd->kbc", features, weight) + shift[:, None]
        z = self._z(features.flatten(0, 1), self.theta)
        curved = self._curved(z, y, along.reshape(k * b, 1, self.c)).view(k, b, self.c)
        outer = torch.einsum("kbc,kbd->kcd", curved, features).flatten(1)
        found = torch.cat([outer, curved.sum(1)], 1) if self.bias else outer
        return found.T / b

    def matrix(self, curvature: Curvature = "hessian") -> Tensor:
        """H (p, p), one product of features for each pair of classes."""
        blocks = torch.zeros(self.c, self.c, self.d + 1, self.d + 1).to(self.theta)
        rows_at_once = max(256, _NUMBERS // (self.d + 1))
        for start in range(0, self.n, rows_at_once):
            rows = slice(start, start + rows_at_once)
            f = torch.cat([self.features[rows], torch.ones_like(self.features[rows, :1])], 1)
            bent = self.output_curvature(self.features[rows], self.y[rows])
            for i in range(self.c):
                for j in range(i + 1):
                    blocks[i, j] += f.T @ (bent[:, i, j, None] * f)
        for i in range(self.c):
            for j in range(i):
                blocks[j, i] = blocks[i, j]
        return self._assembled(blocks / self.n) + torch.diag(self.l2 * self.decayed)

    def output_curvature(self, features: Tensor, y: Tensor) -> Tensor:
        """The second derivative of each loss in the outputs, (m, c, c)."""
        z = self._z(features, self.theta)
        eye = torch.eye(self.c).to(z).expand(len(y), self.c, self.c)
        return self._curved(z, y, eye)

    def output_slope(self, features: Tensor, y: Tensor) -> Tensor:
        """The derivative of each loss in the outputs, (m, c)."""
        return self._slope(self._z(features, self.theta), y)

    def preconditioner(self, damping: float, columns: int) -> Preconditioner | None:
        """The mean output curvature times the features' second moment, if it pays."""
        # the second moment costs n d^2; an iteration of CG 4 n c d a column, with it 4 c d^2 more
        if self.d + 1 > 4 * _SAVED * self.c * columns or self.d > self.n:
            return None
        return KroneckerInverse(self, damping)

    def row_chunks(self, columns: int, count: int | None = None) -> list[slice]:
        """Slices of the examples such that their outputs for all columns stay small."""
        count = self.n if count is None else count
        step = min(self.chunk_size, max(64, _NUMBERS // (self.c * max(1, columns))))
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    def with_bias(self, features: Tensor) -> Tensor:
        """Features (m, d), with a column of ones if there is a bias."""
        return torch.cat([features, torch.ones_like(features[:, :1])], 1) if self.bias else features

    def _with(self, x: Tensor, y: Tensor, features: Tensor, theta: Tensor) -> LinearRisk:
        return LinearRisk(
            features, self.loss, x, y, theta=theta, classes=self.classes, bias=self.bias,
            decayed=self.decayed, featurize=self.featurize, l2=self.l2, decay=self.decay,
            chunk_size=self.chunk_size,
        )  # fmt: skip

    def _answer(self, x: Tensor) -> Tensor:
        return self._z(self.featurize(x), self.theta)

    def _split(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Columns (p, k) as weights (k, c, d) and biases (k, c)."""
        size = self.c * self.d
        weight = v[:size].T.reshape(-1, self.c, self.d)
        shift = v[size:].T if self.bias else torch.zeros(weight.shape[:2]).to(v)
        return weight, shift

    def _along(self, features: Tensor, v: Tensor) -> Tensor:
        """The outputs (m, k, c) of features (m, d) with each column of v (p, k) as parameters."""
        weight, shift = self._split(v)
        flat = features @ weight.reshape(-1, self.d).T
        return flat.view(len(features), -1, self.c) + shift

    def _z(self, features: Tensor, theta: Tensor) -> Tensor:
        z = self._along(features, theta[:, None])[:, 0]
        return z if self.classes is not None else z[:, 0]

    def _slope(self, z: Tensor, y: Tensor) -> Tensor:
        """The derivative (m, c) of each loss in its outputs."""
        found: Tensor = grad(lambda outputs: self.loss(outputs, y).sum())(z)
        return found.view(len(y), self.c)

    def _slopes_at(self, features: Tensor, y: Tensor, thetas: Tensor) -> Tensor:
        """The derivatives (m, k, c) of the losses in the outputs at each column of thetas."""
        z = self._along(features, thetas)
        z = z if self.classes is not None else z[..., 0]
        slope: Tensor = vmap(self._slope, in_dims=(1, None), out_dims=1)(z, y)
        return slope

    def _curved(self, z: Tensor, y: Tensor, along: Tensor) -> Tensor:
        """The second derivative of each loss in its outputs times along (m, k, c): (m, k, c)."""
        slope = grad(lambda outputs: self.loss(outputs, y).sum())
        shaped = along if self.classes is not None else along[..., 0]

        def one(direction: Tensor) -> Tensor:
            return jvp(slope, z, direction)[1]

        found: Tensor = vmap(one, in_dims=1, out_dims=1)(shaped)
        return found.reshape(along.shape)

    def _back(self, features: Tensor, slope: Tensor) -> Tensor:
        """The sum over examples of slope (m, k, c) times features (m, d), as columns (p, k)."""
        k = slope.shape[1]
        outer = (slope.flatten(1).T @ features).view(k, self.c * self.d)
        return (torch.cat([outer, slope.sum(0)], 1) if self.bias else outer).T

    def _assembled(self, blocks: Tensor) -> Tensor:
        """Blocks (c, c, d + 1, d + 1), the last feature being the bias's one, as (p, p)."""
        d, size = self.d, self.c * self.d
        weights = blocks[:, :, :d, :d].permute(0, 2, 1, 3).reshape(size, size)
        if not self.bias:
            return weights
        cross = blocks[:, :, :d, d].permute(0, 2, 1).reshape(size, self.c)
        corner = blocks[:, :, d, d]
        return torch.cat([torch.cat([weights, cross], 1), torch.cat([cross.T, corner], 1)], 0)


class KroneckerInverse(Preconditioner):
    """(A x S + (l2 + damping) I)^-1 with A the mean output curvature, S the second moment."""

    def __init__(self, risk: LinearRisk, damping: float) -> None:
        """Diagonalise both factors once."""
        self.c, self.d, self.bias = risk.c, risk.d, risk.bias
        moment = torch.zeros(self.d + risk.bias, self.d + risk.bias).to(risk.theta)
        bent = torch.zeros(self.c, self.c).to(risk.theta)
        for rows in risk.row_chunks(1):
            f = risk.with_bias(risk.features[rows])
            moment += f.T @ f
            bent += risk.output_curvature(risk.features[rows], risk.y[rows]).sum(0)
        self.a, self.left = torch.linalg.eigh(bent / risk.n)
        self.s, self.right = torch.linalg.eigh(moment / risk.n)
        scale = self.a.clamp(min=0)[:, None] * self.s.clamp(min=0)
        least = max(risk.l2 + damping, _EIGENVALUES_FLOOR * float(scale.max()))
        self.inverse = 1 / (scale + (least or 1.0))  # 1 where there is no curvature at all

    def __call__(self, v: Tensor) -> Tensor:
        """The approximate inverse times columns v (p, k)."""
        size = self.c * self.d
        blocks = v[:size].T.reshape(-1, self.c, self.d)
        if self.bias:
            blocks = torch.cat([blocks, v[size:].T[:, :, None]], 2)
        turned = self.left.T @ blocks @ self.right
        blocks = self.left @ (turned * self.inverse) @ self.right.T
        flat = blocks[:, :, : self.d].flatten(1)
        return (torch.cat([flat, blocks[:, :, self.d]], 1) if self.bias else flat).T
