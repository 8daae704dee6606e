"""A caller that has every plan printed (`debug_print_plan`, which any role may set, with its messages at `log`): the plan of a statement inside a function would
hold, as constants, what the function read for itself and does not tell."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from armonika.trust import crypto
from armonika.trust.vault import codec, secret_hash
from tests.doors import Doors
from tests.vault.stage import CORRECT, Stage
from tests.vault.words import Correction

LOUD = "SET client_min_messages = log; SET debug_print_plan = on; SET debug_print_rewritten = on; SET debug_print_parse = on; SET plan_cache_mode = force_custom_plan"


def printed(value: bytes) -> str:
    """Bytes as a printed plan has them, without its spaces and line breaks."""
    return "".join(str(one if one < 128 else one - 256) for one in value)


def overheard(doors: Doors, door: str, statement: str, words: list[Any]) -> str:
    """Everything that the server says to the caller, who leaves no trace of the call."""
    said: list[str] = []
    with doors.raw(door) as connection:
        connection.add_notice_handler(lambda one: said.append(f"{one.message_primary}{one.message_detail}"))
        connection.execute(LOUD.encode())
        with connection.cursor(binary=True) as cursor:
            try:
                cursor.execute(codec.percent(statement).encode(), words)
            except psycopg.Error as error:
                said.append(str(error.diag.message_detail))
        connection.rollback()
    heard = "".join("".join(said).split())
    assert "PLANNEDSTMT" in heard, "positive control: plans are printed"
    return heard


def test_a_correction_of_one_field_shows_no_other(stage: Stage) -> None:
    stage.allow(CORRECT, fields=stage.name)
    made, secret = stage.person(), stage.session()
    change = Correction(stage, made, secret, name="M")
    held = stage.value("SELECT ciphertexts FROM vault.record WHERE record_id = %s", made.record)
    heard = overheard(stage.doors, "api", codec.CORRECT, change.words)
    new = change.words[9][0]
    assert printed(new)[:60] in heard, "positive control: what the caller gave is printed"
    for ordinal in stage.account.ordinals.values():
        cipher = held[ordinal - 1] if ordinal <= len(held) else None
        assert cipher is None or printed(cipher)[:60] not in heard, ordinal


@pytest.mark.parametrize("call", ["sign_in", "enqueue_to"])
def test_who_is_behind_an_address_is_not_shown(stage: Stage, call: str) -> None:
    email = f"{uuid4().hex}@org.example"
    whom = stage.person(email=email).subject
    stage.admin.execute(
        "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash) VALUES (%s, %s, %s, 'p', %s)",
        (whom, stage.role, b"s" * 16, b"c" * 32),
    )
    rows = stage.admin.execute("SELECT epoch, digest FROM vault.lookup WHERE subject_id = %s ORDER BY epoch", (whom,)).fetchall()
    epochs, digests = [one for one, _ in rows], [one for _, one in rows]
    service = secret_hash(stage.doors.server.provisioned.credentials("site").service_secret)  # type: ignore[attr-defined]
    where: list[Any] = [stage.account.id, stage.account.ordinals["email"], epochs, digests]
    catalogue = stage.doors.site.catalogue
    statement, words = {
        "sign_in": (
            "SELECT * FROM vault.sign_in($1::bytea, $2::smallint, $3::smallint, $4::int[], $5::bytea[], $6::bytea, $7::bytea, 60, $8::smallint, $9::smallint)",
            [service, *where, b"wrong", crypto.random_bytes(32), catalogue.purpose("secure"), catalogue.reason("sign-in")],
        ),
        "enqueue_to": (
            "SELECT vault.enqueue_to($1::bytea, 'send-reset:en', $2::smallint, $3::smallint, $4::int[], $5::bytea[])",
            [service, *where],
        ),
    }[call]
    heard = overheard(stage.doors, "site", statement, words)
    assert printed(digests[0])[:60] in heard
    assert printed(whom.bytes) not in heard
    assert str(whom) not in heard
