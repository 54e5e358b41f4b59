"""Models behind the Open Inference Protocol without an interpreter: sums of rows."""

import numpy as np

from edge_agent.errors import AgentError, SampleRejectedError, WorkerError
from edge_agent.serve.oip.messages import TensorMetadata
from edge_agent.serve.oip.port import ServedModel
from edge_agent.serve.oip.request import InferRequest
from edge_agent.serve.oip.response import Answer

NAME = "sums"
LABELS = ("low", "high")


class SumModels:
    """Serves releases 3 and 2 of ``sums``: a row of three numbers in, two out.

    A NaN is rejected as a sample; a first number of 13 is a bug in the worker.
    """

    def __init__(self) -> None:
        """Know no labels yet."""
        self.told: list[tuple[str, str]] = []
        self.is_ready = True

    def served(self) -> list[ServedModel]:
        """Return both releases."""
        return [
            ServedModel(
                name=NAME,
                release=release,
                inputs=(TensorMetadata(name="x", datatype="FP32", shape=[-1, 3]),),
                outputs=(TensorMetadata(name="sum", datatype="FP32", shape=[-1, 2]),),
            )
            for release in (3, 2)
        ]

    def ready(self) -> bool:
        """Tell what the test wants told."""
        return self.is_ready

    def infer(self, model: ServedModel, release: int, request: InferRequest) -> Answer:
        """Return each row's sum, and minus that."""
        x = request.inputs[0].array()
        if np.isnan(x).any():
            raise SampleRejectedError("not_finite", "sample holds NaN")
        if x.size and x.flat[0] == 13:
            raise RuntimeError("a bug")
        sums = x.reshape(len(x), -1).sum(axis=1, dtype=np.float32)
        return Answer(
            model=model.name,
            version=str(release or 3),
            outputs={"sum": np.stack([sums, -sums], axis=1)},
            labels=LABELS,
            parameters={"served_by": "active", "release": release or 3},
        )

    def feedback(self, sample_id: str, label: str) -> None:
        """Remember a label; one of another worker is not known."""
        if sample_id == "unknown":
            raise self.lost()
        self.told.append((sample_id, label))

    def metrics(self) -> str:
        """Return one figure."""
        return "sums_total 1\n"

    @staticmethod
    def lost() -> AgentError:
        """Return what a worker says that cannot find a sample."""
        return WorkerError("AGENT-WORKER-999", "no such sample")
