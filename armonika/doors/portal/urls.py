"""Addresses of a member's own pages."""

from __future__ import annotations

from django.urls import path

from armonika.doors.portal import privacy

localised = [
    path("me/", privacy.centre, name="privacy-centre"),
    path("me/readers/", privacy.readers, name="readers"),
    path("me/readers/<int:number>.tlog-proof", privacy.proof, name="proof"),
    path("me/export/", privacy.export, name="export"),
    path("me/correct/<uuid:record>/", privacy.correct, name="correct"),
    path("me/delete/", privacy.delete, name="delete"),
]
