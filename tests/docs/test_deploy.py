"""What lies in deploy/: files that parse, commands that exist, and nothing that runs as root."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from edge_app.live.config import read_config
from edge_app.store.connect import LEAST_VERSION
from runtime.cli import cli
from tests.docs.markdown import ROOT

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "lineside-station.service"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def unit() -> dict[str, list[str]]:
    """Values by key; systemd takes a key several times."""
    found = defaultdict(list)
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def check_command(words: list[str]) -> None:
    """Let click parse a command line; one that it does not take is a usage error."""
    lineside = cli.make_context("lineside", list(words))
    rest = [*lineside._protected_args, *lineside.args]
    name, command, arguments = cli.resolve_command(lineside, rest)
    assert command is not None
    command.make_context(name, arguments, parent=lineside)


def lines_of(path: Path) -> list[str]:
    """Lines of a Containerfile without comments, continued ones joined."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_unit_starts_commands_that_exist() -> None:
    commands = [*unit()["ExecStart"], *unit()["ExecStartPre"]]
    assert len(commands) == 2
    for command in commands:
        program, *words = shlex.split(command)
        assert program.endswith("/lineside")
        check_command(words)


@pytest.mark.parametrize(
    "words", [["sttion", "a.toml"], ["station"], ["--log-format", "xml", "station", "a.toml"]]
)
def test_a_command_that_does_not_exist_is_found(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        check_command(words)


def test_the_unit_is_unprivileged_watched_and_started_again() -> None:
    found = unit()
    assert found["User"] == ["lineside"]
    assert found["Type"] == ["notify"]
    assert float(found["WatchdogSec"][0]) >= 30
    assert found["Restart"] == ["always"]
    assert found["CapabilityBoundingSet"] == [""]
    assert found["NoNewPrivileges"] == ["yes"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit_and_calls_it_locked_in(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    program = unit()["ExecStart"][0].split()[0]
    copy.write_text(UNIT.read_text(encoding="utf-8").replace(program, sys.executable))
    verified = analyzed("verify", "--man=no", copy)
    assert (verified.returncode, verified.stderr.strip()) == (0, "")
    # In tenths, as the option has it: 1.8 when it was written.
    analyzed("security", "--offline=true", "--threshold=20", copy).check_returncode()


def analyzed(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_container_runs_a_command_that_exists_as_a_user_of_its_own() -> None:
    lines = lines_of(CONTAINERFILE)
    words = {line.split()[0]: line.partition(" ")[2] for line in lines}
    program, *options = json.loads(words["ENTRYPOINT"])
    assert program == "lineside"
    check_command([*options, *json.loads(words["CMD"])])
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", words["USER"])
    stages = [line for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2
    assert not any(re.search(r":latest|python$", line) for line in stages)
    installed = [line for line in lines if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installed)


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def test_every_service_of_compose_is_locked_in_and_mounts_what_is_there() -> None:
    found = compose()
    assert set(found["services"]) == {"station", "sync", "qdrant", "mqtt"}
    for name, service in found["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), mount
            elif not source.startswith("../demo"):
                assert source in found["volumes"], mount
    build = found["services"]["station"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(CONTAINERFILE)


def test_the_station_of_compose_can_be_used_and_its_sync_exists() -> None:
    config = read_config(DEPLOY / "station" / "station.toml")
    services = compose()["services"]
    places = [mount.split(":")[1] for mount in services["station"]["volumes"]]
    needed = [*config.bundles, config.store, *(Path(one.watch) for one in config.sources)]
    for path in needed:
        assert any(path.is_relative_to(place) for place in places), path
    (script,) = services["sync"]["command"]
    (sync,) = [line.split("||")[0] for line in script.splitlines() if "lineside" in line]
    words = shlex.split(sync)
    check_command(words[1:])
    assert words[2] == str(config.store)
    assert {f"http://{name}:6333" for name in services} >= {words[3]}


def qdrant_image() -> str:
    return str(compose()["services"]["qdrant"]["image"])


def test_the_store_of_kubernetes_is_the_one_of_compose_and_locked_in() -> None:
    text = (DEPLOY / "kubernetes" / "qdrant.yaml").read_text(encoding="utf-8")
    kinds = {one["kind"]: one for one in yaml.safe_load_all(text)}
    assert set(kinds) == {"Service", "StatefulSet", "NetworkPolicy"}
    pod = kinds["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["image"] == qdrant_image()
    claims = kinds["StatefulSet"]["spec"]["volumeClaimTemplates"]
    volumes = {one["name"] for one in pod["volumes"]} | {one["metadata"]["name"] for one in claims}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
    ports = {one["name"] for one in container["ports"]}
    assert {one["targetPort"] for one in kinds["Service"]["spec"]["ports"]} == ports


def test_the_server_is_one_that_lineside_takes() -> None:
    version = re.search(r":v(\d+)\.(\d+)\.\d+", qdrant_image())
    assert version is not None
    assert tuple(map(int, version.groups())) >= LEAST_VERSION


def test_udev_rules_are_matches_and_assignments() -> None:
    rules = lines_of(DEPLOY / "udev" / "70-lineside-camera.rules")
    assert len(rules) == 2
    for rule in rules:
        for one in rule.split(", "):
            assert re.fullmatch(r'[A-Z]+(\{\w+\})?(==|\+=|=)"[^"]+"', one), one


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    names = ("-keyout", tmp_path / "key.pem", "-out", tmp_path / "fullchain.pem")
    made = ("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=line", *names)
    subprocess.run(["openssl", *made], check=True, capture_output=True)
    site = (DEPLOY / "nginx" / "lineside.conf").read_text(encoding="utf-8")
    (tmp_path / "site.conf").write_text(site.replace("/etc/ssl/lineside", str(tmp_path)))
    places = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
        f"http {{ access_log off; {places} include {tmp_path}/site.conf; }}\n"
    )
    tested = ["nginx", "-t", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(tested, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "extras"), [("base", ()), ("station", ("app", "neighbours", "mqtt", "sign"))]
)
def test_requirements_have_hashes_and_fit_the_project(name: str, extras: tuple[str, ...]) -> None:
    text = (DEPLOY / f"requirements-{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    pinned = {}
    for entry in re.split(r"\n(?=[a-z])", text):
        if entry.startswith("#"):
            continue
        requirement = re.match(r"([a-z0-9-]+)==(\S+)", entry)
        assert requirement, entry
        assert "--hash=sha256:" in entry, entry
        pinned[requirement[1]] = Version(requirement[2])
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    for line in wanted:
        one = Requirement(line)
        if one.name != "lineside":
            assert pinned[one.name.replace("_", "-")] in one.specifier, line
