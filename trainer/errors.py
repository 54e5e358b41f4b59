"""Errors of the trainer. Codes start with ``TRAINER-`` and are never reused."""

from edge_agent.base.exit_codes import ExitCode, ShoalError


class TrainerError(ShoalError):
    """Base of the trainer's errors."""


class DataError(TrainerError):
    """Data that is missing, damaged or not what it should be."""


class JobError(TrainerError):
    """A job file that cannot be carried out."""

    exit_code = ExitCode.USAGE


class GateRefusedError(TrainerError):
    """The gate refused the candidate."""

    exit_code = ExitCode.REFUSED
