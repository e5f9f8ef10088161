"""The one application of a box: ``/v1``, how it is, and the operator's page below ``/``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

# Before gradio is imported: a box at the line tells nobody what it does.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware

from edge_app.access import login
from edge_app.access.door import Door, Who
from edge_app.access.login import AskFirst
from edge_app.access.origin import SameOrigin
from edge_app.access.sessions import Sessions
from edge_app.access.slow_login import SlowLogin
from edge_app.access.tokens import TokenFile
from edge_app.access.users import UserFile
from edge_app.api import inspecting, part_routes, problems, status
from edge_app.api.metrics import Metrics
from edge_app.api.middleware import SmallBodies, Timed
from edge_app.api.service import Places, Service, known_query
from edge_app.batch import batch_routes
from edge_app.page.choice import Station
from edge_app.review import bundle_routes
from edge_app.screens import exporting, line_routes, looking, pages, samples
from edge_app.teaching import teach_routes

DESCRIPTION = (
    "Verdicts on pictures of parts, and the records of earlier parts. Errors are "
    "`application/problem+json`: each says what was expected, what was found and what to do next."
)


@dataclass(frozen=True)
class Access:
    """Who may come in.

    Attributes:
        password: of the user ``operator``, or None for nobody.
        tokens: of programs, or None.
        loopback_only: whether only names of this machine are served.
        users: people with roles, or None.
    """

    password: str | None = None
    tokens: TokenFile | None = None
    loopback_only: bool = False
    users: UserFile | None = None

    @property
    def guarded(self) -> bool:
        """Whether anybody must say who he is."""
        return any(one is not None for one in (self.password, self.tokens, self.users))


def build_service(station: Station, root_path: str = "", places: Places | None = None) -> Service:
    """What page and API work on; from now on it is counted what the lines do.

    Args:
        station: the open lines.
        root_path: path below which a proxy shows it all, e.g. ``/line3``.
        places: room for requests.
    """
    service = Service(
        station, inspecting.HeatMaps(), Metrics(), places or Places(), f"{root_path}/v1"
    )
    service.metrics.watch(station.lines.values(), service.places)
    return service


def build_application(
    service: Service,
    access: Access,
    *,
    page: gr.Blocks | None = None,
    root_path: str = "",
    **looks: Any,
) -> FastAPI:
    """One application for people and programs, on the same lines.

    Args:
        service: from :func:`build_service`.
        access: who may come in.
        page: the operator's page, or None for the API alone.
        root_path: path below which a proxy shows it all, e.g. ``/line3``.
        **looks: of the page, as :func:`gradio.mount_gradio_app` takes them.
    """
    sessions = Sessions(access.password, access.users, access.tokens)
    door = Door(access.tokens, sessions, guarded=access.guarded)
    root = root_path.rstrip("/")
    app = FastAPI(
        openapi_url=None,
        middleware=[
            Middleware(SameOrigin, loopback_only=access.loopback_only),
            Middleware(SlowLogin),
            Middleware(AskFirst, door=door, root=root),
        ],
    )
    api = build_api(service)
    for one in (app, api):
        one.state.service, one.state.door, one.state.root = service, door, root
        problems.install(one)
    app.include_router(login.router)
    app.include_router(status.outside)
    app.include_router(pages.router)
    app.mount("/v1", api)
    if page is not None:
        gr.mount_gradio_app(
            app,
            page,
            "/",
            root_path=root_path or None,
            auth_dependency=partial(_user, sessions) if access.guarded else None,
            **looks,
        )
    return app


def _user(sessions: Sessions, request: Request) -> str | None:
    """Whom Gradio takes a request to be from; None for nobody who may."""
    found = sessions.visitor(request.cookies)
    return None if found is None else found.name


def build_api(service: Service) -> FastAPI:
    """``/v1``, with its own answer to addresses and methods that it does not have."""
    api = FastAPI(
        title="Lineside",
        version=version("lineside"),
        description=DESCRIPTION,
        # Behind the login, below.
        openapi_url=None,
        middleware=[Middleware(Timed, metrics=service.metrics), Middleware(SmallBodies)],
    )
    for router in (
        inspecting.router,
        part_routes.router,
        looking.router,
        samples.router,
        exporting.router,
        line_routes.router,
        teach_routes.router,
        bundle_routes.router,
        batch_routes.router,
        status.router,
    ):
        api.include_router(
            router,
            dependencies=[Depends(known_query)],
            responses={422: {"model": problems.Problem}},
        )

    @api.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request, who: Who) -> JSONResponse:
        """What the API is."""
        return JSONResponse(described(api, service.below, list(service.lines)))

    return api


def described(api: FastAPI, below: str, bundles: list[str]) -> dict[str, Any]:
    """OpenAPI of the application, its errors as they are: problems.

    Args:
        api: the application.
        below: where a browser finds it.
        bundles: names that the parameter ``bundle`` may have.
    """
    document = get_openapi(
        title=api.title,
        version=api.version,
        description=api.description,
        routes=api.routes,
        servers=[{"url": below}],
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "bundle":
                    parameter["schema"] = {"type": "string", "enum": bundles}
            for code, answer in operation["responses"].items():
                if int(code) >= 400:
                    answer["content"] = {
                        problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}
                    }
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document
