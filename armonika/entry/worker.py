"""The worker: takes jobs from the queue, and ends what has expired. Its role in the database can read names and addresses for letters, and nothing
else; the retention job beside has a role of its own, which can end what is due, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from uuid import UUID

from procrastinate import App, RetryStrategy
from psycopg.conninfo import make_conninfo

from armonika import policy, settings
from armonika.flows.jobs import make_app
from armonika.flows.letters import LETTERS
from armonika.flows.retention import Steady
from armonika.flows.retention import run as end_expired
from armonika.flows.send_letter import send_letter, send_notice
from armonika.gates import log, mail
from armonika.gates.channel import Channel
from armonika.gates.mail import MailError
from armonika.supervisor.certificates import beside
from armonika.supervisor.database import door_dsn
from armonika.trust.keys import credentials
from armonika.trust.vault import Vault
from armonika.trust.vault.errors import Unavailable, VaultError
from armonika.trust.vault.retention import Expirer

_log = logging.getLogger("armonika.worker")
EXPIRY_SECONDS = 300.0
"""Periods end at midnight: the job is at most this late."""
PURGE_EVERY = 12
"""What nobody collects is looked for every so many runs."""


def build() -> App:
    """The queue with its tasks."""
    held = credentials.load("worker")
    dsn = os.environ["ARMONIKA_DSN"]
    config = settings.load()
    vault = Vault.open(held, dsn, size=3)
    loaded = policy.load()
    server = mail.operator(*config.mail_server) if config.mail_server else mail.sink(Channel(), config.smtp_port)
    app = make_app(make_conninfo(dsn, user=held.database_user, password=held.database_password))
    retry = RetryStrategy(max_attempts=12, exponential_wait=2, retry_exceptions={MailError, Unavailable})

    def task(name: str) -> None:
        @app.task(name=name, queue="letters", retry=retry)
        def run(subject: str, language: str) -> None:
            send_letter(vault, loaded, config, server, name, UUID(subject), language)

    for name in LETTERS:
        task(name)

    @app.task(name="send-administrator", queue="letters", retry=retry)
    def notice() -> None:
        send_notice(loaded, config, server)

    return app


def expire(stop: threading.Event) -> None:
    """Ends what has expired, again and again, until `stop`. Whatever goes wrong is said once, and tried again at the next turn."""
    held, dsn = credentials.load("retention"), os.environ["ARMONIKA_DSN"]
    if held.source is not None:
        dsn = door_dsn(dsn, held.source, beside("retention"))
    expirer = Expirer(held, dsn)
    steady = Steady(time.time, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    turn, said = 0, ""
    try:
        while True:
            try:
                done = end_expired(expirer, turn % PURGE_EVERY == 0, steady)
                turn, said = turn + 1, ""
                if done.ended or done.emptied:
                    _log.info("%d records ended, %d people are gone", done.ended, done.emptied)
            except VaultError as error:
                if str(error) != said:
                    said = str(error)
                    _log.error("nothing is ended: %s", error)
            except Exception as error:
                # The letters go on; the supervisor says it when something stays for a day (rounds.py).
                _log.error("the retention job failed: %s", type(error).__name__)
            if stop.wait(EXPIRY_SECONDS):
                return
    finally:
        expirer.close()


async def work() -> None:
    """Runs until SIGTERM."""
    app = build()
    async with app.open_async():
        await app.run_worker_async(queues=["letters"], concurrency=2, fetch_job_polling_interval=1.0, delete_jobs="successful")


def main() -> None:
    """Entry point."""
    log.configure()
    stop = threading.Event()
    job = threading.Thread(target=expire, args=(stop,), name="retention", daemon=True)
    job.start()
    asyncio.run(work())
    stop.set()
    job.join(5)


if __name__ == "__main__":
    main()
