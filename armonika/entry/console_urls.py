"""The console process's address table."""

from __future__ import annotations

from armonika.doors.console import urls as console
from armonika.web import common

urlpatterns = common.urls(console.localised)
handler400 = "armonika.web.failures.bad_request"
handler404 = "armonika.web.failures.not_found"
handler500 = "armonika.web.failures.failed"
