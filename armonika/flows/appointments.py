"""The operator appoints, resets and ends members of staff; each leaves its entry. For the machine's administrator."""

from __future__ import annotations

from uuid import UUID

from armonika.policy import Policy
from armonika.trust.vault import Vault, staff
from armonika.trust.vault.errors import Refused, Undeclared
from armonika.trust.vault.types import NewRecord


def appoint(console: Vault, admin_dsn: str, policy: Policy, name: str, email: str, role: str, password: str) -> UUID:
    """A member of staff with a first password, who enrols a second factor at the first sign-in. The console writes, the administrator confirms: neither
    makes staff alone. Cut off in between, `reset` confirms. Raises Undeclared, Duplicate, Invalid."""
    roles = [known.name for known in policy.roles if known.kind == "staff"]
    if role not in roles:
        raise Undeclared(f"the role is no role of staff in the policy in force; there are: {', '.join(roles)}")
    new = NewRecord("staff", {"name": name, "email": email}, "operator", kind=policy.dataset("staff").subject)
    made = console.create(console.service, "legal", "staff-appointment", [new], password=password, role=role)
    staff.appoint(admin_dsn, made[0].subject)
    return made[0].subject


def subject_of(console: Vault, who: str) -> UUID:
    """The pseudonym of a member of staff by pseudonym or exact address. Raises Refused."""
    try:
        return UUID(who)
    except ValueError:
        found = console.find(console.service, "staff", "email", who, ["email"], "legal", "staff-appointment")
    if not found:
        raise Refused("there is no such member of staff")
    return found[0].subject


def reset(console: Vault, admin_dsn: str, subject: UUID, password: str) -> int:
    """Somebody lost the factor: a new password, and a new enrolment at the next sign-in. Returns the entry. Raises Refused."""
    return staff.reset(console, admin_dsn, subject, password)


def end(admin_dsn: str, subject: UUID) -> int:
    """Ends an appointment at once: credential, factor, sessions. Returns the entry. Raises Refused."""
    return staff.end(admin_dsn, subject)
