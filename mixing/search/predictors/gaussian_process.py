"""A Gaussian process on powers of the weights, and draws from its posterior that can be climbed.

Kernel: scale² · k(|x − x'| / length) + linear² · u·u' + noise² on the diagonal, where x and u are the weights to a
power (√α for the specification's `robust`; α^¾ and α serve best in searches: docs/log.md) and k is Matérn-5/2 or
squared exponential. The four hyperparameters maximise the posterior under log-normal priors, with exact gradients.

Draws are pathwise: a prior function from random features, moved onto the data by the kernel (Wilson et al. 2020); each
is one smooth function, so it can be evaluated and differentiated anywhere. Functions are climbed in z = √α, where the
simplex is a piece of the sphere and its edges are no special places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from mixing.search.mixtures.arrays import F64, I64, Rng
from mixing.search.mixtures.space import Space

Kernel = Literal["matern", "rbf"]
_ROOT5 = float(np.sqrt(5.0))
_JITTER = 1e-8
_FEATURES = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelParameters:
    """Of the kernel, in units of the standardised target and of the features."""

    scale: float
    length: float
    linear: float
    noise: float

    @property
    def logs(self) -> F64:
        """Their logarithms, in this order."""
        return np.asarray(np.log([self.scale, self.length, self.linear, self.noise]), dtype=np.float64)


#: what is believed before any run: smooth functions, and noise of a quarter of the scores' deviation
SMOOTH = KernelParameters(scale=2.0, length=2.0, linear=0.3, noise=0.25)


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianProcess:
    """Fits a process.

    Args:
        kernel: `matern` (5/2) or `rbf`.
        power: of the weights in the stationary part.
        linear_power: of the weights in the linear part (default: `power`).
        medians: of the hyperparameters' log-normal priors.
        widths: deviations of their logarithms: scale, length, linear, noise.
    """

    kernel: Kernel = "matern"
    power: float = 0.75
    linear_power: float | None = None
    medians: KernelParameters = SMOOTH
    widths: tuple[float, float, float, float] = (1.0, 0.7, 1.0, 0.7)

    def fit(self, weights: F64, targets: F64, rng: Rng) -> FittedProcess:
        """Fit to all rows; draws nothing from `rng`."""
        process = FittedProcess(self, weights, targets)
        process.learn()
        return process


def covariance_between(settings: GaussianProcess, hyper: KernelParameters, left: F64, right: F64) -> F64:
    """The prior covariance of the noiseless function at mixtures (m, k) and (n, k); shape (m, n)."""
    linear = settings.power if settings.linear_power is None else settings.linear_power
    distance = _distance(left**settings.power, right**settings.power) / hyper.length
    near = hyper.scale**2 * _kernel(settings.kernel, distance)[0]
    return np.asarray(near + hyper.linear**2 * (left**linear @ (right**linear).T), dtype=np.float64)


def _kernel(kind: Kernel, distance: F64) -> tuple[F64, F64, F64]:
    """k(d), its derivative by the logarithm of the length, and −k'(d) / d."""
    if kind == "rbf":
        value = np.exp(-0.5 * distance * distance)
        return value, distance * distance * value, value
    scaled = _ROOT5 * distance
    decay = np.exp(-scaled)
    slope = (1.0 + scaled) * decay
    return (1.0 + scaled + scaled * scaled / 3.0) * decay, scaled * scaled / 3.0 * slope, 5.0 / 3.0 * slope


def _distance(left: F64, right: F64) -> F64:
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1) - 2.0 * left @ right.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)), dtype=np.float64)


