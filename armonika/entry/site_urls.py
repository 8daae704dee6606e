"""The site process's address table."""

from __future__ import annotations

from armonika.doors.portal import urls as portal
from armonika.doors.site import urls as site
from armonika.web import common

urlpatterns = common.urls([*site.localised, *portal.localised])
handler400 = "armonika.web.failures.bad_request"
handler404 = "armonika.web.failures.not_found"
handler500 = "armonika.web.failures.failed"
