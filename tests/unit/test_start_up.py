"""What a process imports: not by the clock, but by what is loaded when it is up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdsapp.cli import COMMANDS, Later

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"openai", "rq", "rq_scheduler", "redis", "httpx2", "flask_admin", "prometheus_client"}
COMMAND = """
import runpy, sys
sys.argv = {argv!r}
try:
    runpy.run_module("flask", run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
print("LOADED", *sys.modules)
"""
APPLICATION = """
import sys
from pdsapp import create_app
create_app(with_web={with_web})
{more}
print("LOADED", *sys.modules)
"""


def loaded(script, tmp_path):
    environment = {**os.environ, "PDS_DATA_DIR": str(tmp_path / "data"), "PDS_DEMO": "0"}
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return set(found.stdout.rpartition("LOADED ")[2].split()), found.stdout + found.stderr


@pytest.mark.parametrize(
    "argv", [["flask", "--help"], ["flask", "--app", "app", "--help"], ["flask"]], ids=" ".join
)
def test_the_list_of_commands_needs_nothing_of_what_they_do(tmp_path, argv):
    script = COMMAND.replace("assert not ended.code", "assert ended.code in (0, None, 2)")
    modules, said = loaded(script.format(argv=argv), tmp_path)
    assert not modules & (HEAVY | {"sqlalchemy", "pydantic", "flask_migrate", "flask_security"})
    for name in [*(name for name, _, _ in COMMANDS), "db"]:
        assert f"\n  {name} " in said
    assert not (tmp_path / "data").exists(), "asking for help begins no installation"


@pytest.mark.parametrize(
    "words", [["ledger", "--help"], ["worker", "--help"], ["experiments", "--help"]], ids=str
)
def test_help_of_one_command_imports_no_screen_and_no_model_client(tmp_path, words):
    modules, _ = loaded(COMMAND.format(argv=["flask", *words]), tmp_path)
    assert not modules & {"openai", "flask_admin", "prometheus_client", "flask_limiter.stores", "pdsapp.web"}


def test_an_application_without_screens_imports_none_of_their_packages(tmp_path):
    modules, _ = loaded(APPLICATION.format(with_web=False, more=""), tmp_path)
    assert not modules & (HEAVY | {"flask_limiter", "pdsapp.web", "pdsapp.admin"})


def test_an_application_with_screens_imports_neither_the_model_client_nor_prometheus(tmp_path):
    modules, _ = loaded(APPLICATION.format(with_web=True, more=""), tmp_path)
    assert "flask_admin" in modules
    assert not modules & {"openai", "prometheus_client"}


def test_workers_and_schedulers_import_no_screen(tmp_path):
    more = "from pdsapp.scheduling import scheduler, worker\nimport pdsapp.tasks"
    modules, _ = loaded(APPLICATION.format(with_web=False, more=more), tmp_path)
    assert "rq" in modules
    assert not modules & {"openai", "flask_admin", "prometheus_client", "flask_limiter", "pdsapp.web"}


@pytest.mark.parametrize(("name", "module", "words"), COMMANDS, ids=lambda value: str(value)[:20])
def test_what_the_list_says_of_a_command_is_what_the_command_says(name, module, words):
    real = Later(name, module, words).command
    assert real.name == name
    assert real.get_short_help_str(500).startswith(words.rstrip("."))
