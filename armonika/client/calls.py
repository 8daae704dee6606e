"""One call as plain data, and the parts that calls are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID, uuid4

import msgspec

from armonika.client.answers import Answer
from armonika.client.items import outcomes
from armonika.client.types import NewPerson, Outcome, Use

MOST = 1000
"""People in one batch."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and what its answer means. `repeatable`: sent twice it does no more than sent once. `status` and `media` are those of the one answer
    that is a success: any other, a part of one (206) too, is not what was asked for."""

    method: str
    path: str
    parse: Callable[[Answer], T]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = False
    status: int = 200
    media: str = "application/json"


def place_of(person: UUID) -> str:
    """A path; whatever is no UUID raises ValueError, so that nothing else ever becomes a part of an address."""
    return f"/v1/people/{UUID(str(person))}"


def asked_for(use: Use) -> dict[str, str]:
    """What for, as the API takes it."""
    asked = {"purpose": use.purpose, "reason": use.reason}
    return asked if use.reference is None else {**asked, "reference": use.reference}


def item_of(new: NewPerson) -> dict[str, Any]:
    """One person to create, as the API takes it."""
    item = {"dataset": new.dataset, "values": dict(new.values)}
    return item if new.organisation is None else {**item, "organisation": new.organisation}


def within_bounds(people: Sequence[T]) -> Sequence[T]:
    """The items of a batch. Raises ValueError for none or too many."""
    if not 1 <= len(people) <= MOST:
        raise ValueError(f"a batch has 1 to {MOST} people, this one {len(people)}")
    return people


def query_of(params: Mapping[str, str]) -> str:
    """Commas stay as they are: the API has a short way for reads in this plain form."""
    return "?" + urlencode(params, safe=",")


def sending(method: str, path: str, body: Mapping[str, Any], parse: Callable[[Answer], T]) -> Call[T]:
    """A call with a JSON body. Raises ValueError for what is no text."""
    content = _encoded(body)
    if content is None:
        raise ValueError("a value is no text: it holds half of a surrogate pair")
    return Call(method, path, parse, headers={"Content-Type": "application/json"}, body=content)


def _encoded(body: Mapping[str, Any]) -> bytes | None:
    """None for what is no text: the error of it holds the value, and one that is raised meanwhile would hold that error."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return None


def posting(path: str, body: Mapping[str, Any], parse: Callable[[Answer], T]) -> Call[T]:
    """The same by POST."""
    return sending("POST", path, body, parse)


def batch_of(
    path: str, body: Mapping[str, Any], count: int, value_of: Callable[[], Callable[[Any, int], T | None]]
) -> Call[list[Outcome[T]]]:
    """A batch; what takes the results of an answer is made for each answer anew."""
    return posting(path, body, lambda answer: outcomes(answer, count, value_of()))


def keyed(call: Call[T], key: str | None) -> Call[T]:
    """With an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header), a random one by default: the server does it once however often it comes.
    Raises ValueError for a key that no header can hold."""
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise ValueError("an Idempotency-Key has 1 to 255 printable ASCII characters")
    return replace(call, headers={**call.headers, "Idempotency-Key": f'"{uuid4()}"' if key is None else key}, repeatable=True)
