"""How strongly failures speak against a release: a one-sided e-value. Pure.

Null hypothesis: each device fails with a probability of at most :data:`P0`. The
e-value is a mixture of likelihood ratios over alternatives ``p1`` that are all above
``P0`` (Wald, 1945; Robbins, 1970), so few failures among many devices never add
evidence against a release, as they would with a two-sided mixture:

    E = mean over p1 of (p1 / p0)^k * ((1 - p1) / (1 - p0))^(n - k)

for ``k`` failures of ``n`` devices. By Ville's inequality the probability that it ever
reaches ``1 / alpha``, however often one looks, is at most ``alpha``.

The unit of evidence is one device that reported how its activation ended: devices fail
independently of one another under the null, while the samples of one device do not.
What they do share (one power cut, one broker) is no failure that a release can cause,
and is not counted.
"""

import math

P0 = 0.01
"""Device failures up to this ratio are no reason to stop a release."""
ALPHA = 0.01
"""A release that is no worse than :data:`P0` is stopped in at most this share."""
_ALTERNATIVES = tuple(step / 20 for step in range(1, 17))
"""5, 10, … 80 %: from what a large fleet must find to what a canary does."""


def evalue(failures: int, devices: int) -> float:
    """Return the e-value of ``failures`` among ``devices`` (1: no evidence).

    Infinity is returned as the largest float.
    """
    logs = [
        failures * math.log(p1 / P0)
        + (devices - failures) * math.log((1 - p1) / (1 - P0))
        for p1 in _ALTERNATIVES
    ]
    top = max(logs)
    log_mean = top + math.log(
        math.fsum(math.exp(one - top) for one in logs) / len(logs)
    )
    return math.exp(min(log_mean, 700.0))


def threshold(classes: int = 1) -> float:
    """Return the e-value that stops; ``classes`` share the error by Bonferroni."""
    return max(1, classes) / ALPHA
