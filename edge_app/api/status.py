"""How the box is: ``/healthz`` and ``/readyz`` for everybody, ``/metrics`` and the bundles not."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from edge_app.access.door import Asking, Who
from edge_app.access.users import Role
from edge_app.api.answers import BundleCard, Bundles
from edge_app.api.metrics import MEDIA_TYPE
from edge_app.api.problems import RETRY_S, Problem, ProblemError
from edge_app.api.service import service_of
from edge_app.line import Line
from edge_app.page.choice import Station

# Outside of /v1, as those who ask expect them.
outside = APIRouter()
router = APIRouter()


@dataclass(frozen=True)
class Health:
    """``ok`` or ``ready``: a status of 200 says the same."""

    status: str


@outside.get("/healthz", include_in_schema=False)
async def healthz() -> Health:
    """The server answers."""
    return Health("ok")


@outside.get("/readyz", include_in_schema=False)
async def readyz(request: Request) -> Health:
    """The engines are open and there is room for a part."""
    places = service_of(request).places
    if places.taken >= places.most:
        raise ProblemError(
            503,
            f"expected room for a request, found {places.taken} of {places.most} in work; ask "
            "again after a second",
            {"Retry-After": str(RETRY_S)},
        )
    return Health("ready")


@outside.get("/metrics", include_in_schema=False)
def metrics(request: Request, who: Who) -> Response:
    """Prometheus's text format."""
    text = service_of(request).metrics.text()
    return Response(text, headers={"Content-Type": MEDIA_TYPE})


@dataclass(frozen=True)
class Me:
    """Who asks; ``guarded`` is false where nobody has to say, and everybody is an engineer."""

    name: str
    role: Role
    guarded: bool


@router.get("/me", responses={401: {"model": Problem}})
def me(request: Request, who: Asking) -> Me:
    """Who one is, and what one may do."""
    return Me(who.name, who.role, request.app.state.door.guarded)


@router.get("/bundles", responses={401: {"model": Problem}})
def bundles(request: Request, who: Who) -> Bundles:
    """The bundles at work; their names are what ``bundle=`` takes."""
    return bundles_of(service_of(request).station)


def bundles_of(station: Station) -> Bundles:
    """The cards of a station's bundles."""
    return Bundles([_card(label, line) for label, line in station.lines.items()])


def _card(label: str, line: Line) -> BundleCard:
    inspector = line.inspector
    manifest, threshold, alarm = inspector.bundle.manifest, inspector.threshold, line.alarm
    height, width = inspector.size_hw
    said = (inspector.threshold_problem, inspector.health_problem, line.notice)
    return BundleCard(
        name=line.name,
        label=label,
        category=manifest.category,
        model=manifest.model,
        fingerprint=line.store.bundle,
        width=width,
        height=height,
        engine=inspector.variant.engine,
        precision=inspector.variant.precision,
        device=inspector.device,
        threshold=threshold.image_threshold,
        threshold_method=threshold.method,
        drift="" if alarm is None else alarm.sentence(),
        warning=" ".join(one for one in said if one),
    )
