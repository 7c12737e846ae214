"""The test server for the Hub, with a connection that breaks."""

from __future__ import annotations

import socket
import struct

from tests.checkpoint.hub import Hub, _Handler


class BrokenHub(Hub):
    """The connection breaks at request ``at``, from 0 (and at later ones if ``lasting``), in the way ``how``:

    ``reset``: the connection is reset before a byte of the answer; ``cut``: in the middle of the body; ``short``: the
    body ends early and the connection is closed; ``silent``: no answer ever comes; ``stalls``: the body stops
    in the middle; a number is a status.
    """

    def __init__(self, folder, how: str | int, at: int, lasting: bool = True):
        super().__init__(folder)
        self.RequestHandlerClass = _BrokenHandler
        self.how, self.at, self.lasting, self.requests = how, at, lasting, 0

    def breaks(self) -> bool:
        self.requests += 1
        return self.requests - 1 == self.at or self.lasting and self.requests - 1 > self.at


class _BrokenHandler(_Handler):
    def do_GET(self):
        if not self.server.breaks():
            return super().do_GET()
        self.close_connection = True
        how = self.server.how
        if isinstance(how, int):
            self._answer(how, b"<html>no JSON</html>", {"Content-Type": "text/html"})
        elif how == "reset":
            self._reset()
        elif how == "silent":
            self._until_the_client_goes()
        else:
            super().do_GET()

    def _answer(self, code: int, data: bytes, heads: dict, length: int | None = None) -> None:
        whole = len(data) if length is None else length
        if self.close_connection and isinstance(self.server.how, str):
            data = data[: len(data) // 2]
        super()._answer(code, data, heads, whole)
        if self.close_connection and self.server.how == "cut":
            self._reset()
        elif self.close_connection and self.server.how == "stalls":
            self._until_the_client_goes()

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _until_the_client_goes(self) -> None:
        self.wfile.flush()
        while self.connection.recv(1024):
            pass
