"""Predictions to an address: POST, JSON, a deadline, a bounded number of attempts.

A receiver that is not there, or says 408, 429 or 5xx, is tried again with jitter; any
other answer than 2xx is final. The notice's id is its ``Idempotency-Key``. Redirects
and proxies are not followed: the address in the configuration is the one that is meant.
The token is read for each request, so that it can be changed without a restart.
"""

import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent.base.backoff import Backoff
from edge_agent.config_flows import WebhookSink
from edge_agent.serve.sinks.port import Notice

if TYPE_CHECKING:
    import httpx

RETRY_FIRST_S, RETRY_MAX_S = 0.5, 30.0
MAX_TOKEN = 4096
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_OK = range(200, 300)


class WebhookDelivery:
    """Posts notices; one thread uses it."""

    def __init__(self, config: WebhookSink, folder: Path) -> None:
        """Prepare; nothing is connected yet. Paths are relative to ``folder``."""
        self.problem = ""
        self._config = config
        self._folder = folder
        self._client: httpx.Client | None = None
        self._random = random.SystemRandom()

    def deliver(self, notice: Notice, stop: threading.Event) -> bool:
        """Post one; false when it was refused or the attempts are used up."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        for attempt in range(self._config.attempts):
            if attempt and stop.wait(backoff.next_s(self._random.random())):
                return False
            self.problem, is_final = self._post(notice)
            if is_final:
                break
        return not self.problem

    def _post(self, notice: Notice) -> tuple[str, bool]:
        """Return what is wrong (empty: it was taken), and whether that is final."""
        import httpx

        try:
            answer = self._open().post(
                self._config.url,
                content=msgspec.json.encode(notice),
                headers=self._headers(notice),
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return f"{self._config.url}: {str(error) or type(error).__name__}", False
        if answer.status_code in _OK:
            return "", True
        text = f"{self._config.url} answers {answer.status_code}"
        return text, answer.status_code not in _AGAIN

    def _open(self) -> "httpx.Client":
        if self._client is None:
            import ssl

            import httpx

            ca = self._config.ca
            context = ssl.create_default_context(
                cafile=str(self._folder / ca) if ca else None
            )
            self._client = httpx.Client(
                verify=context, timeout=self._config.timeout_s, trust_env=False
            )
        return self._client

    def _headers(self, notice: Notice) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": notice.id}
        if self._config.token_file:
            path = self._folder / self._config.token_file
            with path.open(encoding="ascii") as file:
                headers["Authorization"] = f"Bearer {file.read(MAX_TOKEN).strip()}"
        return headers
