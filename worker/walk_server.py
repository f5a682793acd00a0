"""python -m worker.walk_server CONTROL_FD: a fork server for walks. It has imported what a walk needs; each index gets a child of its own.

The control socket brings an index and a socket for frames; back go the child's pid, then its wait status. Hostile input meets limits of CPU
seconds and address space besides those of the readers; whatever kills a child is told by the parent as an error of that index, and nothing
else notices. With the worker, this process and its child go.
"""

import ctypes
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from io import BufferedRWPair

import orjson

from worker.frames import ASK, HEADER, MOST_CPU, MOST_MEMORY, NUMBER, Known, Request
from worker.walk import Talk, walk

PR_SET_PDEATHSIG = 1


def serve(control: socket.socket) -> None:
    """One child at a time, until the worker closes its end."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            control.close()
            die_with_parent()
            if os.getppid() != server:  # which died before it could be said that its child goes with it
                os._exit(1)
            child(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(NUMBER.pack(pid))
        _, status = os.waitpid(pid, 0)
        control.sendall(NUMBER.pack(status))


def child(index: int, frames: int) -> None:
    """Limits first, then the walk. Does not return."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU, MOST_CPU))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=frames) as peer, peer.makefile("rwb") as stream, os.fdopen(index, "rb", buffering=1 << 18) as file:
        walk(file, received(stream), talk_over(stream))
        stream.flush()
    os._exit(0)  # the system frees faster than the interpreter's shutdown


def received(stream: BufferedRWPair) -> Request:
    """The request, as worker.child sends it."""
    document = orjson.loads(payload(stream))
    known = {name: Known(bytes.fromhex(both[:32]), bytes.fromhex(both[32:]) or None) for name, both in document["known"].items()}
    return Request(known, document["early"], document["most_versions"])


def talk_over(stream: BufferedRWPair) -> Talk:
    """Frames over a socket."""

    def write(kind: bytes, content: bytes) -> None:
        stream.write(HEADER.pack(kind, len(content)) + content)
        stream.flush()

    def ask(names: Sequence[str]) -> Mapping[str, bytes]:
        write(ASK, orjson.dumps(names))
        return {name: bytes.fromhex(pieces) for name, pieces in orjson.loads(payload(stream)).items()}

    return Talk(write, ask)


def payload(stream: BufferedRWPair) -> bytes:
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        os._exit(0)  # the worker has closed its end: nobody is told anything
    return stream.read(HEADER.unpack(header)[1])


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    die_with_parent()
    gc.disable()  # what is read is trees, freed by reference counts
    with socket.socket(fileno=int(sys.argv[1])) as control:
        serve(control)


if __name__ == "__main__":
    main()
