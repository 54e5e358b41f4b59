"""A request that is answered with an error, whatever it came over."""

from http import HTTPStatus

from edge_agent.errors import AgentError


class RefusedError(AgentError):
    """Why a request is not carried out (``AGENT-HTTP-…``, ``AGENT-OIP-…``).

    Attributes:
        status: What HTTP answers with; gRPC has a code for each.
        headers: Fields that the answer needs besides, such as ``Allow``.
    """

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        text: str,
        *,
        cure: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Create it from its status, code, text and cure."""
        retryable = status is HTTPStatus.SERVICE_UNAVAILABLE
        super().__init__(code, text, cure=cure, retryable=retryable)
        self.status = status
        self.headers = headers
