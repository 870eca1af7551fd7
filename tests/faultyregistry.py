"""A registry that fails on order: forwards to a real one and spoils the requests it was told to spoil.

Each fault names the requests it means and how often it strikes; every request is noted, so a test can say
how many there were. It can also hold every request back for a while, as a distant registry does.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "proxy-connection"})


@dataclass(kw_only=True)
class Fault:
    """What to spoil.

    Attributes:
        path: Regular expression searched in `METHOD /path?query`.
        times: How many matching requests are spoiled; the rest pass.
        every: Spoil only every n-th matching request.
        status: Answer with this status instead of forwarding; 0 forwards.
        headers: Headers of that answer, or put over those of the forwarded one.
        body: Body of that answer.
        drop: End the connection "before" or "after" forwarding, or in the "middle" of the body.
        flip: Change one byte of the forwarded body.
        remove: Headers taken out of the forwarded answer.
    """

    path: str
    times: int = 1 << 30
    every: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drop: str = ""
    flip: bool = False
    remove: tuple[str, ...] = ()
    seen: int = 0


@dataclass(kw_only=True)
class FaultyRegistry:
    """The running proxy: its `host:port`, its faults, and the requests it saw as `METHOD /path?query`."""

    host: str
    upstream: str
    delay: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def spoil(self, request: str, headers: dict[str, str]) -> Fault | None:
        """Note a request and return the fault that strikes it."""
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)
            for fault in self.faults:
                if fault.times <= 0 or not re.search(fault.path, request):
                    continue
                fault.seen += 1
                if fault.seen % fault.every == 0:
                    fault.times -= 1
                    return fault
        return None

    def count(self, pattern: str) -> int:
        """Return how many requests matched."""
        return sum(1 for request in self.requests if re.search(pattern, request))


@contextlib.contextmanager
def faulty_registry(upstream: str, *faults: Fault, delay: float = 0.0) -> Iterator[FaultyRegistry]:
    """Start a proxy before a registry and end it.

    Args:
        upstream: `host:port` of the real registry.
        faults: What to spoil; more can be added to `faults` while it runs.
        delay: Seconds every request is held back.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    server.state = FaultyRegistry(
        host=f"127.0.0.1:{server.server_address[1]}", upstream=upstream, delay=delay, faults=list(faults)
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        thread.join()
        server.end_connections()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    state: FaultyRegistry

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        assert isinstance(request, socket.socket)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    _upstream: http.client.HTTPConnection | None = None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the base class gives
        """Say nothing."""

    def finish(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle_any(self) -> None:
        body = self._body()
        state = self.server.state
        fault = state.spoil(f"{self.command} {self.path}", dict(self.headers.items()))
        if state.delay:
            time.sleep(state.delay)
        if fault is not None and fault.drop == "before":
            self._drop()
        elif fault is not None and fault.status:
            self._answer(fault.status, list(fault.headers.items()), fault.body)
        else:
            self._forward(body, fault)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection(self.server.state.upstream, timeout=60)
            self._upstream.connect()
            self._upstream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Host stays the client's, so that the registry names this proxy in its Location headers.
        headers: dict[str, str] = {}
        for name, text in self.headers.items():
            if name.lower() not in _HOP:  # Go sends Accept once for each type
                headers[name] = f"{headers[name]}, {text}" if name in headers else text
        headers["Content-Length"] = str(len(body))
        self._upstream.request(self.command, self.path, body=body, headers=headers)
        response = self._upstream.getresponse()
        data = response.read()
        if fault is not None and fault.drop == "after":
            self._drop()
            return
        answer = [(name, text) for name, text in response.getheaders() if name.lower() not in _HOP]
        if self.command == "HEAD":
            answer.append(("Content-Length", response.getheader("Content-Length") or "0"))
        if fault is not None:
            gone = {name.lower() for name in (*fault.remove, *fault.headers)}
            answer = [pair for pair in answer if pair[0].lower() not in gone] + list(fault.headers.items())
            if fault.flip and data:
                data = data[:-1] + bytes([data[-1] ^ 1])
        self._answer(response.status, answer, data, cut=fault is not None and fault.drop == "middle")

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, text in headers:
            self.send_header(name, text)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut:
            # An orderly end, so that what was written arrives; a reset could overtake it.
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _drop(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        # shutdown() would send an orderly end first; the reset comes with close and no linger.
        self.connection.close()
