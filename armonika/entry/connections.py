"""How many connections a listener holds, and how many of them one peer may.

The server serves so many at a time and leaves all others waiting in the kernel (its backpressure); it knows no bound for one peer, so that whoever
opens them all and says nothing would shut everybody else out. What it cannot count is counted here: the sockets of this very process. A peer's
connections beyond its bound, the newest first, are shut down within half a second.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import resource
import socket
import stat
import threading
import time
from collections.abc import Iterator

log = logging.getLogger("armonika.connections")
SECONDS = 0.5
"""Between two looks."""
UNREAD_SECONDS = 30
"""How long an answer may lie unread by its peer."""
_OTHERS = 512
"""Files that the process needs beside."""


def room(connections: int) -> int:
    """So many connections as this process may have files for, `connections` at most; the limit is raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _OTHERS))


class Connections:
    """The bound for one peer of the listener at `port`: an IPv4 address, or the /64 network of an IPv6 address."""

    def __init__(self, port: int, most: int) -> None:
        self._port, self._most = port, most
        self._peers: dict[int, str] = {}
        self._shut: set[int] = set()
        self._told = -60.0

    def start(self) -> None:
        """Looks for as long as the process lives."""
        let_go_of_silent_readers(self._port)
        threading.Thread(target=self._look, name="connections", daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(SECONDS)
            try:
                self.sweep()
            except Exception as error:
                log.error("the connections could not be counted", exc_info=error)

    def sweep(self) -> int:
        """Shuts down what is too much; how many that were."""
        names = os.listdir("/proc/self/fd")
        if len(names) <= self._most:
            self._peers.clear()
            self._shut.clear()
            return 0
        found: dict[int, int] = {}
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                about = os.fstat(int(name))
                if stat.S_ISSOCK(about.st_mode):
                    found[about.st_ino] = int(name)
        # Those that were there before come first: who has been served is not cut off for who comes later.
        self._peers = {inode: peer for inode, peer in self._peers.items() if inode in found}
        self._shut &= found.keys()
        for inode in sorted(found.keys() - self._peers.keys()):
            with self._socket(found[inode], inode) as wire:
                self._peers[inode] = self._peer(wire)
        held: dict[str, int] = {}
        cut = 0
        for inode, peer in self._peers.items():
            if not peer:
                continue
            held[peer] = held.get(peer, 0) + 1
            if held[peer] > self._most and inode not in self._shut:
                with self._socket(found[inode], inode) as wire, contextlib.suppress(OSError):
                    if wire is not None:
                        wire.shutdown(socket.SHUT_RDWR)
                self._shut.add(inode)
                cut += 1
        if cut and time.monotonic() - self._told > 60:
            self._told = time.monotonic()
            log.warning("a peer held more connections than it may", extra={"count": cut})
        return cut

    @contextlib.contextmanager
    def _socket(self, number: int, inode: int) -> Iterator[socket.socket | None]:
        """The socket by a number of its own: the server may close its own and open another under that number at any moment. None when it did."""
        try:
            wire = socket.socket(fileno=os.dup(number))
        except OSError:
            yield None
            return
        with wire:
            yield wire if os.fstat(wire.fileno()).st_ino == inode else None

    def _peer(self, wire: socket.socket | None) -> str:
        """Who is at the other end of a connection of this listener; empty for any other socket."""
        with contextlib.suppress(OSError):
            if wire is None or wire.family not in (socket.AF_INET, socket.AF_INET6) or wire.getsockname()[1] != self._port:
                return ""
            return network(wire.getpeername()[0])
        return ""


def network(address: str) -> str:
    """What counts as one peer."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.IPv6Network((ip.packed[:8] + bytes(8), 64)))
    return str(ip)


def let_go_of_silent_readers(port: int) -> None:
    """From now on, connections of the listener at `port` whose peer takes nothing of an answer for `UNREAD_SECONDS` are ended by the kernel (RFC 5482):
    accepted sockets take the setting over from the one that listens."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError, ValueError), socket.socket(fileno=os.dup(int(name))) as wire:
            if (
                wire.family in (socket.AF_INET, socket.AF_INET6)
                and wire.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                and wire.getsockname()[1] == port
            ):
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
