"""Models without an interpreter that can be held at a sample."""

import threading

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.pipeline.prediction import (
    Given,
    Prediction,
    Sample,
    rule_prediction,
)

WAIT_S = 10.0


class Held:
    """A predictor that is held at its first sample, and notes the order of all."""

    def __init__(self) -> None:
        """Hold."""
        self.order: list[float] = []
        self.threads: list[threading.Thread] = []
        self.arrived = threading.Event()
        self.go_on = threading.Event()
        self.closed = False

    def predict(self, sample: Given) -> Prediction:
        """Answer once it may; a negative sample fails."""
        self.threads.append(threading.current_thread())
        self.arrived.set()
        self.go_on.wait(WAIT_S)
        assert not self.closed
        value = value_of(sample)
        self.order.append(value)
        if value < 0:
            raise ModelError("AGENT-MODEL-003", "model failed")
        return rule_prediction(f"{value:g}")

    def close(self) -> None:
        """Take note."""
        self.closed = True


def value_of(sample: Given) -> float:
    """Return the only number of a sample."""
    assert isinstance(sample, np.ndarray)
    return float(sample[0])


def sample_of(value: float) -> Sample:
    """Return a sample of one number."""
    return np.array([value], np.float32)
