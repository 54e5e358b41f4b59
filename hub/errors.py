"""Errors of the hub. Codes start with ``HUB-`` and are never reused."""

from edge_agent.base.exit_codes import ExitCode, ShoalError


class HubError(ShoalError):
    """Base of the hub's errors."""


class NotFoundError(HubError):
    """There is no such device, release, rollout, alert or job."""

    exit_code = ExitCode.NOT_FOUND


class ConflictError(HubError):
    """The present state does not allow this."""

    exit_code = ExitCode.CONFLICT


class RefusedError(HubError):
    """A gate or a check refused it: a bad bundle, a failed gate, a bad signature."""

    exit_code = ExitCode.REFUSED


class DeniedError(HubError):
    """Who asks has no right to it: a wrong, used or expired token."""

    exit_code = ExitCode.AUTH


class TooManyError(HubError):
    """Who asks has had its share for now."""

    exit_code = ExitCode.REFUSED


class UnreachableError(HubError):
    """The broker cannot be reached."""

    exit_code = ExitCode.UNREACHABLE


class WaitTimeoutError(HubError):
    """Something was waited for and did not happen in time."""

    exit_code = ExitCode.TIMEOUT
