"""Stand-in nets: a multilayer perceptron of 24 hidden units, in NumPy, from a seed.

They stand for what a device runs where only the answers matter. Trained with Adam on
cross entropy (or squared error), a fifth of the samples noisy, as real nets differ:
two seeds are two equally good releases that do not agree on every sample.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.perf.evidence.streams import Floats, Source

UNITS = 24
EPOCHS = 25
BATCH = 64
RATE = 0.01
NOISE_SD = 0.1

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """Weights; ``mean`` and ``scale`` normalize the features."""

    mean: Floats
    scale: Floats
    weights: tuple[Doubles, Doubles, Doubles, Doubles]

    def hidden(self, x: Floats) -> Doubles:
        """Return the hidden layer's activations ``(n, 24)``."""
        first, bias, _, _ = self.weights
        return np.maximum(((x - self.mean) / self.scale) @ first + bias, 0.0)

    def raw(self, x: Floats) -> Doubles:
        """Return the last layer's numbers ``(n, outputs)``."""
        _, _, second, bias = self.weights
        return self.hidden(x) @ second + bias

    def probabilities(self, x: Floats) -> Doubles:
        """Return class probabilities ``(n, classes)``."""
        return softmax(self.raw(x))


def softmax(raw: Doubles) -> Doubles:
    """Return the softmax of each row."""
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def train_classifier(
    sources: list[Source], classes: int, seed: int, *, epochs: int = EPOCHS
) -> Net:
    """Train on every sample of sources (each ``step``-th row)."""
    x = np.concatenate([source.x[:: source.step] for source in sources])
    y = np.concatenate([source.y[:: source.step] for source in sources])
    return _train(x, np.eye(classes)[y], seed, epochs, is_classifier=True)


def train_regression(x: Floats, y: Floats, seed: int, *, epochs: int = EPOCHS) -> Net:
    """Train on rows ``(n, features)`` and numbers ``(n,)``."""
    return _train(x, y[:, np.newaxis].astype(float), seed, epochs, is_classifier=False)


def _train(
    x: Floats, target: Doubles, seed: int, epochs: int, *, is_classifier: bool
) -> Net:
    rng = np.random.default_rng(seed)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    rows = ((x - mean) / scale).astype(float)
    outputs = target.shape[1]
    weights = [
        rng.normal(0, (2 / rows.shape[1]) ** 0.5, (rows.shape[1], UNITS)),
        np.zeros(UNITS),
        rng.normal(0, UNITS**-0.5, (UNITS, outputs)),
        np.zeros(outputs),
    ]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(rows))
        for start in range(0, len(rows) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            noisy = rows[chosen] + rng.normal(0, NOISE_SD, (BATCH, rows.shape[1]))
            slopes = _slopes(
                weights, noisy, target[chosen], is_classifier=is_classifier
            )
            step += 1
            _adam(weights, moments, slopes, step)
    first, bias, second, last = weights
    return Net(mean=mean, scale=scale, weights=(first, bias, second, last))


def _slopes(
    weights: list[Doubles], x: Doubles, target: Doubles, *, is_classifier: bool
) -> list[Doubles]:
    first, bias, second, last = weights
    hidden = np.maximum(x @ first + bias, 0.0)
    raw = hidden @ second + last
    error = ((softmax(raw) if is_classifier else raw) - target) / len(x)
    back = (error @ second.T) * (hidden > 0)
    return [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]


def _adam(
    weights: list[Doubles],
    moments: list[tuple[Doubles, Doubles]],
    slopes: list[Doubles],
    step: int,
) -> None:
    """Move by Adam (Kingma and Ba, 2015), in place."""
    for place, slope in enumerate(slopes):
        one, two = moments[place]
        one = one + 0.1 * (slope - one)
        two = two + 0.001 * (slope**2 - two)
        moments[place] = one, two
        mean, square = one / (1 - 0.9**step), two / (1 - 0.999**step)
        weights[place] = weights[place] - RATE * mean / (np.sqrt(square) + 1e-8)
