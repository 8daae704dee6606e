"""The client for programs with an asyncio event loop: the same calls as `Client`."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from uuid import UUID

import httpx

from armonika.client import connection, requests
from armonika.client.answers import Answer
from armonika.client.bounds import Gathered, Secret, packed
from armonika.client.calls import Call
from armonika.client.errors import ConnectionFailed
from armonika.client.exchange import course
from armonika.client.export import Export
from armonika.client.retry import Retry
from armonika.client.types import Checkpoint, Correction, Done, Erased, Made, NewPerson, Outcome, Person, Policy, Record, Use
from armonika.client.wire import AsyncWire

T = TypeVar("T")


class AsyncClient:
    """Every operation of the machine API, for one event loop. Close it, or use it as an asynchronous context manager.

    Every method raises a Problem of `armonika.client.errors` when the API refuses, ConnectionFailed when no answer came, UnexpectedAnswer when it
    was another's. Reads and creations are sent again after broken connections and 503; nothing else is.
    """

    def __init__(
        self, address: str, token: str | None = None, *, token_file: Path | str | None = None, verify: ssl.SSLContext | Path | str | None = None,
        cert: tuple[str, str] | None = None, timeout: httpx.Timeout | float = connection.TIMEOUT, retry: Retry = Retry(),  # noqa: B008 (immutable)
    ) -> None:  # fmt: skip
        """`verify` is a file of authorities or an SSL context, `cert` the client's certificate and key files. Raises ValueError, OSError, SSLError."""
        named, tls = connection.options(address, token, token_file, verify, cert, timeout)
        self._http = httpx.AsyncClient(transport=AsyncWire(verify=tls or False, trust_env=False), **named)
        self._retry, self._patience = retry, connection.patience(timeout)
        self._secret = Secret(named["headers"]["Authorization"].partition(" ")[2])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http.base_url)!r})"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def create(self, new: NewPerson, use: Use, *, key: str | None = None) -> Made:
        """Stores a new person. `key` is the Idempotency-Key; by default a new one each call, which covers this call's own repetitions."""
        return await self._run(requests.create(new, use, key))

    async def read(self, person: UUID, dataset: str, fields: Iterable[str], use: Use) -> Person:
        """The records of one person in one dataset."""
        return await self._run(requests.read(person, dataset, fields, use))

    async def correct(
        self, person: Person, values: Mapping[str, str], use: Use, *, record: UUID | None = None, overwrite: bool = False
    ) -> Done:
        """New values of one record of a person as it was read or found. Raises VersionConflict when one of them changed since; `overwrite` does not look.
        `record` is needed when the person has several."""
        return await self._run(requests.correct(person, values, use, record, overwrite))

    async def erase(self, person: UUID, use: Use) -> Erased:
        """Destroys the keys and records of a person."""
        return await self._run(requests.erase(person, use))

    async def restrict(self, person: UUID, use: Use) -> Done:
        """From now on only the purposes that the policy leaves may read this person."""
        return await self._run(requests.restriction(person, use, True))

    async def lift(self, person: UUID, use: Use) -> Done:
        """Ends the restriction."""
        return await self._run(requests.restriction(person, use, False))

    async def look_up(self, email: str, dataset: str, fields: Iterable[str], use: Use) -> Person | None:
        """The person with exactly this address, in any letter case, if any."""
        return await self._run(requests.look_up(email, dataset, fields, use))

    async def policy(self) -> Policy:
        """The policy in force and the names that may be used."""
        return await self._run(requests.policy())

    async def create_people(self, people: Sequence[NewPerson], use: Use, *, key: str | None = None) -> list[Outcome[Made]]:
        """Up to 1,000 new people, an outcome for each in their order."""
        return await self._run(requests.create_people(people, use, key))

    async def read_people(self, people: Sequence[UUID], dataset: str, fields: Iterable[str], use: Use) -> list[Outcome[Person]]:
        """Up to 1,000 people, the same fields of each."""
        return await self._run(requests.read_people(people, dataset, list(fields), use))

    async def erase_people(self, people: Sequence[UUID], use: Use) -> list[Outcome[Done]]:
        """Erases up to 1,000 people."""
        return await self._run(requests.erase_people(people, use))

    async def correct_people(self, corrections: Sequence[Correction], use: Use) -> list[Outcome[Done]]:
        """Corrects up to 1,000 records, each or not at all."""
        return await self._run(requests.correct_people(corrections, use))

    async def restrict_people(self, people: Sequence[UUID], use: Use) -> list[Outcome[Done]]:
        """Restricts the processing of up to 1,000 people."""
        return await self._run(requests.restrict_people(people, use, True))

    async def lift_people(self, people: Sequence[UUID], use: Use) -> list[Outcome[Done]]:
        """Ends the restriction of up to 1,000 people."""
        return await self._run(requests.restrict_people(people, use, False))

    async def look_up_people(self, emails: Sequence[str], dataset: str, fields: Iterable[str], use: Use) -> list[Outcome[Person]]:
        """The person with each of up to 1,000 addresses; NotFound for an address that nobody has."""
        return await self._run(requests.look_up_people(emails, dataset, list(fields), use))

    async def export(self, person: UUID, use: Use) -> AsyncIterator[Record]:
        """Every record that the token may read, as it arrives. Raises ConnectionFailed when the stream breaks off: begin again then."""
        held: list[httpx.Response] = []
        await self._run(requests.export(person, use), lambda call: self._open(call, held))
        export, failure = Export(UUID(str(person)), self._patience), None
        pieces = held[0].aiter_raw()
        try:
            while True:
                began = time.monotonic()
                async with asyncio.timeout(self._patience):
                    piece = await anext(pieces, None)
                if piece is None:
                    break
                for record in export.feed(piece, time.monotonic() - began):
                    yield record
            export.finish()
        except (httpx.RequestError, TimeoutError) as error:
            failure = connection.failed(error)
        finally:
            await held[0].aclose()
        if failure is not None:  # Raised here it holds no other error: that one holds the request, and so the token.
            raise failure

    async def checkpoint(self) -> Checkpoint:
        """The newest checkpoint of the audit log. Its signatures are not verified here."""
        return await self._run(requests.checkpoint())

    async def _run(self, call: Call[T], send: Callable[[Call[T]], Awaitable[Answer]] | None = None) -> T:
        steps = course(call, self._retry, self._secret.value)
        reply: Answer | ConnectionFailed | None = None
        try:
            while True:
                step = steps.send(reply)
                if isinstance(step, Call):
                    try:
                        reply = await (send or self._send)(step)
                    except (httpx.RequestError, TimeoutError) as error:
                        reply = connection.failed(error)
                    except ConnectionFailed as error:
                        reply = error
                else:
                    await asyncio.sleep(step)
                    reply = None
        except StopIteration as end:
            value: T = end.value
            return value

    def _request(self, call: Call[T]) -> httpx.Request:
        return self._http.build_request(call.method, call.path, headers={**call.headers, **connection.named()}, content=call.body)

    async def _send(self, call: Call[T]) -> Answer:
        async with asyncio.timeout(self._patience):
            return await self._whole(await self._http.send(self._request(call), stream=True))

    async def _whole(self, response: httpx.Response) -> Answer:
        try:
            if not connection.answered(response):
                raise ConnectionFailed("the answer to another request came")
            body = Gathered(response.status_code, response.headers)
            async for piece in response.aiter_raw():
                body.add(piece)
            return Answer(response.status_code, response.headers, body.whole())
        finally:
            await response.aclose()

    async def _open(self, call: Call[T], held: list[httpx.Response]) -> Answer:
        """The answer's beginning; its body stays on the wire when there is one to stream."""
        async with asyncio.timeout(self._patience):
            response = await self._http.send(self._request(call), stream=True)
            if response.status_code != call.status or packed(response.headers) or not connection.answered(response):
                return await self._whole(response)
            held.append(response)
            return Answer(response.status_code, response.headers, b"")
