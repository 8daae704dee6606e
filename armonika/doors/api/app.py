"""The machine API as one Litestar application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.config.response_cache import ResponseCacheConfig
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from armonika.doors.api import batch
from armonika.doors.api.admission import admit
from armonika.doors.api.creations import Creations
from armonika.doors.api.described import Described
from armonika.doors.api.export import export_person
from armonika.doors.api.gather import Gatherer
from armonika.doors.api.log import log_file
from armonika.doors.api.people import HANDLERS
from armonika.doors.api.problems import of_any, of_http, of_vault
from armonika.doors.api.tokens import Tokens
from armonika.trust.vault import AsyncVault
from armonika.trust.vault.errors import VaultError

BODY_BYTES = 1024 * 1024


def build(open_vault: Callable[[], Awaitable[AsyncVault]]) -> Litestar:
    """The application; the vault is opened when the server starts its loop."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.vault = await open_vault()
        app.state.tokens = Tokens(app.state.vault.living)
        app.state.creations = Creations(app.state.vault)
        app.state.gatherer = Gatherer(app.state.vault.read_many)
        # A thousand may come at once, and must find room where many such wait.
        app.state.batches = Gatherer(app.state.vault.read_many, lanes=3, waiting=65536)
        app.state.finder = Gatherer(app.state.vault.find_many)
        try:
            yield
        finally:
            await app.state.vault.close()

    return Litestar(
        route_handlers=[*HANDLERS, *batch.HANDLERS, export_person, log_file],
        lifespan=[lifespan],
        before_request=admit,
        exception_handlers={VaultError: of_vault, HTTPException: of_http, Exception: of_any},
        request_max_body_size=BODY_BYTES,
        response_cache_config=ResponseCacheConfig(default_expiration=None),
        openapi_config=OpenAPIConfig(
            title="Armonika machine API", version="1", path="/schema", render_plugins=[Described()],
            operation_id_creator=lambda handler, *_: handler.handler_name, use_handler_docstrings=True,
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}), security=[{"token": []}],
        ),
        logging_config=None,
        debug=False,
    )  # fmt: skip
