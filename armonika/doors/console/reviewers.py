"""Whom a page for reviewers is for."""

from __future__ import annotations

from django.http import Http404, HttpRequest

from armonika import policy as policies
from armonika.flows.access import may_review
from armonika.policy import Policy
from armonika.trust.vault.types import Actor, SecretHash
from armonika.web.session import actor_of


def reviewer_of(request: HttpRequest) -> tuple[SecretHash, Actor, Policy]:
    """The session of a member of staff whom the policy in force lets review, and that policy. Raises Http404 for anybody else."""
    secret, actor = actor_of(request)
    policy = policies.load()
    if not may_review(policy, actor):
        raise Http404
    return secret, actor, policy
