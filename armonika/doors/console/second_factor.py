"""The second factor of staff: enrolment, the code at each sign-in, recovery codes. Nothing else of the console opens before."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from armonika import policy as policies
from armonika.flows import second_factor as flow
from armonika.rules.one_time_code import grouped
from armonika.trust.vault.errors import Refused, SessionEnded
from armonika.web import qr
from armonika.web.session import COOKIE, actor_of, first_factor, remember, signed_in
from armonika.web.store import vault

FORM = ("GET", "HEAD", "POST")


def _unless_asked(now: flow.Standing) -> HttpResponse | None:
    """Where somebody goes who is not to be asked for a code: without a factor yet, or with one proven just now."""
    if now.enrolled and not now.fresh:
        return None
    return HttpResponseRedirect(reverse("home" if now.enrolled else "second-factor-enrol"))


@first_factor
@require_http_methods(FORM)
def code(request: HttpRequest) -> HttpResponse:
    """The code of the authenticator program: after the password, and again before what cannot be undone."""
    secret, actor = actor_of(request)
    now = flow.standing(vault(), secret)
    if (elsewhere := _unless_asked(now)) is not None:
        return elsewhere
    if request.method != "POST":
        return render(request, "second-factor.html", {"again": now.proven})
    try:
        opened = flow.prove(vault(), secret, actor, request.POST.get("code", ""))
    except Refused:
        return render(request, "second-factor.html", {"again": now.proven, "fault": "code"}, status=422)
    return _opened(opened)


@first_factor
@require_http_methods(FORM)
def recovery(request: HttpRequest) -> HttpResponse:
    """A recovery code in the place of a code."""
    secret, actor = actor_of(request)
    now = flow.standing(vault(), secret)
    if (elsewhere := _unless_asked(now)) is not None:
        return elsewhere
    if request.method != "POST":
        return render(request, "recovery.html", {"left": now.codes_left})
    try:
        opened = flow.recover(vault(), secret, actor, request.POST.get("code", ""))
    except Refused:
        return render(request, "recovery.html", {"left": now.codes_left, "fault": "code"}, status=422)
    return _opened(opened, "second-factor-codes")


@first_factor
@require_http_methods(FORM)
def enrol(request: HttpRequest) -> HttpResponse:
    """A first factor, or another one in the place of the present one. The recovery codes stand on the answer, once."""
    secret, actor = actor_of(request)
    now = flow.standing(vault(), secret)
    if now.enrolled and not now.fresh:
        return HttpResponseRedirect(reverse("second-factor"))
    if not now.may_enrol:
        return render(request, "enrol.html", {"late": True}, status=403)
    session = request.COOKIES[COOKIE]
    offered = flow.enrolment(vault(), policies.load(), session, actor)
    context = {"picture": qr.svg(offered.uri), "key": offered.key, "uri": offered.uri, "again": now.enrolled}
    if request.method != "POST":
        return render(request, "enrol.html", context)
    try:
        made = flow.enrol(vault(), session, actor, request.POST.get("code", ""))
    except Refused:
        return render(request, "enrol.html", context | {"fault": "code"}, status=422)
    response = render(request, "recovery-codes.html", {"codes": [grouped(one) for one in made.codes]})
    remember(response, made.secret)
    return response


@signed_in
@require_http_methods(FORM)
def codes(request: HttpRequest) -> HttpResponse:
    """How many recovery codes are left; new ones, after a code of the last ten minutes."""
    secret, actor = actor_of(request)
    if request.method != "POST":
        return render(request, "factor-state.html", {"left": flow.standing(vault(), secret).codes_left})
    try:
        made = flow.renew_codes(vault(), secret, actor)
    except SessionEnded:
        return HttpResponseRedirect(reverse("second-factor"))
    return render(request, "recovery-codes.html", {"codes": [grouped(one) for one in made]})


def _opened(secret: str, target: str = "home") -> HttpResponse:
    response = HttpResponseRedirect(reverse(target))
    remember(response, secret)
    return response
