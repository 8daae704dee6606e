"""A synthetic member of staff for the verifier: appointed and ended by the operator's commands, signed in at the console's own pages (claim 7a.4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from armonika.settings import CHECKOUT
from armonika.verify.context import Context
from armonika.verify.frame import CannotProbe
from armonika.verify.http import Answer, Browserlike


@dataclass
class Agent:
    """The member of staff, as somebody who knows the password and, after enrolment, the key."""

    subject: UUID
    email: str
    password: str
    key: bytes = b""
    step: int = 0
    """The half minute whose code set the factor up."""

    def code(self, step: int) -> str:
        """The code of a half minute (RFC 6238, written here apart from the code that checks it)."""
        digest = hmac.new(self.key, struct.pack(">Q", step), hashlib.sha1).digest()
        (number,) = struct.unpack(">I", digest[digest[19] & 15 :][:4])
        return f"{(number & 0x7FFFFFFF) % 1000000:06d}"


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """One command of the operator."""
    return subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip


@contextmanager
def agent(context: Context, role: str) -> Iterator[Agent]:
    """A member of staff of `role` who leaves nothing behind. Raises CannotProbe when nobody can be appointed."""
    email = f"{secrets.token_hex(10)}@canary.example"
    done = command("staff", "appoint", "--name", context.token(), "--email", email, "--role", role, "--json")
    if done.returncode != 0:
        raise CannotProbe(f"no member of staff could be appointed: {done.stderr.strip()[-200:]}")
    said = json.loads(done.stdout)
    made = Agent(UUID(said["subject"]), email, said["password"])
    try:
        yield made
    finally:
        command("staff", "end", str(made.subject))
        context.vault.erase(context.vault.service, [made.subject], "legal", "verification")


def sign_in(context: Context, made: Agent) -> tuple[Browserlike, Answer]:
    """A visitor of the console who gave address and password."""
    visitor = context.visitor()
    answer = visitor.submit(context.settings.console_url + "/en/sign-in/", {"email": made.email, "password": made.password})
    return visitor, answer


def enrol(context: Context, made: Agent, visitor: Browserlike) -> list[str]:
    """Sets the factor up on the page; returns the recovery codes that it shows."""
    address = context.settings.console_url + "/en/second-factor/enrol/"
    shown = re.search(r'class="key"[^>]*>([A-Z2-7 ]+)<', visitor.get(address).text)
    if shown is None:
        return []
    made.key = base64.b32decode(shown.group(1).replace(" ", ""))
    made.step = int(time.time()) // 30
    return re.findall(r'class="key">([A-Z2-7 ]+)<', visitor.submit(address, {"code": made.code(made.step)}).text)
