"""compose.yaml, the Dockerfile and what belongs to them, as far as they can be checked without containers."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from pdsapp.config import SECRET_NAMES, Settings
from tests.stack.deployed import ROOT, SECRETS, Image, compose

FILES = {name: (ROOT / name).read_text() for name in ("compose.yaml", "Dockerfile", ".dockerignore")}
SERVICES = compose()["services"]
APP = ("migrate", "web", "worker", "worker-now", "scheduler")
KNOWN = {field.alias for field in Settings.model_fields.values()}


def test_compose_yaml_is_as_the_specification_wants_it():
    checker = Path(sys.executable).with_name("check-jsonschema")
    found = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr


def test_only_the_proxy_can_be_reached_from_outside():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    inner = {name for name, service in SERVICES.items() if "inner" in service["networks"]}
    assert compose()["networks"]["inner"] == {"internal": True}
    assert "proxy" not in inner and "ollama" not in inner
    assert SERVICES["db"]["networks"] == SERVICES["queue"]["networks"] == ["inner"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_limits_restarts_and_a_health_check(name):
    service = SERVICES[name]
    assert "memory" in service["deploy"]["resources"]["limits"]
    assert service["logging"]["options"]["max-size"]
    if name == "migrate":
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    assert name == "web" or service["healthcheck"]["test"], "web has the image's"


@pytest.mark.parametrize("name", APP)
def test_processes_of_ours_may_do_little(name):
    service = SERVICES[name]
    assert service["read_only"] is True and service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "container_name" not in service, "it can be scaled"
    assert name == "migrate" or service["depends_on"]["migrate"] == {
        "condition": "service_completed_successfully"
    }


def test_one_service_builds_the_image_that_all_of_ours_run():
    assert [name for name in SERVICES if "build" in SERVICES[name]] == ["migrate"]
    assert len({SERVICES[name]["image"] for name in APP}) == 1


@pytest.mark.parametrize("name", ["queue", "proxy"])
def test_servers_of_others_may_do_no_more_than_they_need(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name == "proxy" or service["user"] == "valkey"


def test_every_setting_that_is_given_is_one_that_is_read():
    known = KNOWN | {f"{name}_FILE" for name in SECRET_NAMES} | {"WEB_CONCURRENCY"}
    for name in APP:
        assert set(SERVICES[name]["environment"]) <= known
    assert set(Image.read().environment) - known == {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def test_secrets_come_from_files_only():
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if str(value).startswith(SECRETS):
                assert str(value).removeprefix(SECRETS) in service["secrets"], (name, key)
            else:
                assert key not in SECRET_NAMES and "PASSWORD" not in key, (name, key)
    assert not re.search(r"(?im)^(ENV|ARG).*(password|secret|key)", FILES["Dockerfile"])


def test_the_image_runs_as_nobody_in_particular_and_keeps_no_tools():
    assert Image.read().user == "10001:10001"
    stages = re.split(r"(?m)^FROM ", FILES["Dockerfile"])[1:]
    assert len(stages) == 2
    assert "--require-hashes" in stages[0] and "pip" not in stages[1].replace("pipe", "")
    assert "apt" not in FILES["Dockerfile"]


def test_only_what_is_copied_reaches_the_builder():
    lines = [line for line in FILES[".dockerignore"].splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "nothing, unless it is named"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {source for sources, _ in Image.read().copied for source in sources}
    assert let_in == copied | {"requirements/main.txt"}
    assert [name for name in let_in if not (ROOT / name).exists()] == []


def test_secrets_are_made_once_and_fit(tmp_path):
    folder = tmp_path / "secrets"
    command = ["sh", ROOT / "deploy" / "secrets.sh", folder]
    subprocess.run(command, check=True, capture_output=True)
    made = {path.name: path.read_text().strip() for path in folder.iterdir()}
    assert set(made) == set(compose()["secrets"])
    assert len(set(made.values())) == len(made)
    assert made["database_password"] in made["database_url"]
    assert made["queue_password"] in made["queue_url"]
    Fernet(made["fernet_keys"])
    assert len(made["secret_key"]) == 64
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "Nothing was changed" in again.stderr
    assert {path.name: path.read_text().strip() for path in folder.iterdir()} == made


def test_the_data_base_has_room_for_the_processes_as_they_are_counted():
    """The formula of docs/deploying.md, with what stands in compose.yaml and in the settings."""
    page = (ROOT / "docs" / "deploying.md").read_text()
    most = int(re.search(r"max_connections=\$\{[A-Z_]+:-(\d+)\}", FILES["compose.yaml"])[1])
    assert f"`TWINS_DATABASE_CONNECTIONS` | {most} " in page
    field = Settings.model_fields
    assert f"`PDS_DATABASE_POOL` | {field['database_pool'].default} " in page
    assert f"`PDS_DATABASE_OVERFLOW` | {field['database_overflow'].default} " in page