class FittedProcess:
    """A process and the runs that it has seen; n runs, k groups."""

    def __init__(self, settings: GaussianProcess, weights: F64, targets: F64) -> None:
        self.settings = settings
        self.weights = weights
        self.targets = targets
        self.linear_power = settings.power if settings.linear_power is None else settings.linear_power
        self.features = weights**settings.power
        self.linear_features = weights**self.linear_power
        self._distance = _distance(self.features, self.features)
        self._products = self.linear_features @ self.linear_features.T
        self.log_evidence = -np.inf
        self.hyper = settings.medians

    def learn(self) -> None:
        """Find the hyperparameters, and condition on the runs."""
        start, widths = self.settings.medians.logs, np.array(self.settings.widths)
        bounds = list(zip(start - 4 * widths, start + 4 * widths, strict=True))
        found = minimize(
            self.negative_log_posterior, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50}
        )
        self.condition(np.asarray(found.x, dtype=np.float64))

    def condition(self, logs: F64) -> None:
        """Take hyperparameters, as logarithms of scale, length, linear, noise."""
        scale, length, linear, noise = (float(value) for value in np.exp(logs))
        self.hyper = KernelParameters(scale=scale, length=length, linear=linear, noise=noise)
        covariance = scale**2 * _kernel(self.settings.kernel, self._distance / length)[0] + linear**2 * self._products
        covariance[np.diag_indices(len(self.targets))] += noise**2 + _JITTER
        self.factor: F64 = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        self.residuals = self.solve(self.targets)
        self.log_evidence = self._log_likelihood(self.factor, self.residuals)

    def _log_likelihood(self, factor: F64, residuals: F64) -> float:
        size = len(self.targets)
        logs = float(np.log(np.diag(factor)).sum())
        return -0.5 * float(self.targets @ residuals) - logs - 0.5 * size * float(np.log(2 * np.pi))

    def negative_log_posterior(self, logs: F64) -> tuple[float, F64]:
        """Of the hyperparameters (as logarithms), up to a constant; with its gradient."""
        scale, length, linear, noise = np.exp(2.0 * logs[[0, 0, 2, 3]])
        value, by_length, _ = _kernel(self.settings.kernel, self._distance * np.exp(-logs[1]))
        near, straight = scale * value, linear * self._products
        covariance = near + straight
        covariance[np.diag_indices(len(self.targets))] += noise + _JITTER
        factor, failed = dpotrf(covariance, lower=1)
        if failed:
            return 1e10, np.zeros(4)
        residuals = cho_solve((factor, True), self.targets, check_finite=False)
        lower = np.tril(dpotri(factor, lower=1)[0])
        inverse = lower + np.tril(lower, -1).T
        pull = 0.5 * (inverse - np.outer(residuals, residuals))
        gradient = np.array(
            [
                2.0 * np.vdot(pull, near),
                length * np.vdot(pull, by_length),
                2.0 * np.vdot(pull, straight),
                2.0 * noise * np.trace(pull),
            ]
        )
        widths = np.array(self.settings.widths)
        off = (logs - self.settings.medians.logs) / widths
        negative = -self._log_likelihood(factor, residuals) + 0.5 * float(off @ off)
        return negative, gradient + off / widths

    def solve(self, right: F64) -> F64:
        """The covariance's inverse times `right`."""
        return np.asarray(cho_solve((self.factor, True), right, check_finite=False), dtype=np.float64)

    def mean_function(self) -> Functions:
        """The posterior mean as one function."""
        return Functions(self, self.residuals[:, None], None)

    def variance_and_gradient(self, roots: F64) -> tuple[F64, F64]:
        """The posterior variance of the noiseless function at points √α (m, k), and its gradient; (m,) and (m, k)."""
        scale, slant = self.hyper.scale**2, self.hyper.linear**2
        points, bend = _powered(roots, 2.0 * self.settings.power)
        lines, line_bend = _powered(roots, 2.0 * self.linear_power)
        value, _, slope = _kernel(self.settings.kernel, _distance(points, self.features) / self.hyper.length)
        cross = scale * value + slant * (lines @ self.linear_features.T)
        pulls = self.solve(cross.T).T
        variance = scale + slant * (lines * lines).sum(axis=1) - (cross * pulls).sum(axis=1)
        weighed = scale / self.hyper.length**2 * slope * pulls
        near = weighed @ self.features - weighed.sum(axis=1, keepdims=True) * points
        straight = slant * (lines - pulls @ self.linear_features)
        return np.maximum(variance, 1e-10), 2.0 * straight * line_bend - 2.0 * near * bend

    def members(self, weights: F64) -> F64:
        """The posterior mean; shape (1, m)."""
        return self.mean_function().values(np.sqrt(weights)).T

    def covariance(self, weights: F64) -> F64:
        """The posterior covariance of the noiseless function at mixtures (m, k); shape (m, m)."""
        prior = covariance_between(self.settings, self.hyper, weights, weights)
        cross = covariance_between(self.settings, self.hyper, weights, self.weights)
        return np.asarray(prior - cross @ self.solve(cross.T), dtype=np.float64)

    @property
    def held_out(self) -> F64:
        """The leave-one-out predictions, in closed form."""
        inverse = self.solve(np.eye(len(self.targets)))
        return np.asarray(self.targets - self.residuals / np.diag(inverse), dtype=np.float64)

    def draw(self, count: int, rng: Rng, features: int = _FEATURES) -> Functions:
        """`count` functions from the posterior, which share their random features but not their coefficients."""
        groups = self.weights.shape[1]
        frequencies = rng.standard_normal((groups, features))
        if self.settings.kernel == "matern":
            frequencies /= np.sqrt(rng.chisquare(5.0, features) / 5.0)
        waves = Waves(
            frequencies=frequencies / self.hyper.length,
            phases=rng.uniform(0.0, 2.0 * np.pi, features),
            heights=self.hyper.scale * np.sqrt(2.0 / features) * rng.standard_normal((features, count)),
            slopes=self.hyper.linear * rng.standard_normal((groups, count)),
        )
        prior = np.cos(self.features @ waves.frequencies + waves.phases) @ waves.heights
        prior += self.linear_features @ waves.slopes
        noise = self.hyper.noise * rng.standard_normal(prior.shape)
        return Functions(self, self.solve(self.targets[:, None] - prior - noise), waves)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Waves:
    """Functions of the prior: sums of waves with common frequencies (k, f) and heights (f, j) of their own."""

    frequencies: F64
    phases: F64
    heights: F64
    slopes: F64


