"""uvicorn's HTTP/1.1 protocol, which tells the gate what each connection waits for."""

import asyncio
import time

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hub.api.gate import Gate, Held, Phase


class GatedProtocol(H11Protocol):
    """One connection. :func:`gated_protocol` gives it its gate."""

    gate: Gate
    _held: Held | None = None
    _answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Go on where the gate let it in."""
        super().connection_made(transport)
        self._held = self.gate.find(transport.get_extra_info("peername"))
        if self._held is None:
            transport.abort()
        else:
            self._held.serve(transport, time.monotonic())

    def data_received(self, data: bytes) -> None:
        """Take bytes, and note what they are still lacking."""
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        """Note that the next request may come."""
        self._answered = True
        super().on_response_complete()
        self._note()

    def _note(self) -> None:
        if self._held is not None:
            self._held.enter(self._phase(), time.monotonic())

    def _phase(self) -> Phase:
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            return Phase.BODY
        if state is h11.IDLE:
            begun = not self._answered or bool(self.conn.trailing_data[0])
            return Phase.HEAD if begun else Phase.KEPT
        return Phase.ANSWER


def gated_protocol(gate: Gate) -> type[GatedProtocol]:
    """Return the protocol of the connections of one gate."""
    return type("GatedProtocol", (GatedProtocol,), {"gate": gate})
