"""A TCP port on 127.0.0.1 in front of a server that listens on a Unix socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer


class Relay(BaseRequestHandler):
    target: Path
    request: socket.socket

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.target))
            back = threading.Thread(target=copy, args=(server, self.request), daemon=True)
            back.start()
            copy(self.request, server)
            back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(target: Path) -> Iterator[int]:
    """The port."""
    with ThreadingTCPServer(("127.0.0.1", 0), type("Bound", (Relay,), {"target": target})) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
