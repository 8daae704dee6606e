"""What crosses the network of this machine, byte for byte: every interface, loopback included, every TCP and UDP port (packet(7); needs CAP_NET_RAW)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType

from armonika.verify.frame import CannotProbe

MOST_BYTES = 512 * 1024 * 1024
_ALL, _IPV4, _IPV6, _TCP, _UDP = 3, 0x0800, 0x86DD, 6, 17
_OUTGOING, _SOL_PACKET, _STATISTICS, _RCVBUFFORCE = 4, 263, 6, 33
Flow = tuple[bytes, int, bytes, int]
"""Source address and port, destination address and port."""


class Capture:
    """Use as a context manager. Afterwards `flows` holds what each end sent; `lost` counts packets that came too fast."""

    def __init__(self, without: Iterable[int] = ()) -> None:
        self.flows: dict[Flow, bytearray] = {}
        self.lost = self.bytes = self.hidden = 0
        self._without = frozenset(without)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Capture:
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
        except PermissionError:
            raise CannotProbe(
                "what crosses the network can be captured with CAP_NET_RAW only: run `armonika verify 7a.2` as root"
            ) from None
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 128 * 1024 * 1024)
        self._socket.settimeout(0.1)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        self.lost += struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
        self._socket.close()

    def sent_to(self, port: int) -> int:
        """How many bytes were sent to a port."""
        return sum(len(content) for flow, content in list(self.flows.items()) if flow[3] == port)

    def _read(self) -> None:
        while True:
            try:
                packet, (interface, protocol, kind, *_) = self._socket.recvfrom(262144)
            except TimeoutError:
                if self._end.is_set():
                    return
                continue
            # Loopback shows each packet twice: as it goes, and as it comes.
            if interface == "lo" and kind == _OUTGOING:
                continue
            if self.bytes < MOST_BYTES:
                self._keep(packet, protocol)
            else:
                self.lost += 1

    def _keep(self, packet: bytes, protocol: int) -> None:
        if protocol == _IPV4 and len(packet) >= 20:
            carried, start, source, target = packet[9], (packet[0] & 15) * 4, packet[12:16], packet[16:20]
        elif protocol == _IPV6 and len(packet) >= 40:
            carried, start, source, target = packet[6], 40, packet[8:24], packet[24:40]
        else:
            return
        if carried not in (_TCP, _UDP) or len(packet) < start + (20 if carried == _TCP else 8):
            return
        head = (packet[start + 12] >> 4) * 4 if carried == _TCP else 8
        source_port, target_port = struct.unpack_from("!HH", packet, start)
        content = packet[start + head :]
        if not content:
            return
        if source_port in self._without or target_port in self._without:
            self.hidden += len(content)
            return
        self.bytes += len(content)
        self.flows.setdefault((source, source_port, target, target_port), bytearray()).extend(content)
