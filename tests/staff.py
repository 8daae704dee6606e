"""Members of staff for tests: appointed as the operator does, with the second factor set up as the pages do."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from armonika import policy
from armonika.flows import appointments
from armonika.flows import second_factor as flow
from armonika.rules import one_time_code
from armonika.trust import crypto
from armonika.trust.vault import Vault, secret_hash
from armonika.trust.vault.types import Actor, SecretHash

PASSWORD = "long enough for staff"


def code(key: bytes, step: int) -> str:
    """The code of a key at a step."""
    return one_time_code.code(crypto.hmac_sha1(key, one_time_code.counter(step)))


@dataclass
class Agent:
    """A member of staff: what they know, and what their authenticator holds."""

    console: Vault
    subject: UUID
    email: str
    role: str
    key: bytes = b""
    codes: list[str] = field(default_factory=list)
    step: int = 0
    """The newest step whose code was used."""

    def pending(self) -> tuple[str, Actor]:
        """A session of the password alone: (secret, actor)."""
        return self.console.sign_in("staff", self.email, PASSWORD)

    def enrol(self, session: str, actor: Actor) -> str:
        """Sets the factor up with the code of half a minute ago; returns the secret of the proven session."""
        key = base64.b32decode(flow.enrolment(self.console, policy.load(), session, actor).key.replace(" ", ""))
        step = flow.standing(self.console, secret_hash(session)).step - 1
        made = flow.enrol(self.console, session, actor, code(key, step))
        self.key, self.step, self.codes = key, step, made.codes
        return made.secret

    def next_code(self) -> str:
        """A code that was not used yet: waits for one when the three that count now are used."""
        now = one_time_code.step_of(time.time())
        self.step = max(self.step + 1, now - 1)
        while self.step > one_time_code.step_of(time.time()) + 1:
            time.sleep(0.2)
        return code(self.key, self.step)

    def signed_in(self) -> SecretHash:
        """A session with the second factor proven."""
        session, actor = self.pending()
        if not self.key:
            return secret_hash(self.enrol(session, actor))
        return secret_hash(flow.prove(self.console, secret_hash(session), actor, self.next_code()))


def appoint(console: Vault, admin_dsn: str, role: str = "support") -> Agent:
    """Somebody new, who has not enrolled yet."""
    email = f"s{uuid4().hex}@operator.example"
    return Agent(console, appointments.appoint(console, admin_dsn, policy.load(), "Zahra", email, role, PASSWORD), email, role)
