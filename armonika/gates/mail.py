"""Outgoing mail over SMTP. The local twin is the mail sink (`armonika.entry.mailsink`), which speaks the same protocol."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from armonika.gates import clock


class MailError(Exception):
    """The letter could not be handed over; the job is tried again."""


def send(host: str, port: int, sender: str, recipient: str, subject: str, body: str, language: str) -> None:
    """Hands one plain-text letter to the mail server. Nothing personal stands in the subject or the message id."""
    message = EmailMessage()
    message["From"] = f"Armonika <{sender}>"
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Content-Language"] = language
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body, charset="utf-8", cte="base64")
    international = not recipient.isascii()
    try:
        with smtplib.SMTP(host, port, timeout=10) as smtp:
            smtp.send_message(message, sender, [recipient], mail_options=["SMTPUTF8"] if international else [])
    except (OSError, smtplib.SMTPException) as error:
        raise MailError(type(error).__name__) from None
