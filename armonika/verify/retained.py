"""How long records are kept, counted by the policy's text and own arithmetic: for the claims 6a.6 and 6a.9."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from armonika.verify.context import Context

LAG = timedelta(days=1)
_BEGAN = {"recording": "r.created_at", "event": "e.began_at", "latest-event": "greatest(r.created_at, e.began_at)"}


def edge(context: Context, dataset: str, ago: timedelta = timedelta(0)) -> datetime:
    """The earliest beginning that was not over yet `ago`: the dataset's whole days lie between its day and that day."""
    zone = ZoneInfo(context.policy.time_zone)
    days = context.policy.retention_of(context.policy.dataset(dataset).fields[0]).days
    return datetime.combine((datetime.now(zone) - ago).date() - timedelta(days=days), time(), zone)


def overdue(context: Context) -> tuple[int, int]:
    """Records of the whole system, and how many of them ended more than a day ago and are still there."""
    total = late = 0
    for dataset in context.policy.datasets:
        began = _BEGAN[context.policy.retention_of(dataset.fields[0]).starts]
        found = context.rows(
            f"SELECT count(*), count(*) FILTER (WHERE {began} < %s) FROM vault.record r JOIN vault.dataset d ON d.id = r.dataset AND d.name = %s "
            "LEFT JOIN vault.retention e ON e.subject_id = r.subject_id AND e.record_id = r.record_id",
            (edge(context, dataset.name, LAG), dataset.name),
        )[0]
        total, late = total + int(found[0]), late + int(found[1])
    return total, late
