"""The staff console: sign in, and find a person by exact e-mail for a purpose and a reason."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import get_language
from django.views.decorators.http import require_http_methods, require_POST

from armonika import policy as policies
from armonika.flows import access as access_flow
from armonika.flows import administrator as administrator_flow
from armonika.flows import sign_in as sign_in_flow
from armonika.flows import staff as staff_flow
from armonika.trust.vault.errors import Invalid, Refused, Undeclared
from armonika.web.forms import client_of
from armonika.web.session import actor_of, forget, public, remember, signed_in
from armonika.web.store import vault


def language() -> str:
    """The page's language, as the policy names it."""
    return (get_language() or "en")[:2]


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def find(request: HttpRequest) -> HttpResponse:
    """The form always; after a search also what was found, each value masked until it is shown."""
    secret, actor = actor_of(request)
    policy = policies.load()
    own = vault().read(secret, actor.actor_id, "staff", ["name"], "provide", "own-view")
    choices = staff_flow.choices(policy, actor.role)
    options = [
        (f"{choice.purpose}:{reason}", policy.purpose(choice.purpose).label[language()], policy.reason(reason).label[language()])
        for choice in choices for reason in choice.reasons
    ]  # fmt: skip
    context = {
        "me": own[0].values["name"] if own else "",
        "role": policy.role(actor.role).label[language()],
        "ends": actor.expires_at,
        "options": options,
        "typed": request.POST,
        "may_review": access_flow.may_review(policy, actor),
        "unseen": administrator_flow.unseen(vault(), policy, secret, actor),
    }
    if request.method != "POST":
        return render(request, "find.html", context)
    purpose, _, reason = request.POST.get("why", "").partition(":")
    try:
        found = staff_flow.find(
            vault(),
            policy,
            secret,
            actor,
            request.POST.get("email", ""),
            purpose,
            reason,
            request.POST.get("reference", "").strip() or None,
        )
        if f"{purpose}:{reason}" not in {option[0] for option in options}:
            raise Undeclared("choose why")
    except Invalid:
        return render(request, "find.html", context | {"fault": "email"}, status=422)
    except Undeclared:
        return render(request, "find.html", context | {"fault": "why"}, status=422)
    shown = [
        {"subject": row.subject, "dataset": policy.dataset(row.dataset).label[language()], "entry": row.entry,
         "values": [(policy.dataset(row.dataset).field(name).label[language()], value) for name, value in row.values.items()]}
        for row in found
    ]  # fmt: skip
    return render(
        request, "find.html", context | {"searched": True, "found": shown, "purpose": policy.purpose(purpose).label[language()]}
    )


@public
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """The first step of a sign-in: the second factor follows."""
    if request.method != "POST":
        return render(request, "sign-in.html")
    try:
        secret, _ = sign_in_flow.sign_in(
            vault(), "staff", request.POST.get("email", ""), request.POST.get("password", ""), client_of(request)
        )
    except Refused:
        return render(request, "sign-in.html", {"fault": "wrong", "typed": request.POST}, status=422)
    response = HttpResponseRedirect(reverse("second-factor"))
    remember(response, secret)
    return response


@public
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out, whatever the state."""
    secret = request.secret  # type: ignore[attr-defined]
    if secret is not None:
        sign_in_flow.sign_out(vault(), secret)
    response = HttpResponseRedirect(reverse("sign-in"))
    forget(response)
    return response
