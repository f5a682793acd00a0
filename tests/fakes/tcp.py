"""A port of 127.0.0.1 for a server that listens on a Unix socket, so that a Pod reaches the tests' PostgreSQL."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer


class Handler(StreamRequestHandler):
    target: Path

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as behind:
            behind.connect(str(self.target))
            back = threading.Thread(target=copy, args=(behind, self.connection))
            back.start()
            copy(self.connection, behind)
            back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Hand on all that comes, and then its end."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def port_for(target: Path) -> Iterator[int]:
    server = ThreadingTCPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"target": target}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
