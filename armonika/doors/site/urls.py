"""Addresses of the public pages."""

from __future__ import annotations

from django.urls import path

from armonika.doors.site import account, pages

localised = [
    path("", pages.home, name="home"),
    path("privacy/", pages.privacy, name="privacy"),
    path("privacy/<str:sha256>/", pages.privacy, name="privacy-version"),
    path("trust/", pages.trust, name="trust"),
    path("demo/", account.demo, name="demo"),
    path("register/", account.register, name="register"),
    path("confirm/<str:token>/", account.confirm, name="confirm"),
    path("sign-in/", account.sign_in, name="sign-in"),
    path("sign-out/", account.sign_out, name="sign-out"),
    path("forgotten/", account.forgotten, name="forgotten"),
    path("reset/<str:token>/", account.reset, name="reset"),
]
