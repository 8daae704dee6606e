"""The probes of claim 7a.2 see each fault as that fault, and nothing else: a sabotage that is caught for another reason proves nothing."""

from __future__ import annotations

import os

import pytest

from armonika.trust.certificates import Authority
from armonika.verify import intruder, twins
from armonika.verify.capture import Capture
from armonika.verify.frame import CannotProbe
from armonika.verify.intruder import Guise, guises, server_faults, sink_lets_in, witness_lets_in
from armonika.verify.scan import Scanner

AUTHORITY = Authority(b"of this installation")
WRONG = {
    "no certificate",
    "a certificate of another authority",
    "a certificate that has ended",
    "the certificate of another process",
    "TLS 1.2",
}
LET_IN = {
    twins.NOBODY: WRONG - {"TLS 1.2"},
    twins.FOREIGNERS: {"a certificate of another authority"},
    twins.ENDED: {"a certificate that has ended"},
    twins.ANY: {"the certificate of another process"},
    twins.OLD: {"TLS 1.2"},
    "has no fault": set(),
    twins.STRANGE: set(),
}


@pytest.mark.parametrize("kind", LET_IN)
@pytest.mark.parametrize("which", ["witness", "sink"])
def test_a_fault_is_seen_as_what_it_is(which: str, kind: str) -> None:
    twin, lets_in, client = (
        (twins.witness, witness_lets_in, "sealer") if which == "witness" else (twins.sink, sink_lets_in, "worker")
    )
    right, wrong = guises(AUTHORITY, client)
    assert set(wrong) == WRONG
    with twin(kind, AUTHORITY) as port:
        assert lets_in(port, right)
        assert {name for name, guise in wrong.items() if lets_in(port, guise)} == LET_IN[kind]
        assert not lets_in(port, None)
        name = "witness" if which == "witness" else "mailsink"
        fault = server_faults(port, AUTHORITY.certificate(), name, right, starttls=which == "sink")
        assert ("not trusted" in fault) == (kind == twins.STRANGE), fault
        assert bool(fault) == (kind == twins.STRANGE)
        assert "not trusted" in server_faults(port, AUTHORITY.certificate(), "other", right, starttls=which == "sink")


def test_what_speaks_in_clear_is_seen() -> None:
    right, _ = guises(AUTHORITY, "sealer")
    with twins.witness(twins.CLEAR, AUTHORITY) as port:
        assert witness_lets_in(port, None)
        assert not witness_lets_in(port, right)
        assert server_faults(port, AUTHORITY.certificate(), "witness", right)
    with twins.sink(twins.EARLY, AUTHORITY) as port:
        assert sink_lets_in(port, None)
    with twins.sink(twins.CLEAR, AUTHORITY) as port:
        assert not sink_lets_in(port, Guise()), "no STARTTLS is offered"


def test_a_certificate_that_lasts_too_long_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intruder, "_MOST_DAYS", 0.5)
    right, _ = guises(AUTHORITY, "sealer")
    with twins.witness("has no fault", AUTHORITY) as port:
        assert "lasts" in server_faults(port, AUTHORITY.certificate(), "witness", right)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: CAP_NET_RAW")
def test_the_capture_sees_both_ways_once_and_leaves_out_what_it_is_told() -> None:
    with twins.witness(twins.CLEAR, AUTHORITY) as shown, twins.witness(twins.CLEAR, AUTHORITY) as hidden:
        with Capture({hidden}) as capture:
            for port in (shown, hidden):
                assert witness_lets_in(port, None)
            twins.in_clear(b"k3Wm9ZpQ2xTr8LfNv5Bd")
            twins.letter_in_clear("Q2xTr8LfNv5Bdk3Wm9Zp@canary.example", "8LfNv5Bdk3Wm9ZpQ2xTr")
            assert _comes(capture, shown)
    asked = [bytes(content) for flow, content in capture.flows.items() if flow[3] == shown]
    assert len(asked) == 1
    assert asked[0].count(b"POST /add-checkpoint") == 1
    assert any(flow[1] == shown and b"400 Bad" in content for flow, content in capture.flows.items())
    assert not [flow for flow in capture.flows if hidden in (flow[1], flow[3])]
    assert capture.hidden > 0
    assert capture.lost == 0
    scanner = Scanner(["k3Wm9ZpQ2xTr8LfNv5Bd", "Q2xTr8LfNv5Bdk3Wm9Zp", "8LfNv5Bdk3Wm9ZpQ2xTr"])
    found = set().union(*(scanner.data(bytes(content)) for content in capture.flows.values()))
    assert {token for token, _ in found} == {"k3Wm9ZpQ2xTr8LfNv5Bd", "Q2xTr8LfNv5Bdk3Wm9Zp", "8LfNv5Bdk3Wm9ZpQ2xTr"}
    assert any(token == "8LfNv5Bdk3Wm9ZpQ2xTr" and form.startswith("base64") for token, form in found)


def _comes(capture: Capture, port: int) -> bool:
    import time

    end = time.monotonic() + 5
    while not capture.sent_to(port):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_without_the_right_to_capture_the_claim_is_unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("armonika.verify.capture.socket.socket", refused)
    with pytest.raises(CannotProbe, match="CAP_NET_RAW"), Capture():
        pass
