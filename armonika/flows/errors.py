"""What a person can mend: faults of single fields, by name of the fault (doors put them into words)."""

from __future__ import annotations

from collections.abc import Mapping


class Faults(Exception):
    """Input that cannot be used. `fields` maps field name to a fault: required, long, email, invalid, short, common, own, unchecked."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("input cannot be used")
        self.fields = dict(fields)