class Functions:
    """j smooth functions of z = √α: the kernel's pulls (n, j) towards the runs, on top of waves."""

    def __init__(self, process: FittedProcess, pulls: F64, waves: Waves | None) -> None:
        self._process = process
        self._pulls = pulls
        self._waves = waves
        hyper = process.hyper
        self._slopes = hyper.linear**2 * (process.linear_features.T @ pulls)
        if waves is not None:
            self._slopes = self._slopes + waves.slopes

    @property
    def count(self) -> int:
        """j."""
        return int(self._pulls.shape[1])

    def values(self, roots: F64) -> F64:
        """All functions at m points (m, k), given as √α; shape (m, j)."""
        process, hyper = self._process, self._process.hyper
        points = roots ** (2.0 * process.settings.power)
        distance = _distance(points, process.features) / hyper.length
        found = hyper.scale**2 * (_kernel(process.settings.kernel, distance)[0] @ self._pulls)
        found += roots ** (2.0 * process.linear_power) @ self._slopes
        if self._waves is not None:
            found += np.cos(points @ self._waves.frequencies + self._waves.phases) @ self._waves.heights
        return np.asarray(found, dtype=np.float64)

    def value_and_gradient(self, roots: F64, which: I64) -> tuple[F64, F64]:
        """Function `which[i]` at point i, and its gradient by √α; shapes (m,) and (m, k)."""
        process, hyper = self._process, self._process.hyper
        points, bend = _powered(roots, 2.0 * process.settings.power)
        lines, line_bend = _powered(roots, 2.0 * process.linear_power)
        value, _, slope = _kernel(process.settings.kernel, _distance(points, process.features) / hyper.length)
        pulls, slopes = self._pulls[:, which].T, self._slopes[:, which].T
        found = hyper.scale**2 * (value * pulls).sum(axis=1) + (lines * slopes).sum(axis=1)
        weighed = (hyper.scale / hyper.length) ** 2 * slope * pulls
        gradient = weighed @ process.features - weighed.sum(axis=1, keepdims=True) * points
        if self._waves is not None:
            angles = points @ self._waves.frequencies + self._waves.phases
            heights = self._waves.heights[:, which].T
            found = found + (np.cos(angles) * heights).sum(axis=1)
            gradient = gradient - (np.sin(angles) * heights) @ self._waves.frequencies.T
        return found, gradient * bend + slopes * line_bend


def _powered(roots: F64, power: float) -> tuple[F64, F64]:
    """Points to a power of at least 1, and the derivative."""
    return roots**power, power * roots ** (power - 1.0)


class Climbable(Protocol):
    """Smooth functions of √α."""

    def value_and_gradient(self, roots: F64, which: I64) -> tuple[F64, F64]:
        """Function `which[i]` at point i, and its gradient."""
        ...


def climb(functions: Climbable, space: Space, roots: F64, which: I64, *, steps: int = 30) -> tuple[F64, F64]:
    """Steps uphill along the sphere of √α, below the caps, from each start (m, k).

    Each start has a step length of its own, which grows after a gain and shrinks after a loss.

    Returns:
        The points reached, as √α, and their values.
    """
    values, gradients = functions.value_and_gradient(roots, which)
    length = np.full(len(roots), 0.05)
    for _ in range(steps):
        tangent = gradients - (gradients * roots).sum(axis=1, keepdims=True) * roots
        tangent = np.where((roots <= 0.0) & (tangent < 0.0), 0.0, tangent)
        unit = tangent / (np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12)
        moved = np.maximum(roots + length[:, None] * unit, 0.0)
        moved = np.sqrt(space.project(moved * moved))
        new_values, new_gradients = functions.value_and_gradient(moved, which)
        better = new_values > values
        roots = np.where(better[:, None], moved, roots)
        gradients = np.where(better[:, None], new_gradients, gradients)
        values = np.where(better, new_values, values)
        length = length * np.where(better, 1.4, 0.4)
        if bool((length < 1e-4).all()):
            break
    return roots, values
