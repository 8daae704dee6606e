"""Logs as one JSON object a line. Only declared extras are written: a value that nobody declared cannot slip into a log (claim 1c.1)."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

ALLOWED = frozenset(
    {"process", "port", "status", "method", "route", "seconds", "count", "task", "attempt", "error", "size", "request"}
)


class Formatter(logging.Formatter):
    """JSON lines. An exception is named by its type and place: its message may repeat what somebody typed."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"), "level": record.levelname.lower(), "from": record.name,
            "message": record.getMessage() if record.name.startswith("armonika") else str(record.msg),
        }  # fmt: skip
        entry |= {
            name: value for name, value in record.__dict__.items() if name in ALLOWED and isinstance(value, str | int | float)
        }
        if record.exc_info and record.exc_info[0] is not None:
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            place = f"{trace.tb_frame.f_code.co_filename.rpartition('/armonika/')[2]}:{trace.tb_lineno}" if trace else ""
            entry["error"] = f"{record.exc_info[0].__name__} at {place}"
        return json.dumps(entry, ensure_ascii=False)


def configure(level: int = logging.INFO) -> None:
    """Sends every log line of this process to standard output in this form."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Formatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in (
        "procrastinate",
        "mail.log",
        "psycopg",
        "psycopg.pool",
        "_granian",
        "granian.access",
        "django.request",
        "django.security",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING if not noisy.startswith("django") else logging.ERROR)
