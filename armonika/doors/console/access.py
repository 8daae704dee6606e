"""The review of who may do what, for the roles that the policy names."""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.http import require_http_methods

from armonika.doors.console.reviewers import reviewer_of
from armonika.flows import access as flow
from armonika.policy import Policy
from armonika.trust.vault.errors import VersionConflict
from armonika.web.session import signed_in
from armonika.web.store import vault


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: HttpRequest) -> HttpResponse:
    """Accounts and rights; recording says that exactly this list was looked at."""
    secret, _, policy = reviewer_of(request)
    context: dict[str, object] = {}
    status = 200
    if request.method == "POST":
        try:
            context["entry"] = flow.record(vault(), secret, bytes.fromhex(request.POST.get("list", "")))
        except (VersionConflict, ValueError):
            context["changed"], status = True, 409
    shown = flow.accounts(vault(), secret)
    language = (get_language() or "en")[:2]
    context |= {
        "rows": [(account, email, policy.role(account.role).label[language]) for account, email in shown.rows],
        "rights": _rights(policy, language),
        "list": shown.digest.hex(),
        "reviewed": shown.reviewed_at,
        "overdue": shown.reviewed_at is not None and flow.overdue(shown.reviewed_at, shown.reviewed_at, datetime.now(UTC)),
    }
    return render(request, "access-review.html", context, status=status)


def _rights(policy: Policy, language: str) -> list[tuple[str, list[tuple[str, str, list[str], list[str]]]]]:
    return [
        (
            policy.role(role).label[language],
            [
                (policy.dataset(right.dataset).label[language], policy.purpose(right.purpose).label[language], list(right.operations),
                 [policy.dataset(right.dataset).field(name).label[language] for name in right.fields])
                for right in rights
            ],
        )
        for role, rights in flow.matrix(policy).items()
    ]  # fmt: skip
