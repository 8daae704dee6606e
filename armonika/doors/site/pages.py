"""Public pages that only show: home, the policy, the proof."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from armonika import policy as policies
from armonika.gates import clock
from armonika.policy.render import render as render_policy
from armonika.trust.vault.errors import Refused
from armonika.verify.report import freshened
from armonika.web.session import public
from armonika.web.store import vault


def language() -> str:
    """The page's language, as the policy names it."""
    return (get_language() or "en")[:2]


def _report() -> dict[str, Any] | None:
    """The newest report as it stands now: old proof, or proof of a former policy, is stale, not true."""
    report = vault().trust_report()
    if report is None:
        return None
    return freshened(report, clock.now(), next((row[2] for row in vault().policies() if row[3]), None))


@public
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What Armonika is."""
    return render(request, "home.html", {"report": _report()})


@public
@require_safe
def privacy(request: HttpRequest, sha256: str | None = None) -> HttpResponse:
    """The policy in force, or an older version by its hash, rendered from the stored source. Claims T0, P1, 11a.1."""
    versions = vault().policies()
    wanted = sha256 or next((row[2] for row in versions if row[3]), None)
    if wanted is None or wanted not in {row[2] for row in versions}:
        raise Http404
    try:
        shown = policies.parse(vault().policy_document(wanted))
    except (Refused, policies.PolicyError):
        raise Http404 from None
    return render(request, "privacy.html", {"document": render_policy(shown, language()), "versions": versions, "shown": wanted})


@public
@require_safe
def trust(request: HttpRequest) -> HttpResponse:
    """The newest report of the verifier, claim by claim."""
    return render(request, "trust.html", {"report": _report()})
