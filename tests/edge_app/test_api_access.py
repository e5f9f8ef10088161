"""Who may use the API: tokens, the page's login, other origins, proxies; the token's command."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import Mount

from edge_app.access import door
from edge_app.access.origin import USER
from edge_app.access.sessions import IDLE_S, LONGEST_S, Sessions
from edge_app.access.slow_login import PAUSE_S
from edge_app.access.tokens import TokenFile, add_token, read_tokens, remove_token
from edge_app.access.users import UserFile, put_user, remove_user
from edge_app.api.application import Access, build_application, build_service
from edge_app.serving import serving
from runtime.errors import PageError
from tests.cli import lineside
from tests.edge_app.served import client_of, picture, station_of
from tests.edge_app.test_api import problem
from tests.edge_app.tiny_bundle import write_tiny_bundle

PASSWORD = "a long one"
OPEN = ("healthz", "readyz")
GUARDED = (
    ("GET", "metrics"),
    ("GET", "v1/openapi.json"),
    ("GET", "v1/bundles"),
    ("GET", "v1/parts"),
    ("GET", "v1/parts/00000000-0000-4000-8000-000000000000"),
    ("GET", "v1/parts/00000000-0000-4000-8000-000000000000/picture"),
    ("GET", "v1/parts/00000000-0000-4000-8000-000000000000/neighbours"),
    ("POST", "v1/parts/00000000-0000-4000-8000-000000000000/feedback"),
    ("GET", "v1/parts/00000000-0000-4000-8000-000000000000/image"),
    ("GET", "v1/parts/00000000-0000-4000-8000-000000000000/heat"),
    ("GET", "v1/parts/00000000-0000-4000-8000-000000000000/outline"),
    ("GET", "v1/export/parts.csv"),
    ("GET", "v1/export/parts.zip"),
    ("GET", "v1/line"),
    ("GET", "v1/line/rate"),
    ("POST", "v1/line/7/seen"),
    ("GET", "v1/teach"),
    ("POST", "v1/teach/draft"),
    ("DELETE", "v1/teach/draft"),
    ("POST", "v1/teach/pictures"),
    ("POST", "v1/teach/take"),
    ("GET", "v1/teach/pictures/7"),
    ("POST", "v1/teach/pictures/7"),
    ("POST", "v1/teach/make"),
    ("POST", "v1/teach/trial"),
    ("POST", "v1/teach/live"),
    ("POST", "v1/teach/back"),
    ("POST", "v1/inspect"),
    ("GET", "v1/heat-maps/x"),
    ("GET", "v1/samples"),
    ("GET", "v1/samples/7/picture"),
    ("GET", "v1/samples/7/file"),
    ("GET", "v1/me"),
    ("GET", "v1/batch"),
    ("POST", "v1/batch"),
    ("DELETE", "v1/batch"),
    ("POST", "v1/batch/zip"),
    ("GET", "v1/batch/rows"),
    ("GET", "v1/batch/results.csv"),
    ("GET", "v1/batch/report.html"),
    ("GET", "v1/bundles/tile-tiny"),
    ("GET", "v1/bundles/tile-tiny/review"),
    ("GET", "v1/parts/00000000-0000-4000-8000-000000000000/missed"),
    ("POST", "v1/bundles/tile-tiny/threshold"),
    ("POST", "v1/bundles/tile-tiny/threshold/rollback"),
    ("POST", "v1/bundles/tile-tiny/verify"),
)
# What operators may not do.
ENGINEERS = {
    "/v1/teach/draft",
    "/v1/teach/pictures",
    "/v1/teach/take",
    "/v1/teach/pictures/{number}",
    "/v1/teach/make",
    "/v1/teach/trial",
    "/v1/teach/live",
    "/v1/teach/back",
    "/v1/bundles/{name}/threshold",
    "/v1/bundles/{name}/threshold/rollback",
    "/v1/bundles/{name}/verify",
}
# What a browser has to have before somebody has logged in; none of it says anything of a part.
BEFORE_LOGIN = {"/healthz", "/readyz", "/login", "/login/", "/logout", "/line", "/history"} | {
    "/parts/{part_id}",
    "/inspect",
    "/screen/{name}",
    "/model",
    "/batch",
    "/teach",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile-tiny")


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens") / "api-tokens.json"


@pytest.fixture(scope="module")
def press(token_file: Path) -> str:
    return add_token(token_file, "press-3")


@pytest.fixture(scope="module")
def url(bundle: Path, token_file: Path, press: str) -> Iterator[str]:
    options = {"password": PASSWORD, "api_token_file": token_file}
    with serving([bundle], "memory:", port=0, **options) as found:
        yield found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("lineside_wrong"),
        {"Authorization": "Bearer"},
        {"Authorization": "Basic b3BlcmF0b3I6YSBsb25nIG9uZQ=="},
        {"Cookie": "access-token=x; access-token-unsecure=y"},
    ],
)
def test_every_route_asks_who_it_is(
    url: str, method: str, path: str, headers: dict[str, str]
) -> None:
    with client_of(url) as client:
        answer = client.request(method, path, headers=headers)
        assert "lineside token FILE add NAME" in problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_guarded_routes_are_all_there_are(url: str, press: str) -> None:
    with client_of(url, headers=bearer(press)) as client:
        described = client.get("v1/openapi.json").json()
    of_api = {
        (method.upper(), f"v1{path}")
        for path, operations in described["paths"].items()
        for method in operations
    }
    known = {
        (
            method,
            re.sub("0{8}-[0-9-]+", "{part_id}", path)
            .replace("maps/x", "maps/{name}")
            .replace("line/7", "line/{number}")
            .replace("pictures/7", "pictures/{number}")
            .replace("samples/7", "samples/{number}")
            .replace("bundles/tile-tiny", "bundles/{name}"),
        )
        for method, path in GUARDED
    }
    assert of_api == known - {("GET", "metrics"), ("GET", "v1/openapi.json")}
    assert all(
        operation["security"] == [{"HTTPBearer": []}]
        for operations in described["paths"].values()
        for operation in operations.values()
    )


def dependencies(dependant: Dependant) -> set[object]:
    """Everything that a route stands on."""
    inner = (dependencies(one) for one in dependant.dependencies)
    return {dependant.call}.union(*inner)


def test_every_route_of_the_application_has_its_role(bundle: Path) -> None:
    with station_of((bundle, "openvino")) as station:
        app = build_application(build_service(station), Access("a long one"))
        mounted = next(one.app for one in app.routes if isinstance(one, Mount))
        routes = [(one.path, dependencies(one.dependant)) for one in api_routes(app)]
        below = [(f"/v1{one.path}", dependencies(one.dependant)) for one in api_routes(mounted)]
        routes += [one for one in below if one[0] != "/v1/openapi.json"]
    asks = {path for path, found in routes if door._visitor in found}
    engineers = {path for path, found in routes if door._engineer in found}
    assert engineers == ENGINEERS
    # Whatever changes more than a record has to ask for an engineer.
    assert engineers <= asks
    assert {path for path, _ in routes} - asks == BEFORE_LOGIN


def api_routes(*apps: FastAPI | APIRouter) -> list[APIRoute]:
    """All of them, however deep: newer versions of FastAPI keep a router as a whole."""
    found = []
    for one in (route for app in apps for route in app.routes):
        inner = getattr(one, "original_router", None)
        if isinstance(one, APIRoute):
            found.append(one)
        elif inner is not None:
            found += api_routes(inner)
    return found


@pytest.fixture(scope="module")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.json"
    assert put_user(path, "ada", "engineer", "a longer one")
    assert put_user(path, "otto", "operator", "another one")
    return path


@contextmanager
def logged_in(url: str, name: str, password: str, status: int = 200) -> Iterator[httpx.Client]:
    with client_of(url) as client:
        answer = client.post("login", data={"username": name, "password": password})
        assert answer.status_code == status
        yield client


def test_operators_judge_and_engineers_change_thresholds(
    tmp_path: Path, users_file: Path, token_file: Path
) -> None:
    bundle = write_tiny_bundle(tmp_path / "tile-tiny")
    robot = add_token(token_file, "planner", "engineer")
    new = {"image_threshold": 70.0, "in_force": 64.0, "note": "agreed"}
    options = {"users_file": users_file, "password": PASSWORD, "api_token_file": token_file}
    with serving([bundle], "memory:", port=0, **options) as url:
        for name, password in (("otto", "another one"), (USER, PASSWORD)):
            with logged_in(url, name, password) as client:
                assert client.get("v1/me").json() == {
                    "name": name,
                    "role": "operator",
                    "guarded": True,
                }
                content = picture(28)
                answer = client.post("v1/inspect", content=content, params={"record": True})
                part_id = answer.json()["inspections"][0]["part_id"]
                said = client.post(f"v1/parts/{part_id}/feedback", json={"word": "right"}).json()
                assert said["words"][-1]["who"] == name
                for path in ENGINEERS:
                    where = path.replace("{name}", "tile-tiny").replace("{number}", "7")
                    refused = problem(client.post(where, json=new), 403)
                    assert "--role engineer" in refused
        with logged_in(url, "ada", "a longer one") as client:
            found = client.post("v1/bundles/tile-tiny/threshold", json=new).json()
            assert [one["image_threshold"] for one in found] == [70.0, 64.0]
            assert found[0]["note"] == "agreed (ada)"
            # With another password her sessions end, and with the old one nobody comes in.
            put_user(users_file, "ada", "engineer", "yet another")
            problem(client.get("v1/me"), 401)
        with logged_in(url, "ada", "a longer one", 400):
            pass
        with client_of(url, headers=bearer(robot)) as client:
            back = client.post("v1/bundles/tile-tiny/threshold/rollback").json()
            assert [(one["state"], one["image_threshold"]) for one in back] == [
                ("in force", 64.0),
                ("undone", 70.0),
            ]
        remove_user(users_file, "otto")
        with logged_in(url, "otto", "another one", 400):
            pass


def test_sessions_end_and_a_damaged_file_lets_nobody_in(tmp_path: Path) -> None:
    path, time_now = tmp_path / "users.json", [0.0]
    put_user(path, "ada", "engineer", "a longer one")
    sessions = Sessions(users=UserFile(path), clock=lambda: time_now[0])
    secret = sessions.log_in("ada", "a longer one")
    cookies = {sessions.cookie: secret or ""}
    for _ in range(20):
        time_now[0] += IDLE_S - 1
        found = sessions.visitor(cookies)
        assert (found is not None) == (time_now[0] <= LONGEST_S)
    secret = sessions.log_in("ada", "a longer one")
    time_now[0] += IDLE_S + 1
    assert sessions.visitor({sessions.cookie: secret or ""}) is None
    secret = sessions.log_in("ada", "a longer one")
    cookies = {sessions.cookie: secret or ""}
    assert sessions.visitor(cookies) is not None
    sessions.log_out(cookies)
    assert sessions.visitor(cookies) is None
    path.write_text("{}")
    assert sessions.log_in("ada", "a longer one") is None


def test_without_a_password_a_token_logs_in_on_the_screens(
    bundle: Path, token_file: Path, press: str
) -> None:
    with serving([bundle], "memory:", port=0, api_token_file=token_file) as url:
        with client_of(url) as client:
            assert 'data-login="token"' in client.get("").text
            assert 'data-login="token"' in client.get("history").text
        with logged_in(url, "token", press) as client:
            assert client.get("v1/me").json()["name"] == "press-3"
            assert "data-login" not in client.get("").text
        with logged_in(url, "token", "lineside_wrong", 400) as client:
            problem(client.get("v1/me"), 401)


def test_what_the_users_command_says(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    made = lineside("user", file, "add", "ada", "--role", "engineer", stdin="a longer one\n")
    assert "may log in" in made.stderr
    assert "longer" not in file.read_text()
    assert "of at least 8 letters" in lineside("user", file, "add", "bo", stdin="short\n").line()
    assert json.loads(lineside("user", file, "--json").stdout)["role"] == "engineer"
    assert "expected one of ada" in lineside("user", file, "remove", "bo").line()
    assert "let in no more" in lineside("user", file, "remove", "ada").stderr


@pytest.mark.parametrize("path", OPEN)
def test_whether_the_box_is_well_is_for_everybody(url: str, path: str) -> None:
    with client_of(url) as client:
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.json()["status"] in ("ok", "ready")


def test_a_token_opens_the_api_and_its_name_stands_with_the_word(url: str, press: str) -> None:
    with client_of(url, headers=bearer(press)) as client:
        answer = client.post("v1/inspect", content=picture(28), params={"record": True})
        part_id = answer.json()["inspections"][0]["part_id"]
        said = client.post(f"v1/parts/{part_id}/feedback", json={"word": "right"}).json()
        assert [word["who"] for word in said["words"]] == ["press-3"]
        assert client.get("metrics").status_code == 200


def test_who_has_logged_in_on_the_page_needs_no_token(url: str) -> None:
    with client_of(url) as client:
        assert client.post("login", data={"username": USER, "password": PASSWORD}).is_success
        assert client.get("v1/bundles").status_code == 200
        part = client.post("v1/inspect", content=picture(29), params={"record": True}).json()
        where = f"v1/parts/{part['inspections'][0]['part_id']}/feedback"
        said = client.post(where, json={"word": "wrong"}).json()["words"]
        assert said[-1]["who"] == USER
        # A token that is shown must be right, whoever is logged in.
        problem(client.get("v1/bundles", headers=bearer("lineside_wrong")), 401)
        client.get("logout")
        problem(client.get("v1/bundles"), 401)


@pytest.mark.parametrize("path", ["v1/bundles", "v1/inspect", "healthz", "metrics"])
def test_other_origins_are_refused_before_anything(url: str, press: str, path: str) -> None:
    with client_of(url, headers=bearer(press)) as client:
        answer = client.get(path, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_answers_carry_headers_that_forbid_what_nobody_needs(url: str, press: str) -> None:
    with client_of(url, headers=bearer(press)) as client:
        for path in ("", "healthz", "v1/bundles", "v1/nothing", "login", "gradio_api/info"):
            found = client.get(path).headers
            assert found["x-content-type-options"] == "nosniff"
            assert found["referrer-policy"] == "same-origin"
            assert "frame-ancestors" in found["content-security-policy"]
            assert "server" not in found


def test_on_this_machine_alone_no_token_is_asked_but_another_name_is_refused(bundle: Path) -> None:
    with serving([bundle], "memory:", port=0) as url, client_of(url) as client:
        assert client.get("v1/bundles").status_code == 200
        for path in ("v1/bundles", "metrics", "healthz", ""):
            answer = client.get(path, headers={"Host": "evil.example"})
            assert answer.status_code == 403


@pytest.mark.slow
def test_a_forwarded_address_counts_from_a_trusted_proxy_alone(bundle: Path) -> None:
    """Wrong passwords of one address wait for one another; a client must not choose its own."""

    def seconds(client: httpx.Client) -> float:
        start = time.monotonic()
        for number in range(3):
            # Each time another user, so that only the address is counted.
            form = {"username": f"user{number}", "password": "wrong"}
            headers = {"X-Forwarded-For": f"10.0.0.{number}"}
            assert client.post("login", data=form, headers=headers).status_code == 400
        return time.monotonic() - start

    options = {"password": PASSWORD, "port": 0}
    with serving([bundle], "memory:", **options) as url, client_of(url) as client:
        assert seconds(client) >= 2 * PAUSE_S * 0.99
    with (
        serving([bundle], "memory:", trusted_proxies=["127.0.0.1"], **options) as url,
        client_of(url) as client,
    ):
        assert seconds(client) < PAUSE_S


@pytest.mark.parametrize("proxy", ["", "box.plant", "10.0.0.1/99", "*"])
def test_a_proxy_that_is_no_address_is_refused(bundle: Path, proxy: str) -> None:
    refused = pytest.raises(PageError, match="--trusted-proxy")
    with refused, serving([bundle], "memory:", port=0, trusted_proxies=[proxy]):
        pass


def test_a_token_is_shown_once_kept_as_a_hash_and_taken_back_while_the_server_runs(
    tmp_path: Path, bundle: Path
) -> None:
    file = tmp_path / "api-tokens.json"
    made = lineside("token", file, "add", "press-3")
    token = made.stdout.strip()
    assert made.returncode == 0
    assert re.fullmatch(r"lineside_[A-Za-z0-9_-]{43}", token)
    assert token not in file.read_text()
    with serving([bundle], "memory:", port=0, api_token_file=file) as url, client_of(url) as client:
        assert client.get("v1/bundles", headers=bearer(token)).status_code == 200
        second = json.loads(lineside("token", file, "add", "robot", "--json").stdout)["token"]
        assert client.get("v1/bundles", headers=bearer(second)).status_code == 200
        assert lineside("token", file, "remove", "press-3").returncode == 0
        problem(client.get("v1/bundles", headers=bearer(token)), 401)
        assert client.get("v1/bundles", headers=bearer(second)).status_code == 200
        assert [token.name for token in read_tokens(file)] == ["robot"]
        # A file that is gone lets nobody in, and one that is back does.
        content = file.read_bytes()
        file.unlink()
        problem(client.get("v1/bundles", headers=bearer(second)), 401)
        file.write_bytes(content)
        assert client.get("v1/bundles", headers=bearer(second)).status_code == 200


def test_what_the_tokens_command_says(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    assert "expected readable JSON" in lineside("token", file).line()
    add_token(file, "press-3")
    assert lineside("token", file).stdout.startswith("press-3  20")
    assert "found a token of 'press-3'" in lineside("token", file, "add", "press-3").line()
    assert "expected one of press-3" in lineside("token", file, "remove", "robot").line()
    assert "expected a name of letters" in lineside("token", file, "add", "a b").line()
    assert lineside("token", file, "add").returncode == 2
    assert lineside("token", file, "show", "x").returncode == 2
    for content in ("{}", "[]", '{"api_tokens_version": 1, "tokens": [{"name": "a"}]}', "x"):
        file.write_text(content)
        with pytest.raises(PageError, match="type: lineside token FILE add NAME"):
            TokenFile(file)
        with pytest.raises(PageError):
            remove_token(file, "a")


def test_a_server_with_a_file_of_tokens_that_is_none_does_not_start(
    tmp_path: Path, bundle: Path
) -> None:
    said = lineside("app", bundle, "--api-token-file", tmp_path / "none.json", "--port", 0).line()
    assert "lineside token FILE add NAME" in said
