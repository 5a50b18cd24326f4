"""A TCP proxy that behaves as badly as it is told to: delays, resets, silence, half a silence."""

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["pass", "delay", "black hole", "half-open", "deaf"]
"""`black hole`: neither side hears the other, and nobody hangs up; `half-open`: new connections
are taken and never answered, old ones go on; `deaf`: the server hears, the client does not."""

_CLONE_NEWNET = 0x40000000
_DELAY = 0.25


@dataclass
class Proxy:
    """Listens and passes on to a port of this machine's loopback.

    Attributes:
        target: the port behind it.
        port: where it listens.
    """

    target: int
    port: int = 0
    mode: Mode = "pass"
    _writers: set[asyncio.StreamWriter] = field(default_factory=set, repr=False)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, repr=False)
    _change: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def start(self) -> None:
        """Listen on loopback, in a thread of its own."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True).start()
        self.listen(listener)

    def listen(self, listener: socket.socket) -> None:
        """Take connections from this socket too, which may be another namespace's."""
        start = asyncio.start_server(self._serve, sock=listener)
        asyncio.run_coroutine_threadsafe(start, self._loop).result(10)

    def behave(self, mode: Mode) -> None:
        """Do so from now on, with the connections that there are too."""

        def change() -> None:
            self.mode = mode
            self._change.set()
            self._change = asyncio.Event()

        self._loop.call_soon_threadsafe(change)

    def reset(self) -> None:
        """End all connections with a RST, on both sides."""
        self._loop.call_soon_threadsafe(self._reset)

    def stop(self) -> None:
        """End."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _reset(self) -> None:
        for writer in list(self._writers):
            line = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                # Linger for no time: what is not sent is dropped, and the peer gets a RST.
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = [writer]
        self._writers.add(writer)
        try:
            while self.mode in ("half-open", "black hole"):
                await self._change.wait()
            there, up = await asyncio.open_connection("127.0.0.1", self.target)
            mine.append(up)
            self._writers.add(up)
            tasks = [
                asyncio.create_task(self._pump(reader, up, up=True)),
                asyncio.create_task(self._pump(there, writer, up=False)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        except OSError:
            pass
        finally:
            for one in mine:
                self._writers.discard(one)
                one.transport.abort() if self.mode == "deaf" else one.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                while self.mode == "black hole":
                    await self._change.wait()
                if self.mode == "deaf" and not up:
                    continue  # lost for good
                if self.mode == "delay":
                    await asyncio.sleep(_DELAY)
                writer.write(data)
                await writer.drain()


def listener_in(namespace: str, address: str, port: int) -> socket.socket:
    """A listening socket of a network namespace; the process itself stays where it is.

    Args:
        namespace: a name that `ip netns` knows.
        address: one of the namespace's own.
        port: free there.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    made: list[socket.socket] = []

    def make() -> None:  # a thread changes namespace alone
        there = os.open(Path("/run/netns", namespace), os.O_RDONLY)
        try:
            if libc.setns(there, _CLONE_NEWNET) == 0:
                made.append(socket.create_server((address, port)))
        finally:
            os.close(there)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise OSError(ctypes.get_errno(), "no socket in the namespace")
    return made[0]
