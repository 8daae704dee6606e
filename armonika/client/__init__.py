"""A typed client of the machine API. It imports nothing else of Armonika, so that a service can take this folder alone (docs/client.md)."""

from __future__ import annotations

from armonika.client.asynchronous import AsyncClient
from armonika.client.client import Client
from armonika.client.retry import Retry
from armonika.client.types import Checkpoint, Correction, Done, Erased, Made, NewPerson, Outcome, Person, Policy, Record, Use

__all__ = [
    "AsyncClient",
    "Checkpoint",
    "Client",
    "Correction",
    "Done",
    "Erased",
    "Made",
    "NewPerson",
    "Outcome",
    "Person",
    "Policy",
    "Record",
    "Retry",
    "Use",
]
