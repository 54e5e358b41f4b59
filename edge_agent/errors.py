"""Errors of the device.

Expected outcomes (a release that fails its self-test) are values, not exceptions; an
exception means that an operation could not be carried out.
"""

from edge_agent.base.exit_codes import ExitCode, ShoalError


class AgentError(ShoalError):
    """Base of the device's errors; codes start with ``AGENT-``."""


class ModelError(AgentError):
    """A model that cannot be loaded or run (``AGENT-MODEL-…``)."""


class SampleRejectedError(AgentError):
    """A sample that fails a quality check; it is counted, never inferred.

    Attributes:
        reason: ``shape``, ``dtype``, ``not_finite``, ``range``, ``stuck`` or
            ``inputs``.
    """

    def __init__(self, reason: str, text: str) -> None:
        """Create the error from its reason and text."""
        super().__init__("AGENT-SAMPLE-001", text)
        self.reason = reason


class UpdateError(AgentError):
    """A release that cannot be fetched, verified or activated (``AGENT-UPDATE-…``)."""


class StoreError(AgentError):
    """The state folder cannot be read or written (``AGENT-STORE-…``)."""


class LinkError(AgentError):
    """The broker cannot be reached or refuses the device (``AGENT-LINK-…``)."""

    exit_code = ExitCode.UNREACHABLE


class EnrolError(AgentError):
    """The device cannot get its certificate (``AGENT-ENROL-…``)."""


class WorkerError(AgentError):
    """The inference worker does not answer in time (``AGENT-WORKER-…``)."""

    exit_code = ExitCode.UNREACHABLE


class RingError(AgentError):
    """A ring of own inputs that cannot be used (``AGENT-EVIDENCE-…``)."""
