"""The privacy centre: a member sees, exports, corrects and deletes what is held about them."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from armonika import policy as policies
from armonika import settings
from armonika.flows import export as export_flow
from armonika.flows import privacy as privacy_flow
from armonika.flows.errors import Faults
from armonika.gates import clock
from armonika.trust.audit.tree import ProofError
from armonika.trust.vault.errors import Refused, VersionConflict
from armonika.web.forms import form_fields
from armonika.web.session import actor_of, forget, signed_in
from armonika.web.store import vault


def language() -> str:
    """The page's language, as the policy names it."""
    return (get_language() or "en")[:2]


@signed_in
@require_safe
def centre(request: HttpRequest) -> HttpResponse:
    """Everything held about the member."""
    secret, actor = actor_of(request)
    held = privacy_flow.overview(vault(), policies.load(), secret, actor, language())
    role = policies.load().role(actor.role).label[language()]
    return render(
        request,
        "centre.html",
        {"held": held, "role": role, "origins": {k: v[language()] for k, v in export_flow.ORIGINS.items()}},
    )


@signed_in
@require_safe
def readers(request: HttpRequest) -> HttpResponse:
    """Who used the member's data, when and why."""
    secret, actor = actor_of(request)
    before = request.GET.get("before", "")
    rows = privacy_flow.who_read(vault(), secret, actor, int(before) if before.isdecimal() and len(before) < 19 else None)
    policy = policies.load()
    shown = [
        {
            "row": row, "role": policy.role(row.role).label[language()], "own": row.reader == actor.actor_id,
            "reason": next((r.label[language()] for r in policy.reasons if r.name == row.reason), ""),
            "purpose": next((p.label[language()] for p in policy.purposes if p.name == row.purpose), ""),
            "fields": [policy.dataset(row.dataset).field(name).label[language()] for name in row.fields] if row.dataset else [],
        }
        for row in rows
    ]  # fmt: skip
    return render(request, "readers.html", {"shown": shown, "older": rows[-1].audit_id if len(rows) >= 40 else None})


@signed_in
@require_safe
def proof(request: HttpRequest, number: int) -> HttpResponse:
    """The proof that one entry is in the sealed log, as a file that anybody can verify without us (C2SP tlog-proof)."""
    secret, actor = actor_of(request)
    try:
        text = privacy_flow.proof(vault(), settings.load().audit_log, secret, actor, number)
    except (Refused, ProofError):
        raise Http404 from None
    return HttpResponse(
        text,
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="entry-{number}.tlog-proof"'},
    )


@signed_in
@require_POST
def export(request: HttpRequest) -> HttpResponse:
    """The archive, made in memory and handed over at once."""
    secret, actor = actor_of(request)
    vault().throttle(b"export/" + actor.actor_id.bytes, 6, 6)
    archive = export_flow.export(vault(), policies.load(), secret, actor, clock.now())
    return HttpResponse(
        archive, content_type="application/zip", headers={"Content-Disposition": 'attachment; filename="armonika-my-data.zip"'}
    )


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def correct(request: HttpRequest, record: UUID) -> HttpResponse:
    """Correct the account's fields. The form carries the versions it was made from."""
    secret, actor = actor_of(request)
    policy = policies.load()
    dataset = policy.dataset("account")
    records = vault().read(
        secret, actor.actor_id, "account", [field.name for field in dataset.fields], "provide", "own-correction", record=record
    )
    if not records:
        raise Http404
    values, versions, faults, status = dict(records[0].values), dict(records[0].versions), {}, 200
    if request.method == "POST":
        typed = request.POST.dict() | {"email": values["email"]}
        seen = {
            name: int(request.POST.get(f"version-{name}") or 0) if request.POST.get(f"version-{name}", "").isdecimal() else 0
            for name in versions
        }
        try:
            changed = privacy_flow.correct(vault(), policy, secret, actor, record, typed, seen)
        except Faults as found:
            values, faults, status = typed, found.fields, 422
        except VersionConflict:
            return render(
                request,
                "correct.html",
                {"fields": form_fields(dataset, language(), values, {}), "versions": versions, "conflict": True},
                status=409,
            )
        else:
            return render(request, "done.html", {"what": "corrected" if changed else "unchanged"})
    return render(
        request,
        "correct.html",
        {"fields": form_fields(dataset, language(), values, faults), "versions": versions, "faults": faults},
        status=status,
    )


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest) -> HttpResponse:
    """Delete the account: a page of its own, the typed word, the password; it cannot be undone."""
    secret, actor = actor_of(request)
    if request.method != "POST":
        return render(request, "delete.html")
    if request.POST.get("word", "").strip().casefold() not in ("delete", "supprimer", "حذف"):
        return render(request, "delete.html", {"fault": "word"}, status=422)
    try:
        erased = privacy_flow.erase(vault(), secret, actor, request.POST.get("password", ""))
    except Refused:
        return render(request, "delete.html", {"fault": "password"}, status=422)
    request.member = None  # type: ignore[attr-defined]
    response = render(request, "erased.html", {"erased": erased})
    forget(response)
    return response
