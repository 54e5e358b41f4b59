"""What the protocol needs of whoever has the models: the worker, or a test's double."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from edge_agent.serve.oip.messages import ModelMetadata, TensorMetadata
from edge_agent.serve.oip.refusal import RefusedError
from edge_agent.serve.oip.request import InferRequest
from edge_agent.serve.oip.response import Answer

PLATFORM = "tflite_flatbuffer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One release that can be asked. Its number is the protocol's version."""

    name: str
    release: int
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class Models(Protocol):
    """The models of one device; any thread may ask."""

    def served(self) -> Sequence[ServedModel]:
        """Return what is loaded: the active release, then the one before."""
        ...

    def ready(self) -> bool:
        """Tell whether a sample would be answered now."""
        ...

    def infer(self, model: ServedModel, release: int, request: InferRequest) -> Answer:
        """Answer a request that names ``model``.

        Args:
            model: What the name stands for.
            release: The only release that may answer; 0: whichever the ladder finds.
            request: Its tensors are not decoded yet.

        Raises:
            AgentError: It is refused, or nothing can answer.
        """
        ...

    def feedback(self, sample_id: str, label: str) -> None:
        """Take the true label of an earlier sample; twice is the same as once.

        Raises:
            AgentError: The sample is not known (any more), or the label is none.
        """
        ...

    def metrics(self) -> str:
        """Return the worker's figures as Prometheus reads them."""
        ...


def find_model(models: Models, name: str, version: str) -> tuple[ServedModel, int]:
    """Return the model of a name, and the release that is asked for (0: any).

    Args:
        models: Where to look.
        name: The model's name.
        version: A release's number; empty: any.

    Raises:
        RefusedError: Nothing of that name or version is loaded (``AGENT-OIP-004``).
    """
    served = models.served()
    for model in served:
        if model.name == name and version in {"", str(model.release)}:
            return model, model.release if version else 0
    known = ", ".join(f"{model.name} version {model.release}" for model in served)
    what = f"model {name!r}" + (f" version {version!r}" if version else "")
    raise RefusedError(
        HTTPStatus.NOT_FOUND,
        "AGENT-OIP-004",
        f"{what} is not loaded",
        cure=f"loaded: {known}"[:512] if known else "no release is active yet",
    )


def describe(models: Models, model: ServedModel) -> ModelMetadata:
    """Return what the protocol tells of a model, with all versions of its name."""
    same = (one for one in models.served() if one.name == model.name)
    return ModelMetadata(
        name=model.name,
        versions=[str(one.release) for one in same],
        platform=PLATFORM,
        inputs=list(model.inputs),
        outputs=list(model.outputs),
    )
