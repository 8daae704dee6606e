"""Makes an installation ready: keys, schema, policy, service actors; and issues tokens of the machine API. For the administrator only."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from armonika.rules.key_states import KeyState
from armonika.store.migrate import MigrationResult, migrate
from armonika.store.turn import MigrationError
from armonika.trust import crypto
from armonika.trust.keys import credentials as credential_files
from armonika.trust.keys.keyring import DOORS, Keyring
from armonika.trust.keys.keyring import FILE as KEYRING
from armonika.trust.keys.tell import tell

TOKEN_PREFIX = "arm_"  # noqa: S105 (not a secret: it names the kind)
NAME_DIGITS = 12
_TEN_YEARS = "3650 days"


@dataclass(frozen=True, slots=True)
class Provisioned:
    """An installation that is ready to start its doors."""

    keyring: Keyring
    migration: MigrationResult
    policy_id: int
    compartments: Mapping[str, Mapping[str, str]]

    def write_credentials(self, door: str, folder: Path, owner: tuple[int, int] | None = None) -> Path:
        """Writes the credentials file of one door (see `armonika.trust.keys.credentials.write`)."""
        return credential_files.write(self.credentials(door), folder, owner)

    def credentials(self, door: str) -> credential_files.Credentials:
        """The credentials of one door, in memory."""
        return self.keyring.credentials(door, dict(self.compartments.get(door, {})))


def provision(
    keys: Path, admin_dsn: str, catalogue: Mapping[str, Any], recover: Callable[[Keyring], None] | None = None
) -> Provisioned:
    """Opens or makes the keys in `keys`, migrates, installs the compiled policy and the doors' service actors. Idempotent.

    `recover` runs before the first audit row is written: a restored copy must take back the rows that it lost, under their own numbers.

    Raises RootKeyError or MigrationError before anything is changed when keys and database do not belong together.
    """
    ring = Keyring.open_or_create(keys)
    ring.ensure(catalogue["compartments"])
    migration = migrate(admin_dsn, ring.database_passwords(), ring.keyring_id)
    with psycopg.connect(admin_dsn) as connection:
        _not_older(ring, connection)
        try:
            row = connection.execute("SELECT vault.install_policy(%s::jsonb)", (json.dumps(dict(catalogue)),)).fetchone()
        except psycopg.errors.UniqueViolation:
            raise MigrationError(
                "The policy changed, but another version of the same date is in the database already. Give the change a new `version` and a later "
                "`effective_from` (`armonika policy diff` says what is material); nothing was changed."
            ) from None
        assert row is not None
        connection.commit()
        if recover is not None:
            recover(ring)
        for name in catalogue["compartments"]:
            connection.execute("SELECT vault.install_epoch(%s, %s)", (name, ring.epochs.active(name) or 1))
        roles = {role["name"] for role in catalogue["roles"]}
        for door in DOORS:
            if door not in roles:
                continue
            actor, secret = ring.service(door)
            digest = crypto.sha256(secret)
            living = connection.execute(
                "SELECT 1 FROM vault.session WHERE secret_hash = %s AND expires_at > clock_timestamp() + interval '30 days'",
                (digest,),
            ).fetchone()
            if living is None:
                connection.execute(
                    "SELECT vault.install_session(%s, %s, %s, %s, 'service', %s::interval, NULL)",
                    (digest, actor, door, door, _TEN_YEARS),
                )
        if "keeper" in roles:
            connection.execute("SELECT vault.note_policies()")
        for name in catalogue["compartments"]:
            active = ring.epochs.active(name)
            if active is not None:
                # A crash between keyring and database in a rotation is mended here.
                connection.execute("SELECT vault.activate_epoch(%s, %s)", (name, active))
        for name, number in connection.execute("SELECT compartment, epoch FROM vault.epochs() WHERE state = 'active'").fetchall():
            if ring.epochs.held_back(name, number):
                # One between the two in a suspension: what the keyring holds back is not written.
                connection.execute("SELECT vault.suspend_epoch(%s, %s)", (name, number))
        ring.hold(connection.execute("SELECT compartment, epoch FROM vault.epochs() WHERE state <> 'retired'").fetchall())
        doors: dict[str, dict[str, str]] = {}
        for entry in catalogue["doors"]:
            doors.setdefault(entry["door"], {})[entry["compartment"]] = entry["mode"]
    if "keeper" in roles:
        tell(ring, admin_dsn)
    return Provisioned(ring, migration, int(row[0]), doors)


def _not_older(ring: Keyring, connection: psycopg.Connection[Any]) -> None:
    """Raises MigrationError when the database writes or holds epochs of which this keyring knows nothing yet: it is a copy from before a rotation."""
    states = {(line.compartment, line.epoch): line.state for line in ring.epochs.inventory()}
    for name, number, state in connection.execute(
        "SELECT compartment, epoch, state FROM vault.epochs() WHERE state <> 'retired'"
    ).fetchall():
        known = states.get((name, number))
        later = state in ("active", "suspended") and known is KeyState.PRE_ACTIVATION
        if known is None or later:
            raise MigrationError(
                f"{ring.folder / KEYRING} is older than the database, which holds epoch {number} of {name}. Put back the newest copy of the keys folder: with "
                "this one what was written since would open for nobody. Nothing was changed."
            )


def issue_token(admin_dsn: str, role: str = "integration", days: float = 90, label: str | None = None, *, compartments: Sequence[str] | None = None,
                purposes: Sequence[str] | None = None, operations: Sequence[str] | None = None) -> str:  # fmt: skip
    """A token of the machine API for `role`, shown once; only its SHA-256 is kept. `label` is `[a-z0-9-]{1,40}`.

    `compartments`, `purposes` and `operations` bound it further than its role; None is no bound. Raises ValueError for a name that is not declared.
    """
    token = TOKEN_PREFIX + base64.urlsafe_b64encode(crypto.random_bytes(32)).decode().rstrip("=")
    digest = crypto.sha256(token.encode())
    try:
        with psycopg.connect(admin_dsn) as connection:
            connection.execute(
                "SELECT vault.install_session(%s, %s, %s, 'api', 'token', make_interval(secs => %s), %s)",
                (digest, uuid4(), role, days * 86400, label),
            )
            bounds = [list(dict.fromkeys(names)) if names is not None else None for names in (compartments, purposes, operations)]
            connection.execute("SELECT vault.narrow_token(%s, %s::text[], %s::text[], %s::text[])", (digest, *bounds))
    except psycopg.DatabaseError as error:
        if error.sqlstate == "AR422":
            raise ValueError("no such role, compartment, purpose or operation in the policy; nothing was issued") from None
        raise
    return token


@dataclass(frozen=True, slots=True)
class Token:
    """A living token of the machine API, without what it opens. `name` is the beginning of its hash, by which it is ended."""

    name: str
    label: str | None
    role: str
    issued: datetime
    expires: datetime


def name_of(token: str) -> str:
    """The name of a token: the beginning of its hash, which opens nothing."""
    return crypto.sha256(token.encode()).hex()[:NAME_DIGITS]


def tokens(admin_dsn: str) -> list[Token]:
    """Every token that is neither ended nor expired, oldest first."""
    with psycopg.connect(admin_dsn) as connection:
        rows = connection.execute(
            "SELECT left(encode(s.secret_hash, 'hex'), %s), s.label, r.name, s.created_at, s.expires_at FROM vault.session s JOIN vault.role r ON r.id = s.role "
            "WHERE s.kind = 'token' AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp() ORDER BY s.created_at, 1",
            (NAME_DIGITS,),
        ).fetchall()
    return [Token(*row) for row in rows]


def end_token(admin_dsn: str, name: str) -> int:
    """Ends the one token whose hash begins so, at once. Returns the audit row's number. Raises LookupError unless it is exactly one that lives."""
    try:
        with psycopg.connect(admin_dsn) as connection:
            row = connection.execute("SELECT vault.end_token(%s)", (name,)).fetchone()
    except psycopg.DatabaseError as error:
        if error.sqlstate in ("AR403", "AR422"):
            raise LookupError("no living token is named so; `armonika token list` names them. Nothing was ended") from None
        raise
    assert row is not None
    return int(row[0])
