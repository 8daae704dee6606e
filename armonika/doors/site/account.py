"""Public forms: ask for a demo, register, confirm, sign in and out, choose a new password. The flows do the work."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from armonika import policy as policies
from armonika.doors.site.pages import language
from armonika.flows import address
from armonika.flows import demo as demo_flow
from armonika.flows import register as register_flow
from armonika.flows import sign_in as sign_in_flow
from armonika.flows.errors import Faults
from armonika.trust.vault import Unverified
from armonika.trust.vault.errors import Refused
from armonika.web.forms import client_of, form_fields
from armonika.web.session import forget, public, remember
from armonika.web.store import vault


def _form(request: HttpRequest, template: str, dataset: str, faults: Mapping[str, str], status: int) -> HttpResponse:
    fields = form_fields(policies.load().dataset(dataset), language(), request.POST, faults)
    return render(request, template, {"fields": fields, "faults": faults, "typed": request.POST}, status=status)


@public
@require_http_methods(["GET", "HEAD", "POST"])
def demo(request: HttpRequest) -> HttpResponse:
    """Ask for a demo."""
    if request.method != "POST":
        return _form(request, "demo.html", "demo", {}, 200)
    vault().throttle(f"demo/{client_of(request)}".encode(), 20, 60)
    try:
        demo_flow.request_demo(vault(), policies.load(), request.POST.dict())
    except Faults as found:
        return _form(request, "demo.html", "demo", found.fields, 422)
    return render(request, "done.html", {"what": "demo"})


@public
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    """Register an organisation."""
    if request.method != "POST":
        return _form(request, "register.html", "account", {}, 200)
    vault().throttle(f"register/{client_of(request)}".encode(), 20, 60)
    typed = request.POST
    try:
        register_flow.register_organisation(
            vault(), policies.load(), typed.dict(), typed.get("password", ""), typed.get("professional") == "yes", language()
        )
    except Faults as found:
        return _form(request, "register.html", "account", found.fields, 422)
    return render(request, "done.html", {"what": "register"})


@public
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Confirm an address. Looking at the page uses nothing up: programs that follow links in letters do no harm."""
    if request.method != "POST":
        return render(request, "confirm.html")
    try:
        address.confirm(vault(), token)
    except Refused:
        return render(request, "link-ended.html", status=410)
    return render(request, "done.html", {"what": "confirmed"})


@public
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign a member in."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    if not url_has_allowed_host_and_scheme(target, allowed_hosts=None) or not target.startswith("/"):
        target = ""
    if request.method != "POST":
        return render(request, "sign-in.html", {"next": target})
    try:
        secret, _ = sign_in_flow.sign_in(
            vault(), "account", request.POST.get("email", ""), request.POST.get("password", ""), client_of(request)
        )
    except Unverified:
        return render(request, "sign-in.html", {"next": target, "fault": "unverified", "typed": request.POST}, status=403)
    except Refused:
        return render(request, "sign-in.html", {"next": target, "fault": "wrong", "typed": request.POST}, status=422)
    response = HttpResponseRedirect(target or reverse("privacy-centre"))
    remember(response, secret)
    return response


@public
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out, whatever the state."""
    secret = request.secret  # type: ignore[attr-defined]
    if secret is not None:
        sign_in_flow.sign_out(vault(), secret)
    response = HttpResponseRedirect(reverse("home"))
    forget(response)
    return response


@public
@require_http_methods(["GET", "HEAD", "POST"])
def forgotten(request: HttpRequest) -> HttpResponse:
    """Ask for a letter to choose a new password."""
    if request.method != "POST":
        return render(request, "forgotten.html")
    try:
        address.request_reset(vault(), request.POST.get("email", ""), language(), client_of(request))
    except Faults as found:
        return render(request, "forgotten.html", {"faults": found.fields, "typed": request.POST}, status=422)
    return render(request, "done.html", {"what": "reset-asked"})


@public
@require_http_methods(["GET", "HEAD", "POST"])
def reset(request: HttpRequest, token: str) -> HttpResponse:
    """Choose a new password with a letter's link."""
    if request.method != "POST":
        return render(request, "reset.html")
    try:
        address.reset(vault(), token, request.POST.get("password", ""))
    except Faults as found:
        return render(request, "reset.html", {"faults": found.fields}, status=422)
    except Refused:
        return render(request, "link-ended.html", status=410)
    response = render(request, "done.html", {"what": "reset"})
    forget(response)
    return response
