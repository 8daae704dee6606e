"""Sample data, through the real flows: two customer organisations, staff of each role, a demo request. Addresses are of reserved names.

`armonika sample code NAME` stands in for the authenticator program of a sample account.
"""

from __future__ import annotations

import argparse
import base64
import secrets
import sys
import time
from pathlib import Path
from uuid import UUID

import psycopg

from armonika import policy as policies
from armonika import settings
from armonika.flows import address, appointments, demo, register
from armonika.flows import second_factor as second_factor_flow
from armonika.policy import Policy
from armonika.rules import one_time_code
from armonika.settings import Settings
from armonika.store.private_files import KeyFileError, read_private, write_private
from armonika.supervisor.database import door_dsn
from armonika.trust import crypto
from armonika.trust.keys.provision import Provisioned, issue_token
from armonika.trust.vault import Vault, secret_hash
from armonika.trust.vault.errors import Refused
from armonika.trust.vault.types import NewRecord

STAFF = ("support", "sales", "finance", "recruiting", "security", "dpo")
_WORDS = [
    "atlas",
    "casbah",
    "djurdjura",
    "jasmin",
    "olivier",
    "oued",
    "palmier",
    "sahara",
    "tassili",
    "timgad",
    "tipaza",
    "zellige",
    "ahaggar",
    "cedre",
    "datte",
    "figuier",
]


def password() -> str:
    """A random pass phrase of five words and a number: 33 bits are enough for a machine of one's own; change it elsewhere."""
    return "-".join(secrets.choice(_WORDS) for _ in range(5)) + f"-{secrets.randbelow(9000) + 1000}"


def load(config: Settings, provisioned: Provisioned, dsn: str, admin_dsn: str, marker: Path) -> None:
    """Creates everything and writes the sign-ins to `marker` (mode 0600)."""
    policy = policies.load()
    site, console, worker = (
        Vault.open(provisioned.credentials(door), door_dsn(dsn, config.credentials / door), size=2)
        for door in ("site", "console", "worker")
    )
    lines = []
    try:
        for number, (who, company, role) in enumerate(
            (("Amina Haddad", "Atlas Conseil", "Directrice"), ("كريم بوعزيز", "مؤسسة الواحة", "مدير تقني")), start=1
        ):
            email, phrase = f"admin@organisation{number}.example", password()
            typed = {
                "name": who,
                "email": email,
                "company": company,
                "role": role,
                "phone": "+213 23 00 00 00" if number == 1 else "",
            }
            register.register_organisation(site, policy, typed, phrase, True, "fr" if number == 1 else "ar")
            _confirm(site, worker, _unverified(admin_dsn))
            _, actor = site.sign_in("account", email, phrase, 60)
            lines.append(f"  member   {email:<34} {phrase}   ({actor.role}, {config.site_url})")
            colleagues = ("billing", "developer") if number == 1 else ()
            for member_role in colleagues:
                phrase, email = password(), f"{member_role}@organisation{number}.example"
                made = site.create(
                    site.service, "provide", "register",
                    [NewRecord("account", {"name": member_role.title(), "email": email, "company": company, "role": member_role}, "subject", kind="customer_user", org=actor.org_id)],
                    password=phrase, role=member_role,
                )[0]  # fmt: skip
                _confirm(site, worker, made.subject)
                lines.append(f"  member   {email:<34} {phrase}   ({member_role}, {config.site_url})")
        demo.request_demo(
            site, policy, {"name": "Yacine", "email": "yacine@visiteur.example", "company": "Visiteur", "role": "Ingénieur"}
        )
        for role in STAFF:
            email, phrase = f"{role}@operateur.example", password()
            appointments.appoint(console, admin_dsn, policy, f"Agent {role}", email, role, phrase)
            key = _enrol(console, policy, email, phrase)
            lines.append(f"  staff    {email:<34} {phrase}   ({role}, {config.console_url}) second factor {key}")
        lines.append(f"  token    {issue_token(admin_dsn, label='sample')}   (integration, {config.api_url})")
    finally:
        for vault in (site, console, worker):
            vault.close()
    hint = "Staff are asked for a code beside the password: `.venv/bin/armonika sample code support` prints the present one of that account."
    write_private(marker, ("Sign-ins of the sample data\n" + "\n".join(lines) + f"\n{hint}\n").encode())


def _enrol(console: Vault, policy: Policy, email: str, phrase: str) -> str:
    """Sets up the second factor as the page does, with the code of half a minute ago, so that the present one is still unused. Returns its key."""
    for attempt in range(3):
        session, actor = console.sign_in("staff", email, phrase, 900)
        key = second_factor_flow.enrolment(console, policy, session, actor).key.replace(" ", "")
        step = second_factor_flow.standing(console, secret_hash(session)).step
        try:
            opened = second_factor_flow.enrol(console, session, actor, code_of(key, step - 1)).secret
        except Refused:
            if attempt == 2:
                raise
            continue  # the half minute ended in between
        console.sign_out(secret_hash(opened))
        return key
    raise AssertionError("unreachable")


def code_of(key: str, step: int) -> str:
    """The code of a key (Base32) at a step of 30 seconds."""
    return one_time_code.code(crypto.hmac_sha1(base64.b32decode(key), one_time_code.counter(step)))


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("sample", help="the code of a sample account's second factor")
    parser.add_argument("action", choices=("code",), help="the present code, for half a minute")
    parser.add_argument("name", help="role or address of a sample member of staff, such as support")


def run(args: argparse.Namespace) -> int:
    """Prints the present code. 1: there is no such sample account; 2: no sample data here."""
    marker = settings.load().home / "sample-sign-ins.txt"
    try:
        lines = read_private(marker).decode().splitlines()
    except (KeyFileError, OSError):
        print("armonika: no sample data here. `armonika serve --sample` loads them at the first start.", file=sys.stderr)
        return 2
    for line in lines:
        words = line.split()
        if " second factor " in line and (words[1] == args.name or f"({args.name}," in line):
            print(code_of(words[-1], one_time_code.step_of(time.time())))
            return 0
    print(f"armonika: no sample member of staff {args.name!r}; {marker} names them.", file=sys.stderr)
    return 1


def _confirm(site: Vault, worker: Vault, subject: UUID) -> None:
    """Confirms an address. The worker's own letter voids earlier tokens: when it is sent in between, the next try holds."""
    for attempt in range(5):
        try:
            address.confirm(site, worker.issue_challenge(subject, "verify-address", 3600))
            return
        except Refused:
            if attempt == 4:
                raise


def _unverified(admin_dsn: str) -> UUID:
    """The newest member whose address is not confirmed: the letter's job would name them."""
    with psycopg.connect(admin_dsn) as connection:
        row = connection.execute(
            "SELECT subject_id FROM vault.credential WHERE verified_at IS NULL ORDER BY changed_at DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    return UUID(str(row[0]))
