"""Sample data, through the real flows: two customer organisations, staff of each role, a demo request. Addresses are of reserved names."""

from __future__ import annotations

import secrets
from pathlib import Path
from uuid import UUID

import psycopg

from armonika import policy as policies
from armonika.flows import address, demo, register
from armonika.settings import Settings
from armonika.store.private_files import write_private
from armonika.supervisor.database import door_dsn
from armonika.trust.keys.provision import Provisioned, issue_token
from armonika.trust.vault import Vault
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
            console.create(
                console.service, "legal", "staff-appointment", [NewRecord("staff", {"name": f"Agent {role}", "email": email}, "operator", kind="employee")],
                password=phrase, role=role, verified=True,
            )  # fmt: skip
            lines.append(f"  staff    {email:<34} {phrase}   ({role}, {config.console_url})")
        lines.append(f"  token    {issue_token(admin_dsn, label='sample')}   (integration, {config.api_url})")
    finally:
        for vault in (site, console, worker):
            vault.close()
    write_private(marker, ("Sign-ins of the sample data\n" + "\n".join(lines) + "\n").encode())


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
