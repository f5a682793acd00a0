"""Ports for what an instance listens on: free ones, and claimed, so that two instances that start together do not choose the same."""

import socket

HOST = "127.0.0.1"


class Claims:
    """Ports that this process has claimed among all instances of the machine, until `close` or its end.

    A claim is an abstract socket by the port's name: no file, gone with the process, and in the same network namespace as the port.
    """

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}

    def take(self, port: int) -> bool:
        """Claim a port; False when it is in use or somebody else's claim."""
        if port not in self._held:
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0chartfleet-port-{port}")
            except OSError:
                claim.close()
                return False
            self._held[port] = claim
        if _is_free(port):
            return True
        self._held.pop(port).close()
        return False

    def take_any(self, *preferred: int) -> int:
        """Claim the first preferred port that is free, or else one that the system chooses."""
        for port in preferred:
            if self.take(port):
                return port
        while not self.take(port := _any_free()):
            pass
        return port

    def close(self) -> None:
        while self._held:
            self._held.popitem()[1].close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are closing do not count
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
        return True


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
