"""Muon for the matrices inside the blocks, Adam for everything else."""

from __future__ import annotations

import numpy as np

from kvtui.core.layers import Array

# Quintic Newton-Schulz coefficients, and momentum 0.95: Jordan et al. 2024, "Muon: an optimizer for hidden layers".
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5
MUON_MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-8


def orthogonalise(matrix: Array) -> Array:
    """The nearest matrix with all singular values near 1 (between 0.7 and 1.2), by Newton-Schulz iteration."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (np.linalg.norm(x) + 1e-7)  # every singular value at most 1, where the iteration converges
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x


def is_hidden_matrix(name: str) -> bool:
    """Whether Muon updates this parameter: the projections inside the blocks."""
    return name.startswith("blocks.") and name.endswith(".weight")


def state_names(name: str) -> tuple[str, ...]:
    """What the optimizer keeps for a parameter: one running average for Muon, two for Adam."""
    return (f"muon.{name}",) if is_hidden_matrix(name) else (f"adam.first.{name}", f"adam.second.{name}")


class Optimizer:
    """Updates parameters in place.

    ``state`` holds the running averages under ``muon.NAME``, ``adam.first.NAME`` and ``adam.second.NAME``; with it
    and the number of steps done, a run continues exactly.
    """

    def __init__(self, parameters: dict[str, Array], weight_decay: float) -> None:
        self.parameters = parameters
        self.weight_decay = weight_decay
        self.state: dict[str, Array] = {}
        for name, parameter in parameters.items():
            for state in state_names(name):
                self.state[state] = np.zeros_like(parameter)

    def step(self, gradients: dict[str, Array], step: int, muon_rate: float, adam_rate: float) -> None:
        """One update; ``step`` counts from 1 (Adam's bias correction needs it)."""
        for name, parameter in self.parameters.items():
            if is_hidden_matrix(name):
                self._muon(name, parameter, gradients[name], muon_rate)
            else:
                self._adam(name, parameter, gradients[name], adam_rate, step)

    def _muon(self, name: str, parameter: Array, gradient: Array, rate: float) -> None:
        momentum = self.state[f"muon.{name}"]
        momentum += (1 - MUON_MOMENTUM) * (gradient - momentum)
        ahead = gradient + MUON_MOMENTUM * (momentum - gradient)  # Nesterov
        rows, columns = parameter.shape
        parameter *= 1.0 - rate * self.weight_decay
        parameter -= rate * max(1.0, columns / rows) ** 0.5 * orthogonalise(ahead)

    def _adam(self, name: str, parameter: Array, gradient: Array, rate: float, step: int) -> None:
        first, second = self.state[f"adam.first.{name}"], self.state[f"adam.second.{name}"]
        beta1, beta2 = ADAM_BETAS
        first += (1 - beta1) * (gradient - first)
        second += (1 - beta2) * (gradient * gradient - second)
        corrected = np.sqrt(second / (1 - beta2**step)) + ADAM_EPSILON
        parameter -= (rate / (1 - beta1**step)) * first / corrected


def clip(gradients: dict[str, Array], largest_norm: float) -> float:
    """Scale all gradients together so that their joint norm is at most ``largest_norm``; returns the previous norm."""
    norm = float(np.sqrt(sum(float(np.vdot(gradient, gradient)) for gradient in gradients.values())))
    if norm > largest_norm:
        for gradient in gradients.values():
            gradient *= largest_norm / norm
    return norm
