"""The client for programs without an event loop."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from armonika.client.wire import Wire, within

T = TypeVar("T")


class Client:
    """Every operation of the machine API. Safe to share between threads; close it, or use it as a context manager.

    Every method raises a Problem of `armonika.client.errors` when the API refuses, ConnectionFailed when no answer came, UnexpectedAnswer when it
    was another's. Reads and creations are sent again after broken connections and 503; nothing else is.
    """

    def __init__(
        self, address: str, token: str | None = None, *, token_file: Path | str | None = None, verify: ssl.SSLContext | Path | str | None = None,
        cert: tuple[str, str] | None = None, timeout: httpx.Timeout | float = connection.TIMEOUT, retry: Retry = Retry(),  # noqa: B008 (immutable)
    ) -> None:  # fmt: skip
        """`verify` is a file of authorities or an SSL context, `cert` the client's certificate and key files. Raises ValueError, OSError, SSLError."""
        named, tls = connection.options(address, token, token_file, verify, cert, timeout)
        self._http = httpx.Client(transport=Wire(tls), **named)
        self._retry, self._patience = retry, connection.patience(timeout)
        self._secret = Secret(named["headers"]["Authorization"].partition(" ")[2])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http.base_url)!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def create(self, new: NewPerson, use: Use, *, key: str | None = None) -> Made:
        """Stores a new person. `key` is the Idempotency-Key; by default a new one each call, which covers this call's own repetitions."""
        return self._run(requests.create(new, use, key))

    def read(self, person: UUID, dataset: str, fields: Iterable[str], use: Use) -> Person:
        """The records of one person in one dataset."""
        return self._run(requests.read(person, dataset, fields, use))

    def correct(
        self, person: Person, values: Mapping[str, str], use: Use, *, record: UUID | None = None, overwrite: bool = False
    ) -> Done:
        """New values of one record of a person as it was read or found. Raises VersionConflict when one of them changed since; `overwrite` does not look.
        `record` is needed when the person has several."""
        return self._run(requests.correct(person, values, use, record, overwrite))

    def erase(self, person: UUID, use: Use) -> Erased:
        """Destroys the keys and records of a person."""
        return self._run(requests.erase(person, use))

    def restrict(self, person: UUID, use: Use) -> Done:
        """From now on only the purposes that the policy leaves may read this person."""
        return self._run(requests.restriction(person, use, True))

    def lift(self, person: UUID, use: Use) -> Done:
        """Ends the restriction."""
        return self._run(requests.restriction(person, use, False))

    def look_up(self, email: str, dataset: str, fields: Iterable[str], use: Use) -> Person | None:
        """The person with exactly this address, in any letter case, if any."""
        return self._run(requests.look_up(email, dataset, fields, use))

    def policy(self) -> Policy:
        """The policy in force and the names that may be used."""
        return self._run(requests.policy())

    def create_people(self, people: Sequence[NewPerson], use: Use, *, key: str | None = None) -> list[Outcome[Made]]:
        """Up to 1,000 new people, an outcome for each in their order."""
        return self._run(requests.create_people(people, use, key))

    def read_people(self, people: Sequence[UUID], dataset: str, fields: Iterable[str], use: Use) -> list[Outcome[Person]]:
        """Up to 1,000 people, the same fields of each."""
        return self._run(requests.read_people(people, dataset, list(fields), use))

    def erase_people(self, people: Sequence[UUID], use: Use) -> list[Outcome[Done]]:
        """Erases up to 1,000 people."""
        return self._run(requests.erase_people(people, use))

    def correct_people(self, corrections: Sequence[Correction], use: Use) -> list[Outcome[Done]]:
        """Corrects up to 1,000 records, each or not at all."""
        return self._run(requests.correct_people(corrections, use))

    def restrict_people(self, people: Sequence[UUID], use: Use) -> list[Outcome[Done]]:
        """Restricts the processing of up to 1,000 people."""
        return self._run(requests.restrict_people(people, use, True))

    def lift_people(self, people: Sequence[UUID], use: Use) -> list[Outcome[Done]]:
        """Ends the restriction of up to 1,000 people."""
        return self._run(requests.restrict_people(people, use, False))

    def look_up_people(self, emails: Sequence[str], dataset: str, fields: Iterable[str], use: Use) -> list[Outcome[Person]]:
        """The person with each of up to 1,000 addresses; NotFound for an address that nobody has."""
        return self._run(requests.look_up_people(emails, dataset, list(fields), use))

    def export(self, person: UUID, use: Use) -> Iterator[Record]:
        """Every record that the token may read, as it arrives. Raises ConnectionFailed when the stream breaks off: begin again then."""
        held: list[httpx.Response] = []
        self._run(requests.export(person, use), lambda call: self._open(call, held))
        export, failure = Export(UUID(str(person)), self._patience), None
        pieces = held[0].iter_raw()
        try:
            while True:
                began = time.monotonic()
                with within(self._patience):
                    piece = next(pieces, None)
                if piece is None:
                    break
                yield from export.feed(piece, time.monotonic() - began)
            export.finish()
        except httpx.RequestError as error:
            failure = connection.failed(error)
        finally:
            held[0].close()
        if failure is not None:  # Raised here it holds no other error: that one holds the request, and so the token.
            raise failure

    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint of the audit log. Its signatures are not verified here."""
        return self._run(requests.checkpoint())

    def _run(self, call: Call[T], send: Callable[[Call[T]], Answer] | None = None) -> T:
        steps = course(call, self._retry, self._secret.value)
        reply: Answer | ConnectionFailed | None = None
        try:
            while True:
                step = steps.send(reply)
                if isinstance(step, Call):
                    try:
                        reply = (send or self._send)(step)
                    except httpx.RequestError as error:
                        reply = connection.failed(error)
                    except ConnectionFailed as error:
                        reply = error
                else:
                    time.sleep(step)
                    reply = None
        except StopIteration as end:
            value: T = end.value
            return value

    def _request(self, call: Call[T]) -> httpx.Request:
        return self._http.build_request(call.method, call.path, headers={**call.headers, **connection.named()}, content=call.body)

    def _send(self, call: Call[T]) -> Answer:
        with within(self._patience):
            return self._whole(self._http.send(self._request(call), stream=True))

    def _whole(self, response: httpx.Response) -> Answer:
        try:
            if not connection.answered(response):
                raise ConnectionFailed("the answer to another request came")
            body = Gathered(response.status_code, response.headers)
            for piece in response.iter_raw():
                body.add(piece)
            return Answer(response.status_code, response.headers, body.whole())
        finally:
            response.close()

    def _open(self, call: Call[T], held: list[httpx.Response]) -> Answer:
        """The answer's beginning; its body stays on the wire when there is one to stream."""
        with within(self._patience):
            response = self._http.send(self._request(call), stream=True)
            if response.status_code != call.status or packed(response.headers) or not connection.answered(response):
                return self._whole(response)
            held.append(response)
            return Answer(response.status_code, response.headers, b"")
