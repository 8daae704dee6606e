"""A batch of creations: each person is stored or refused alone, whatever spoils another, and a batch that is sent again finds what it made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from armonika.doors.api import once
from armonika.trust.vault import AsyncVault
from armonika.trust.vault.errors import Duplicate, Forbidden, Invalid, Refused, Undeclared, VaultError
from armonika.trust.vault.types import Created, NewRecord, SecretHash

_OWN = (Duplicate, Undeclared, Invalid)
"""What one item can spoil: a value, or a dataset that is not declared."""
Results = list[Created | VaultError]


@dataclass(frozen=True, slots=True)
class BatchCreation:
    """Who creates for what, and the Idempotency-Key, if any."""

    vault: AsyncVault
    secret: SecretHash
    purpose: str
    reason: str
    reference: str | None
    key: bytes | None

    async def run(self, news: Sequence[NewRecord]) -> Results:
        """What was made, or the error, of each in their order. Raises SessionEnded, Refused and Unavailable when nothing was made."""
        return await self._parted(news, lambda new: new.dataset, self._of_dataset)

    async def _parted(
        self, news: Sequence[NewRecord], part: Callable[[NewRecord], Hashable], run: Callable[[list[NewRecord]], Awaitable[Results]]
    ) -> Results:  # fmt: skip
        """Part after part, for what a token may is decided by dataset and field: one that it may not spoils no other. Raises when each is refused."""
        parts: dict[Hashable, list[int]] = {}
        for number, new in enumerate(news):
            parts.setdefault(part(new), []).append(number)
        found: dict[int, Created | VaultError] = {}
        refusals: list[VaultError] = []
        for numbers in parts.values():
            try:
                results = await run([news[number] for number in numbers])
            except VaultError as error:
                if not isinstance(error, Refused) and not self._told(found.values(), error):
                    raise
                refusals.append(error)
                results = [error] * len(numbers)
            found.update(zip(numbers, results, strict=True))
        if len(refusals) == len(parts):
            raise refusals[0]
        return [found[number] for number in range(len(news))]

    def _told(self, before: Iterable[Created | VaultError], error: VaultError) -> bool:
        """Whether an error that comes in the middle is told of its items alone: the others were made, and their sender must hear of them. Whoever has a
        key hears of them when the batch is sent again."""
        return any(isinstance(one, Created) for one in before) and (self.key is None or error.status != 503)

    async def _of_dataset(self, news: Sequence[NewRecord]) -> Results:
        if not await self.vault.takes_part(news[0].dataset):
            return [await self._alone(new) for new in news]
        try:
            return await self._create_or_find(news)
        except Refused:
            if len({frozenset(new.values) for new in news}) == 1:
                raise
        return await self._parted(news, lambda new: frozenset(new.values), self._create_or_find)

    async def _alone(self, new: NewRecord) -> Created | VaultError:
        """An item of another door's compartment: refused alone, with its entry."""
        try:
            return (await self._together([new]))[0]
        except VaultError as error:
            return error

    async def _together(self, news: Sequence[NewRecord]) -> list[Created]:
        return await self.vault.create(self.secret, self.purpose, self.reason, news, self.reference)

    async def _create_or_find(self, news: Sequence[NewRecord]) -> Results:
        """A batch that is sent again is mostly there already: what the first one made is looked up, and only the rest is halved."""
        try:
            return [*await self._together(news)]
        except (*_OWN, Refused) as error:
            if isinstance(error, Refused) and (self.key is None or isinstance(error, Forbidden)):
                raise
            if self.key is None or not isinstance(error, (Duplicate, Refused)):
                return await self._apart(news, error)
            refusal = error
        results: list[Created | VaultError | None] = []
        for new in news:
            try:
                results += await once.before(self.vault, self.secret, [new], self.key, refusal)
            except (Duplicate, Refused):
                results.append(None)
            except VaultError as found:
                results.append(found)
        left = [new for new, result in zip(news, results, strict=True) if result is None]
        if len(left) == len(news) and isinstance(refusal, Refused):
            raise refusal
        rest = iter(await self._create(left) if left else ())
        return [result or next(rest) for result in results]

    async def _create(self, news: Sequence[NewRecord]) -> Results:
        """All in one transaction; when one spoils it, apart."""
        try:
            return [*await self._together(news)]
        except _OWN as error:
            return await self._apart(news, error)

    async def _apart(self, news: Sequence[NewRecord], error: VaultError) -> Results:
        """What `error` spoiled, in halves, down to the one, so that every other is stored."""
        if len(news) == 1:
            try:
                made = await once.before(self.vault, self.secret, news, self.key, error) if isinstance(error, Duplicate) else []
            except VaultError as found:
                return [found]
            return [*made] or [error]
        half = len(news) // 2
        first = await self._create(news[:half])
        try:
            return first + await self._create(news[half:])
        except VaultError as ended:
            if not self._told(first, ended):
                raise
            return first + [ended] * (len(news) - half)
