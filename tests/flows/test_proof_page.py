"""Each sealed line of "Who read your data" has a proof that the offline verifier accepts, and another's line has none for me."""

from __future__ import annotations

import re
import time

from armonika.trust.audit.verify_proof import verify_proof
from tests.flows.test_pages import signed_in, visitor
from tests.live import Live


def test_a_member_gets_proofs_that_verify_and_only_of_own_lines(live: Live) -> None:
    member, other = signed_in(live, "admin"), signed_in(live, "developer")
    member.get(f"{live.site}/en/me/")
    end = time.monotonic() + 15
    while True:
        page = member.get(f"{live.site}/en/me/readers/")
        links = re.findall(r'href="(/en/me/readers/(\d+)\.tlog-proof)"', page.text)
        checkpoint = (live.home / "log" / "checkpoint").read_text()
        if links and checkpoint.count("armonika.dz/witness") == 2:
            break
        assert time.monotonic() < end, page.text[-500:]
        time.sleep(0.3)
    vkey = (live.home / "log" / "log.vkey").read_text()
    witnesses = (live.home / "witness" / "witness.vkey").read_text().split("\n")[:2]
    for address, number in links[:5]:
        for _ in range(20):
            answer = member.get(live.site + address)
            if "armonika.dz/witness" in answer.text:
                break
            time.sleep(0.2)
        assert answer.status == 200
        proven = verify_proof(answer.text, vkey, witnesses)
        assert proven.entry["audit_id"] == int(number)
        assert len(proven.cosigned) == 2
        assert other.get(live.site + address).status == 404
        assert visitor().get(live.site + address).status in (302, 404)
    assert member.get(f"{live.site}/ar/me/readers/999999999.tlog-proof").status == 404
