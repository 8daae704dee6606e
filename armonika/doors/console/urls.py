"""Addresses of the staff console."""

from __future__ import annotations

from django.urls import path

from armonika.doors.console import pages

localised = [
    path("", pages.find, name="home"),
    path("sign-in/", pages.sign_in, name="sign-in"),
    path("sign-out/", pages.sign_out, name="sign-out"),
]
