"""The site process's WSGI application."""

from __future__ import annotations

from django.core.handlers.wsgi import WSGIHandler

from armonika.gates import log
from armonika.supervisor.launch import tie
from armonika.web.config import configure

tie()
log.configure()
configure("site", "armonika.entry.site_urls")
application = WSGIHandler()
