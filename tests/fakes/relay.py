"""A TCP port in front of a server that listens on a Unix socket or on 127.0.0.1."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

IP_FREEBIND = 15  # Linux: an address may be bound before it is there


class Server(ThreadingTCPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        super().server_bind()


class Relay(BaseRequestHandler):
    target: Path | int
    request: socket.socket

    def handle(self) -> None:
        with connected(self.target) as server:
            back = threading.Thread(target=copy, args=(server, self.request), daemon=True)
            back.start()
            copy(self.request, server)
            back.join()


def connected(target: Path | int) -> socket.socket:
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target))
    server = socket.socket(socket.AF_UNIX)
    server.connect(str(target))
    return server


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(target: Path | int, host: str = "127.0.0.1") -> Iterator[int]:
    """The port on `host` behind which a Unix socket, or a port of 127.0.0.1, is."""
    with Server((host, 0), type("Bound", (Relay,), {"target": target})) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
