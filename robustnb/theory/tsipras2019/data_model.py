"""The law of Tsipras et al. 2019, eq. (3): one strong feature and many weak ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from robustnb.generators import check_rng
from robustnb.scalars import real, whole

Floats = NDArray[np.float64]


def phi(t: float) -> float:
    """The standard normal distribution function; 0 and 1 at the infinities."""
    return float(stats.norm.cdf(t))


@dataclass(frozen=True)
class DataModel:
    """y is -1 or +1 alike; x_1 = y with probability p, else -y; x_2, ..., x_{d+1} ~ N(eta y, 1).

    p in [1/2, 1), d >= 1 weak features, eta >= 0. With z = (x_2 + ... + x_{d+1}) / sqrt(d) a linear
    rule that weighs the weak features alike is sign(w_1 x_1 + v z), and z ~ N(y strength, 1).
    """

    p: float
    d: int
    eta: float

    def __post_init__(self) -> None:
        """Take numbers of any kind as plain ones, and refuse what is no such law."""
        object.__setattr__(self, "d", whole("d", self.d, hint="; it counts the weak features"))
        for name in ("p", "eta"):
            object.__setattr__(self, name, real(name, getattr(self, name)))
        if not 0.5 <= self.p < 1:
            raise ValueError(f"p must lie in [0.5, 1), got {self.p}; it is the share with x_1 = y")
        if not (self.eta >= 0 and math.isfinite(self.eta)):
            raise ValueError(f"eta must be finite and at least 0, got {self.eta}")

    @classmethod
    def of_strength(cls, p: float, d: int, strength: float) -> DataModel:
        """The law with eta = strength / sqrt(d)."""
        return cls(p, d, strength / math.sqrt(d))

    @property
    def strength(self) -> float:
        """eta sqrt(d), the mean of z given y = 1."""
        return self.eta * math.sqrt(self.d)

    def sample(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        """n draws: x (n, d + 1) and y (n,) of -1 and +1."""
        check_rng(rng)
        n = whole("n", n, least=0)
        y = rng.choice([-1.0, 1.0], size=n)
        strong = np.where(rng.random(n) < self.p, y, -y)
        weak = rng.standard_normal((n, self.d)) + self.eta * y[:, None]
        return np.column_stack([strong, weak]), y

    def shift(self, x: Floats, y: Floats, *, eps: float) -> Floats:
        """The adversary of the proof: each weak feature moves by -eps y, x_1 stays; (n, d + 1)."""
        moved: Floats = x - eps * y[:, None]
        moved[:, 0] = x[:, 0]
        return moved

    def linear_accuracy(self, w_1: float, v: float, *, eps: float = 0.0) -> float:
        """Accuracy of sign(w_1 x_1 + v z) in the worst case of an linf ball of radius eps.

        The adversary takes eps (|w_1| + sqrt(d) |v|) off the margin. A score of 0 is an error.
        """
        lost = eps * (abs(w_1) + math.sqrt(self.d) * abs(v))
        right = w_1 + v * self.strength - lost
        wrong = -w_1 + v * self.strength - lost
        if v == 0:
            return self.p * (right > 0) + (1 - self.p) * (wrong > 0)
        return self.p * phi(right / abs(v)) + (1 - self.p) * phi(wrong / abs(v))

    def shifted_accuracy(
        self, weights: Floats, *, eps: float = 0.0, signs: Floats | float = 1.0
    ) -> float:
        """Accuracy of sign(weights . x), any weights (d + 1,), after weak features moved.

        The weak feature i moves by -eps y signs_i, as `shift` does for signs of 1; (d,) or one.
        """
        w_1, weak = float(weights[0]), weights[1:]
        moved = self.eta - eps * np.broadcast_to(np.asarray(signs, dtype=float), weak.shape)
        mean, spread = float(weak @ moved), float(np.linalg.norm(weak))
        if spread == 0:
            return self.p * (w_1 > 0) + (1 - self.p) * (w_1 < 0)
        right, wrong = (mean + w_1) / spread, (mean - w_1) / spread
        return self.p * phi(right) + (1 - self.p) * phi(wrong)

    def bayes_rule(self) -> tuple[float, float]:
        """(w_1, v) of the rule of highest standard accuracy: the log odds log(p/(1-p)), 2 strength.

        The score w_1 x_1 + v z is the logarithm of the odds of y = 1.
        """
        return math.log(self.p / (1 - self.p)), 2 * self.strength

    def threshold_accuracies(self, u: float) -> tuple[float, float]:
        """Standard and robust accuracy of: +1 iff z > -u where x_1 = 1, and iff z > u elsewhere.

        Robust against every linf perturbation of radius 2 eta < 1 that leaves the sign of x_1.
        """
        k = self.strength
        standard = self.p * phi(k + u) + (1 - self.p) * phi(k - u)
        robust = self.p * phi(u - k) + (1 - self.p) * phi(-u - k)
        return standard, robust
