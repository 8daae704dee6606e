"""Names and ids of the policy in force, as a door sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from armonika.trust.vault.errors import Undeclared


@dataclass(frozen=True, slots=True)
class Dataset:
    """One declared dataset. Ordinals count from 1 and never change their meaning."""

    id: int
    name: str
    compartment: str
    ordinals: Mapping[str, int]
    names: Mapping[int, str]
    indexed: frozenset[str]
    labels: Mapping[str, bytes]
    epoch: int | None
    """The epoch of its compartment that is written now; None while it is suspended."""
    indexing: tuple[int, ...]
    """Epochs under which a look-up value is written: two while a rotation is under way."""

    def mask(self, fields: Iterable[str]) -> int:
        """Bit mask of `fields`; `Undeclared` for a name that the policy does not know (claim 1a.1)."""
        mask = 0
        for field in fields:
            ordinal = self.ordinals.get(field)
            if ordinal is None:
                raise Undeclared(f"a field of {self.name} is not declared in the policy in force")
            mask |= 1 << (ordinal - 1)
        if not mask:
            raise Undeclared("name at least one field")
        return mask


class Catalogue:
    """The compiled policy's names. Made from `vault.catalogue()`."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.sha256 = str(content["sha256"])
        self.version = str(content["version"])
        self._datasets: dict[str, Dataset] = {}
        epochs: Mapping[str, Any] = content["epochs"]
        for name, entry in (content["datasets"] or {}).items():
            ordinals = dict(
                sorted(((field, int(number)) for field, number in (entry["fields"] or {}).items()), key=lambda pair: pair[1])
            )
            self._datasets[name] = Dataset(
                id=int(entry["id"]),
                name=name,
                compartment=entry["compartment"],
                ordinals=ordinals,
                names={number: field for field, number in ordinals.items()},
                indexed=frozenset(entry["indexed"]),
                epoch=epochs.get(entry["compartment"], {}).get("active"),
                indexing=tuple(epochs.get(entry["compartment"], {}).get("indexing") or ()),
                labels={field: f"{name}.{field}".encode() for field in ordinals},
            )
        self.by_id = {dataset.id: dataset for dataset in self._datasets.values()}
        self._purposes: Mapping[str, int] = content["purposes"] or {}
        self._reasons: Mapping[str, int] = content["reasons"] or {}
        self.operations: Mapping[str, int] = content["operations"]

    def dataset(self, name: str) -> Dataset:
        """A dataset by name, or `Undeclared`."""
        try:
            return self._datasets[name]
        except KeyError:
            raise Undeclared("the dataset is not declared in the policy in force") from None

    def declares(self, name: str) -> bool:
        """Whether there is a dataset of this name."""
        return name in self._datasets

    def purpose(self, name: str) -> int:
        """A purpose's id, or `Undeclared` (claim 2a.0)."""
        try:
            return int(self._purposes[name])
        except KeyError:
            raise Undeclared("the purpose is not declared in the policy in force") from None

    def reason(self, name: str) -> int:
        """A reason's id, or `Undeclared`."""
        try:
            return int(self._reasons[name])
        except KeyError:
            raise Undeclared("the reason is not declared in the policy in force") from None

    def purposes(self) -> list[str]:
        """Names of the declared purposes."""
        return sorted(self._purposes)

    def reasons(self) -> list[str]:
        """Names of the declared reasons."""
        return sorted(self._reasons)
