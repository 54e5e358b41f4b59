"""Whether a request may be answered at all: whose host, which page, what token. Pure.

A page in the device's browser can reach loopback too. It names itself in ``Origin``,
and one that has taken a name of its own for 127.0.0.1 shows that name in ``Host``.
"""

from dataclasses import dataclass
from http import HTTPStatus

from edge_agent.base.loopback import is_loopback
from edge_agent.serve.oip.http1 import Head
from edge_agent.serve.oip.refusal import RefusedError

BEARER = "bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who is let in.

    ``token`` is what every request must carry (empty: nothing). ``loopback_names``:
    ``Host`` must be a name of this machine, as for a TCP port without a token.
    """

    token: bytes = b""
    loopback_names: bool = False

    def check(self, head: Head) -> None:
        """Let a request in.

        Raises:
            RefusedError: ``AGENT-HTTP-013`` it comes from a web page or for another
                host; ``AGENT-HTTP-012`` it does not have the token.
        """
        fields = head.fields
        if "origin" in fields:
            raise _forbidden("requests of web pages are not answered")
        if self.loopback_names and not is_loopback(_host(fields.get("host", ""))):
            raise _forbidden("the field Host does not name this machine")
        self.check_token(fields.get("authorization", ""))

    def check_token(self, authorization: str) -> None:
        """Let in who has the token, if one is asked for.

        Raises:
            RefusedError: ``AGENT-HTTP-012``: the credentials are not the token.
        """
        if self.token and not self.knows(authorization):
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "AGENT-HTTP-012",
                "this needs the field `Authorization: Bearer TOKEN`",
                cure="the token is in the file that api.token_file names",
                headers=(("WWW-Authenticate", "Bearer"),),
            )

    def knows(self, authorization: str) -> bool:
        """Tell whether credentials are the token, in a time that says nothing."""
        import hmac  # It loads OpenSSL, 3.5 MiB that few devices need here.

        scheme, given = authorization[: len(BEARER)], authorization[len(BEARER) :]
        same = hmac.compare_digest(given.strip().encode(), self.token)
        return same and scheme.lower() == BEARER


def _host(field: str) -> str:
    """Return the host of a ``Host`` field, without its port."""
    if field.startswith("["):
        return field[1:].partition("]")[0]
    return field.partition(":")[0].lower()


def _forbidden(text: str) -> RefusedError:
    return RefusedError(HTTPStatus.FORBIDDEN, "AGENT-HTTP-013", text)
