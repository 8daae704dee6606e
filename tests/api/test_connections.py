"""Nobody shuts the others out by holding connections, and nobody holds one by saying or reading nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time

import httpx
import pytest

from armonika import settings
from armonika.entry import connections
from armonika.entry.connections import Connections, let_go_of_silent_readers, network, room
from tests.api.test_hostile import status
from tests.live import Live


def gone(wire: socket.socket) -> bool:
    """Whether the other end has closed."""
    wire.setblocking(False)
    try:
        return wire.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_the_newest_connections_of_a_peer_beyond_its_bound_are_shut_and_no_others() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        other = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        bound = Connections(listener.getsockname()[1], 40)

        def opened(count: int, address: str, to: socket.socket = listener) -> list[socket.socket]:
            ends = []
            for _ in range(count):
                near = stack.enter_context(socket.create_connection(to.getsockname(), source_address=(address, 0)))
                stack.enter_context(to.accept()[0])
                ends.append(near)
            return ends

        first, elsewhere = opened(30, "127.0.0.2"), opened(60, "127.0.0.2", other)
        assert bound.sweep() == 0
        second, quiet = opened(30, "127.0.0.2"), opened(40, "127.0.0.3")
        assert bound.sweep() == 20
        assert [gone(wire) for wire in first + second] == [False] * 40 + [True] * 20
        assert not any(map(gone, quiet + elsewhere))
        assert bound.sweep() == 0, "once"
        third = opened(1, "127.0.0.2")
        assert bound.sweep() == 1
        assert gone(third[0])
    assert Connections(0, len(os.listdir("/proc/self/fd")) + 5).sweep() == 0


def test_what_counts_as_one_peer() -> None:
    assert network("192.0.2.7") == "192.0.2.7" == network("::ffff:192.0.2.7")
    assert network("2001:db8:1:2::3") == network("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert network("fe80::1%lo") != network("2001:db8:1:3::3")


def test_the_limit_of_files_is_raised_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    for held, wanted, made in (
        ((1024, 4096), 2048, (2048, [(2560, 4096)])),
        ((1024, 1024), 2048, (512, [(1024, 1024)])),
        ((8192, 8192), 2048, (2048, [])),
    ):
        asked.clear()
        monkeypatch.setattr(connections.resource, "getrlimit", lambda _, held=held: held)
        monkeypatch.setattr(connections.resource, "setrlimit", lambda _, limits: asked.append(limits))
        assert (room(wanted), asked) == made


def test_accepted_connections_take_over_what_lets_silent_readers_go() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        let_go_of_silent_readers(listener.getsockname()[1])
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as wire:
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_the_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (settings.load().api_connections, settings.load().api_peer_connections) == (2048, 512)
    monkeypatch.setenv("ARMONIKA_API_CONNECTIONS", "100")
    assert settings.load().api_peer_connections == 100
    for name in ("ARMONIKA_API_CONNECTIONS", "ARMONIKA_API_PEER_CONNECTIONS"):
        for wrong in ("0", "15", "-5", "many", "٣٣", "70000"):
            with monkeypatch.context() as patch, pytest.raises(settings.SettingsError, match=name):
                patch.setenv(name, wrong)
                settings.load()


def test_one_peer_that_holds_all_it_can_does_not_shut_the_others_out(live: Live) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    began = b"POST /v1/people HTTP/1.1\r\nHost: localhost\r\nContent-Le"
    with contextlib.ExitStack() as stack:
        held = []
        # More than the API serves at a time and than wait in the kernel.
        for number in range(min(hard - 200, 3300)):
            wire = stack.enter_context(socket.socket())
            wire.settimeout(5)
            with contextlib.suppress(OSError):
                wire.bind(("127.0.0.9", 0))
                wire.connect(("127.0.0.1", live.port + 2))
                if number % 2:
                    wire.sendall(began)
            held.append(wire)
        end = time.monotonic() + 20
        while sum(not gone(wire) for wire in held) > settings.API_PEER_CONNECTIONS:
            assert time.monotonic() < end, "they are shut"
            time.sleep(0.2)
        transport = httpx.HTTPTransport(local_address="127.0.0.8")
        with httpx.Client(base_url=live.api.replace("localhost", "127.0.0.1"), transport=transport, timeout=10) as client:
            assert client.get("/v1/policy").status_code == 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_head_that_fits_in_no_buffer_is_refused(live: Live) -> None:
    with socket.create_connection(("localhost", live.port + 2), timeout=10) as wire:
        with contextlib.suppress(OSError):
            wire.sendall(b"GET /v1/policy HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 4_000_000 + b"\r\n\r\n")
        with contextlib.suppress(OSError):
            assert status(wire.recv(65536)) == 431
