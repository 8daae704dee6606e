"""The audit log for everybody: checkpoint, tiles and verifier keys (C2SP tlog-tiles). Entries name pseudonyms and are not served: whom an entry
concerns gets it with its proof, and an auditor an exported folder."""

from __future__ import annotations

import re

from litestar import Response, get
from litestar.exceptions import NotFoundException

from armonika import settings
from armonika.trust.audit.files import MOST_NOTE, read_beneath
from armonika.trust.crypto import sha256

_NAME = re.compile(r"checkpoint|log\.vkey|tile/([0-9]|[1-5][0-9]|6[0-3])/(x[0-9]{3}/){0,6}[0-9]{3}(\.p/[0-9]{1,3})?")


@get("/log/{name:path}", summary="A file of the sealed log", sync_to_thread=True)
def log_file(name: str) -> Response[bytes]:
    """`/log/checkpoint`, `/log/log.vkey`, `/log/witness.vkey` and `/log/tile/…`. No token is needed."""
    asked, config = name.lstrip("/"), settings.load()
    if asked == "witness.vkey":
        folder = config.home / "witness"
    elif _NAME.fullmatch(asked):
        folder = config.audit_log
    else:
        raise NotFoundException
    try:
        # Never through a link: the folders are other processes', and what this one may read is not for everybody.
        content = read_beneath(folder, asked, MOST_NOTE)
    except OSError:
        raise NotFoundException from None
    tile = asked.startswith("tile/")
    return Response(
        content, media_type="application/octet-stream" if tile else "text/plain",
        headers={"Cache-Control": "public, max-age=31536000, immutable" if tile else "no-cache", "ETag": f'"{sha256(content).hex()}"'},
    )  # fmt: skip
