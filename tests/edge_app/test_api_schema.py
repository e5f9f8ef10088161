"""What OpenAPI says of ``/v1`` is true: schemathesis makes requests of it, good ones and bad."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from edge_app.access.tokens import add_token
from edge_app.serving import serving
from tests.edge_app.served import client_of, picture
from tests.edge_app.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.slow

EXAMPLES = 8
KINDS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "application/octet-stream": ".png",
}
for kind, suffix in KINDS.items():
    schemathesis.openapi.media_type(
        kind, st.sampled_from([picture(level, suffix) for level in (0, 28, 120)])
    )


def zipped(*pictures: bytes) -> bytes:
    """An archive of pictures."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number, one in enumerate(pictures):
            archive.writestr(f"{number}.png", one)
    return content.getvalue()


schemathesis.openapi.media_type(
    "application/zip", st.sampled_from([zipped(), zipped(picture(28)), b"no archive"])
)


@dataclass(frozen=True)
class Described:
    """Operations by method and path, and the header that lets one in."""

    operations: dict[str, schemathesis.schemas.APIOperation]
    headers: dict[str, str]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    """Of a server with a part in its records, as a program with a token reads them."""
    folder = tmp_path_factory.mktemp("described")
    bundle = write_tiny_bundle(folder / "tile-tiny")
    token = add_token(folder / "tokens.json", "schemathesis", "engineer")
    headers = {"Authorization": f"Bearer {token}"}
    options = {"port": 0, "api_token_file": folder / "tokens.json"}
    with pytest.MonkeyPatch.context() as environment:
        for name in ("http_proxy", "HTTP_PROXY"):
            environment.delenv(name, raising=False)
        with serving([bundle], "memory:", **options) as url:
            with client_of(url, headers=headers) as client:
                client.post("v1/inspect", content=picture(28), params={"record": True})
            schema = schemathesis.openapi.from_url(f"{url}v1/openapi.json", headers=headers)
            found = [one.ok() for one in schema.get_all_operations()]
            yield Described({one.label: one for one in found}, headers)


OPERATIONS = (
    "POST /inspect",
    "GET /heat-maps/{name}",
    "GET /parts",
    "GET /parts/{part_id}",
    "GET /parts/{part_id}/picture",
    "GET /parts/{part_id}/neighbours",
    "POST /parts/{part_id}/feedback",
    "GET /parts/{part_id}/image",
    "GET /parts/{part_id}/heat",
    "GET /parts/{part_id}/outline",
    "GET /samples",
    "GET /samples/{number}/picture",
    "GET /samples/{number}/file",
    "GET /export/parts.csv",
    "GET /export/parts.zip",
    "GET /line",
    "GET /line/rate",
    "POST /line/{number}/seen",
    "GET /teach",
    "POST /teach/draft",
    "DELETE /teach/draft",
    "POST /teach/pictures",
    "POST /teach/take",
    "GET /teach/pictures/{number}",
    "POST /teach/pictures/{number}",
    "POST /teach/make",
    "POST /teach/trial",
    "POST /teach/live",
    "POST /teach/back",
    "GET /bundles/{name}",
    "GET /bundles/{name}/review",
    "POST /bundles/{name}/threshold",
    "POST /bundles/{name}/threshold/rollback",
    "POST /bundles/{name}/verify",
    "GET /parts/{part_id}/missed",
    "GET /batch",
    "POST /batch",
    "DELETE /batch",
    "POST /batch/zip",
    "GET /batch/rows",
    "GET /batch/results.csv",
    "GET /batch/report.html",
    "GET /me",
    "GET /bundles",
)


def test_all_of_them_are_tried(described: Described) -> None:
    assert tuple(described.operations) == OPERATIONS


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_request_is_answered_as_described(
    described: Described, label: str, mode: GenerationMode
) -> None:
    operation = described.operations[label]
    takes = operation.query or operation.path_parameters or operation.body
    if mode is GenerationMode.NEGATIVE and not takes:
        pytest.skip("takes nothing that could be wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE:
            # No text that anybody could make up is a cursor.
            case.query.pop("cursor", None)
        # A picture of the right kind may still be too small, or cut off, an archive empty.
        is_file = label in ("POST /inspect", "POST /batch/zip")
        left_out = [positive_data_acceptance] if is_file else []
        case.call_and_validate(headers=described.headers, excluded_checks=left_out)

    run()
