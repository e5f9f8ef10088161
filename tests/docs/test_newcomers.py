"""What a contributor meets first does what the project itself does."""

from __future__ import annotations

import json
import re
import tomllib

from tests.docs.markdown import ROOT


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_a_commit_is_checked_by_what_make_check_runs() -> None:
    recipe = read("Makefile").split("\ncheck: install\n")[1].split("\n\n")[0]
    tools = re.findall(r"\$\(BIN\)/([\w-]+(?: check| format)?)", recipe)
    hooks = re.findall(r"\.venv/bin/([\w-]+(?: check| format)?)", read(".pre-commit-config.yaml"))
    assert len(tools) == 4
    assert hooks[-4:] == tools


def test_the_workflow_and_the_container_use_the_projects_own_scripts() -> None:
    assert "- run: .ci/run\n" in read(".github/workflows/ci.yml")
    container = json.loads(read(".devcontainer/devcontainer.json"))
    assert container["postCreateCommand"].endswith("make install")


def test_the_citation_names_the_projects_license() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert f"license: {project['license']}\n" in read("CITATION.cff")
