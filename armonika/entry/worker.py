"""The worker: takes jobs from the queue. Its role in the database can read names and addresses for letters, and nothing else."""

from __future__ import annotations

import asyncio
import os
from uuid import UUID

from procrastinate import App, RetryStrategy
from psycopg.conninfo import make_conninfo

from armonika import policy, settings
from armonika.flows.jobs import make_app
from armonika.flows.letters import LETTERS
from armonika.flows.send_letter import send_letter
from armonika.gates import log, mail
from armonika.gates.channel import Channel
from armonika.gates.mail import MailError
from armonika.trust.keys import credentials
from armonika.trust.vault import Vault
from armonika.trust.vault.errors import Unavailable


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
    return app


async def work() -> None:
    """Runs until SIGTERM."""
    app = build()
    async with app.open_async():
        await app.run_worker_async(queues=["letters"], concurrency=2, fetch_job_polling_interval=1.0, delete_jobs="successful")


def main() -> None:
    """Entry point."""
    log.configure()
    asyncio.run(work())


if __name__ == "__main__":
    main()
