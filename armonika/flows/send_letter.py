"""Send one letter: made for the job queue, where only the pseudonym and the language of a person travel."""

from __future__ import annotations

from uuid import UUID

from armonika.flows.letters import compose, compose_notice
from armonika.gates import mail
from armonika.policy import Policy
from armonika.settings import Settings
from armonika.trust.vault import Vault
from armonika.trust.vault.errors import Refused

DAY, HOUR = 86400, 3600


def send_letter(
    vault: Vault, policy: Policy, config: Settings, server: mail.Server, task: str, subject: UUID, language: str
) -> bool:
    """Reads the address through the vault, makes the link's token now, and hands the letter over. False when the person is gone meanwhile."""
    try:
        records = vault.read(vault.service, subject, "account", ["name", "email"], "provide", "send-letter")
    except Refused:
        return False
    if not records:
        return False
    values = records[0].values
    base = f"{config.site_url}/{language}"
    if task == "send-verification":
        link = f"{base}/confirm/{vault.issue_challenge(subject, 'verify-address', DAY)}/"
    elif task == "send-reset":
        link = f"{base}/reset/{vault.issue_challenge(subject, 'reset-password', HOUR)}/"
    else:
        link = f"{base}/forgotten/"
    subject_line, body = compose(task, language, values["name"], link)
    mail.send(server, policy.controller.privacy_email, values["email"], subject_line, body, language)
    return True


def send_notice(policy: Policy, config: Settings, server: mail.Server) -> None:
    """Tells who looks after it that the administrator's rights were used, at the policy's `privacy_email`: no person's address is read, and nothing of what
    was done is told (docs/security/access.md). Raises MailError."""
    links = {language: f"{config.console_url}/{language}/administrator/" for language in policy.languages}
    subject_line, body = compose_notice(policy.languages, links)
    to = policy.controller.privacy_email
    mail.send(server, to, to, subject_line, body, policy.languages[0])
