"""One row as one leaf, byte for byte (docs/security/audit-log.md)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

from armonika.trust.audit import entry

AT = datetime(2026, 11, 24, 12, 0, 1, 7, tzinfo=timezone(timedelta(hours=1)))
A, B, C = (UUID(int=n) for n in (1, 2, 3))
FULL = (
    5,
    AT,
    "read",
    "granted",
    "api",
    A,
    "integration",
    B,
    C,
    "account",
    ["name", 'e"mail'],
    "provide",
    "integration",
    "CASE-1",
    "ab",
)
BARE = (5, AT.astimezone(UTC), "sign-out", "refused", "site", A, "member", None, None, None, None, None, None, None, "ab")


def test_columns_are_in_the_order_of_the_database() -> None:
    assert (
        ",".join(entry.COLUMNS)
        == "audit_id,at,operation,outcome,door,actor,actor_role,subject,record,dataset,fields,purpose,reason,reference,policy"
    )


def test_a_full_row() -> None:
    assert entry.encode(FULL).decode() == (
        '{"actor":"00000000-0000-0000-0000-000000000001","actor_role":"integration","at":"2026-11-24T11:00:01.000007Z","audit_id":5,"dataset":"account","door":"api",'
        '"fields":["name","e\\"mail"],"operation":"read","outcome":"granted","policy":"ab","purpose":"provide","reason":"integration",'
        '"record":"00000000-0000-0000-0000-000000000003","reference":"CASE-1","subject":"00000000-0000-0000-0000-000000000002","v":1}'
    )


def test_absent_values_are_left_out_and_other_scripts_stay_as_they_are() -> None:
    assert entry.encode(BARE).decode() == (
        '{"actor":"00000000-0000-0000-0000-000000000001","actor_role":"member","at":"2026-11-24T11:00:01.000007Z","audit_id":5,"door":"site",'
        '"operation":"sign-out","outcome":"refused","policy":"ab","v":1}'
    )
    assert '"dataset":"حساب"' in entry.encode((*FULL[:9], "حساب", *FULL[10:])).decode()
    assert '"reference":"é"' in entry.encode((*FULL[:13], "é", "ab")).decode()
