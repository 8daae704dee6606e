"""Sessions: a random secret in a `__Host-` cookie; the database knows its hash and says who it is.

Safe by default: a view that is not marked `@public`, `@first_factor` or `@signed_in` cannot be reached at all, and the actor of a request whose view
did not ask for one raises on every use (the idea of Warehouse's InvalidSession).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import urlencode

from armonika.trust.vault import secret_hash
from armonika.trust.vault.errors import SessionEnded
from armonika.trust.vault.types import Actor, SecretHash
from armonika.web.store import vault

COOKIE = "__Host-session"
MAX_AGE = 12 * 3600
View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class UndeclaredView(Exception):
    """A view was written without saying whether it is public: it answers nobody."""


class NoActor:
    """Stands in `request.actor` where nobody asked for one: every use raises."""

    def __getattr__(self, name: str) -> NoReturn:
        raise UndeclaredView("this view did not declare @signed_in")

    def __bool__(self) -> bool:
        raise UndeclaredView("this view did not declare @signed_in")


def public(view: View) -> View:
    """For everybody. `request.member` is the actor when somebody is signed in, else None."""
    view.armonika_access = "public"  # type: ignore[attr-defined]
    return view


def signed_in(view: View) -> View:
    """For a signed-in actor of this door; others are sent to sign in and come back."""

    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.member is None:  # type: ignore[attr-defined]
            query = {"next": request.get_full_path()} if request.method == "GET" else {}
            return HttpResponseRedirect(reverse("sign-in") + ("?" + urlencode(query) if query else ""))
        if not request.member.usable:  # type: ignore[attr-defined]
            return HttpResponseRedirect(reverse("second-factor"))
        return view(request, *args, **kwargs)

    inner.armonika_access = "signed-in"  # type: ignore[attr-defined]
    return inner  # type: ignore[return-value]


def first_factor(view: View) -> View:
    """For staff whose password was right, whether or not the second factor was proven: what enrols and proves it."""

    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.member is None:  # type: ignore[attr-defined]
            return HttpResponseRedirect(reverse("sign-in"))
        return view(request, *args, **kwargs)

    inner.armonika_access = "first-factor"  # type: ignore[attr-defined]
    return inner  # type: ignore[return-value]


class Sessions:
    """Resolves the cookie once a request, and refuses undeclared views."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._next = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.actor = NoActor()  # type: ignore[attr-defined]
        request.secret = None  # type: ignore[attr-defined]
        request.member = None  # type: ignore[attr-defined]
        request.ended = False  # type: ignore[attr-defined]
        response = self._next(request)
        if request.ended:  # type: ignore[attr-defined]
            forget(response)
        return response

    def process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> HttpResponseBase | None:
        access = getattr(view, "armonika_access", None)
        if access is None:
            raise UndeclaredView(
                f"{view.__module__}.{getattr(view, '__name__', 'view')} is neither @public, @first_factor nor @signed_in"
            )
        cookie = request.COOKIES.get(COOKIE)
        if cookie and access != "static" and len(cookie) <= 64:
            hashed = secret_hash(cookie)
            try:
                actor = vault().whoami(hashed)
            except SessionEnded:
                request.ended = True  # type: ignore[attr-defined]
                return None
            request.secret, request.member = hashed, actor  # type: ignore[attr-defined]
            if access == "first-factor" or (access == "signed-in" and actor.usable):
                request.actor = actor  # type: ignore[attr-defined]
        return None


def remember(response: HttpResponse, secret: str) -> None:
    """Gives the browser a new session secret. A sign-in always makes a new one: no fixation."""
    response.set_cookie(COOKIE, secret, max_age=MAX_AGE, path="/", secure=True, httponly=True, samesite="Lax")


def forget(response: HttpResponseBase) -> None:
    """Takes the session cookie away."""
    response.set_cookie(COOKIE, "", max_age=0, path="/", secure=True, httponly=True, samesite="Lax")


def actor_of(request: HttpRequest) -> tuple[SecretHash, Actor]:
    """Secret hash and actor of a request whose view is `@signed_in`."""
    return request.secret, request.actor  # type: ignore[attr-defined]
