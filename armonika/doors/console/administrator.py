"""What was done with the administrator's rights, for the roles that the policy names."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.http import require_http_methods

from armonika.doors.console.reviewers import reviewer_of
from armonika.flows import administrator as flow
from armonika.trust.vault.errors import Undeclared
from armonika.web.session import signed_in
from armonika.web.store import vault


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def acts(request: HttpRequest) -> HttpResponse:
    """The entries, newest first; the form says that exactly those on the page were looked at."""
    secret, actor, policy = reviewer_of(request)
    context: dict[str, object] = {}
    status = 200
    if request.method == "POST":
        try:
            numbers = [_number(text) for text in request.POST.get("shown", "").split(",")]
            entry = flow.see(vault(), secret, numbers)
            context |= {"entry": entry, "again": entry is None}
        except (Undeclared, ValueError):
            context["fault"], status = True, 422
    before = request.GET.get("before", "")
    shown = flow.acts(vault(), secret, int(before) if before.isdecimal() and len(before) < 19 else None)
    language = (get_language() or "en")[:2]
    labels = {role.name: role.label[language] for role in policy.roles}
    kinds = {role.name: role.kind for role in policy.roles}
    context |= {
        "rows": [
            {"act": one.act, "email": one.email, "role": labels.get(one.act.role or "", one.act.role), "service": kinds.get(one.act.role or "") == "service",
             "done": one.done, "seen": [(labels.get(role, role), at) for role, at in one.act.seen]}
            for one in shown
        ],
        "fresh": ",".join(str(one.act.audit_id) for one in shown if one.act.fresh),
        "unseen": flow.unseen(vault(), policy, secret, actor),
        "older": shown[-1].act.audit_id if len(shown) >= flow.PAGE else None,
    }  # fmt: skip
    return render(request, "administrator.html", context, status=status)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ValueError("no number of an entry")
    return int(text)
