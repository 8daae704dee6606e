"""Addresses of the staff console."""

from __future__ import annotations

from django.urls import path

from armonika.doors.console import access, administrator, pages, second_factor

localised = [
    path("", pages.find, name="home"),
    path("sign-in/", pages.sign_in, name="sign-in"),
    path("sign-out/", pages.sign_out, name="sign-out"),
    path("second-factor/", second_factor.code, name="second-factor"),
    path("second-factor/enrol/", second_factor.enrol, name="second-factor-enrol"),
    path("second-factor/recovery/", second_factor.recovery, name="second-factor-recovery"),
    path("second-factor/codes/", second_factor.codes, name="second-factor-codes"),
    path("access/", access.review, name="access"),
    path("administrator/", administrator.acts, name="administrator"),
]
