"""What the inverse-Hessian solvers refuse, with the way out in the message."""

from __future__ import annotations

from robustnb.errors import RobustnbError

_SINGULAR = 1e-6  # damping that a matrix needs which is singular but for rounding


class NegativeCurvatureError(RobustnbError, ArithmeticError):
    """The damped matrix is not positive definite; `curvature` is the value that shows it."""

    def __init__(self, curvature: float, damping: float) -> None:
        """Say how much damping would do, if the curvature is that of the worst direction."""
        self.curvature = curvature
        enough = damping + max(2 * abs(curvature), _SINGULAR)
        super().__init__(
            f"the matrix with damping {damping:g} has curvature {curvature:.3g} <= 0 in some "
            f"direction, so it has no inverse to speak of. Train nearer to a minimum, pass "
            f"curvature='gauss_newton', or more damping: {enough:.3g} if this is the worst "
            "direction (robustnb.influence.extreme_eigenvalues measures it)"
        )


class NotConvergedError(RobustnbError, ArithmeticError):
    """A solver stopped before its tolerance; `residual` is the relative residual it reached."""

    def __init__(self, solver: str, residual: float, advice: str) -> None:
        """Say how far it came and what would help."""
        self.residual = residual
        super().__init__(f"{solver} stopped at relative residual {residual:.3g}; {advice}")
