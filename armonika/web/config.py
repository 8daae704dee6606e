"""Django's settings for one door. No database of Django's own, no session or user table: identity lives in the vault."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal

import django
from django.conf import settings as django_settings

from armonika import settings
from armonika.settings import CHECKOUT
from armonika.trust.keys import credentials
from armonika.web import store

Door = Literal["site", "console"]
LANGUAGES = (("ar", "العربية"), ("fr", "Français"), ("en", "English"))
BODY_BYTES = 256 * 1024


def configure(door: Door, urls: str) -> None:
    """Configures Django for `door` with the URL module `urls`, and opens its vault."""
    held = credentials.load(door)
    config = settings.load()
    store.configure(held, config)
    design = Path(__file__).resolve().parent.parent / "design"
    django_settings.configure(
        DEBUG=False,
        SECRET_KEY=base64.b64encode(held.web_key).decode(),
        ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]", config.host],
        ROOT_URLCONF=urls,
        DATABASES={},
        INSTALLED_APPS=[],
        MIDDLEWARE=[
            "armonika.web.headers.SecurityHeaders",
            "armonika.web.failures.Failures",
            "django.middleware.locale.LocaleMiddleware",
            "armonika.web.session.Sessions",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [design / "templates"],
                "OPTIONS": {
                    "context_processors": ["django.template.context_processors.i18n", "armonika.web.context.page"],
                    "libraries": {"armonika": "armonika.web.tags"},
                    "builtins": ["django.templatetags.i18n"],
                },
            }
        ],
        LANGUAGE_CODE="en",
        LANGUAGES=LANGUAGES,
        LOCALE_PATHS=[CHECKOUT / "build" / "locale"],
        USE_I18N=True,
        USE_TZ=True,
        TIME_ZONE="Africa/Algiers",
        APPEND_SLASH=False,
        CSRF_COOKIE_NAME="__Host-csrf",
        CSRF_COOKIE_SECURE=True,
        CSRF_COOKIE_HTTPONLY=True,
        CSRF_COOKIE_SAMESITE="Lax",
        CSRF_COOKIE_AGE=12 * 3600,
        CSRF_FAILURE_VIEW="armonika.web.failures.csrf",
        DATA_UPLOAD_MAX_MEMORY_SIZE=BODY_BYTES,
        DATA_UPLOAD_MAX_NUMBER_FIELDS=50,
        FILE_UPLOAD_HANDLERS=[],
        X_FRAME_OPTIONS="DENY",
        LOGGING_CONFIG=None,
        ARMONIKA_DOOR=door,
    )
    django.setup(set_prefix=False)
