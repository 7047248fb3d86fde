"""What compose.yaml and the Dockerfile say, read from them, and carried out without containers.

Nothing is repeated here: a command, a setting or a file that changes there is another one here too.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from pdsapp.stack.valkey import binary_path

ROOT = Path(__file__).resolve().parents[2]
SECRETS = "/run/secrets/"
LEASH = ROOT / "tests" / "faults" / "leashed.py"
PLACE = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")


def compose() -> dict:
    """compose.yaml as it stands, its anchors resolved and its variables not."""
    return YAML(typ="safe").load((ROOT / "compose.yaml").read_text())


def filled(value: str, variables: Mapping[str, str]) -> str:
    """A text of compose.yaml as Compose would pass it on."""
    return PLACE.sub(lambda found: variables.get(found[1]) or found[2] or "", str(value)).replace("$$", "$")


@dataclass(frozen=True)
class Image:
    """The Dockerfile's last stage."""

    environment: dict[str, str]
    copied: list[tuple[list[str], str]]
    command: list[str]
    healthcheck: list[str]
    user: str

    @classmethod
    def read(cls) -> "Image":
        """As the Dockerfile says."""
        text = re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
        lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
        last = max(number for number, (word, _) in enumerate(lines) if word == "FROM")
        stage = lines[last + 1 :]
        environment, copied, found = {}, [], {}
        for word, rest in stage:
            if word == "ENV":
                environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            elif word == "COPY" and not rest.startswith("--from"):
                *sources, target = rest.split()
                copied.append((sources, target))
            else:
                found[word] = rest
        healthcheck = json.loads(found["HEALTHCHECK"].partition("CMD ")[2])
        return cls(environment, copied, json.loads(found["CMD"]), healthcheck, found["USER"])

    def copy_to(self, folder: Path) -> None:
        """What the image holds of this repository, and nothing else."""
        for sources, target in self.copied:
            for source in sources:
                is_folder = (ROOT / source).is_dir()
                to = folder / target if is_folder else folder / target / Path(source).name
                to.parent.mkdir(parents=True, exist_ok=True)
                if is_folder:
                    shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, to)


class Deployment:
    """The services of compose.yaml as processes in `folder`, each with its own command and settings.

    `variables` are what would stand in .env; `changes` replace settings that name a place in a container.
    The processes die with this one, and `close` ends them.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], changes: Mapping[str, str]):
        self.services, self.image = compose()["services"], Image.read()
        self.folder, self.secrets, self.code = folder, folder / "secrets", folder / "srv"
        self.processes: dict[str, subprocess.Popen] = {}
        self._variables, self._changes = dict(variables), dict(changes)
        subprocess.run(
            ["sh", ROOT / "deploy" / "secrets.sh", self.secrets], check=True, stdout=subprocess.DEVNULL
        )
        self.image.copy_to(self.code)
        (folder / "data").mkdir()
        self._bin = folder / "bin"
        self._bin.mkdir()
        (self._bin / "valkey-server").symlink_to(binary_path())

    def tell(self, secret: str, value: str) -> None:
        """Replaces a secret that names a container."""
        path = self.secrets / secret
        path.chmod(0o600)
        path.write_text(f"{value}\n")

    def environment(self, service: str) -> dict[str, str]:
        """What the service's process is told, with the places of this machine."""
        own = self.services[service].get("environment", {})
        told = {name: filled(value, self._variables) for name, value in own.items()}
        merged = {**self.image.environment, **told, **self._changes}
        path = f"{self._bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        here = {name: value.replace(SECRETS, f"{self.secrets}/") for name, value in merged.items()}
        return {"LANG": "C.UTF-8", "HOME": "/nonexistent", **here, "PATH": path}

    def command(self, service: str) -> list[str]:
        """The service's command, or the image's."""
        own = self.services[service].get("command", self.image.command)
        return [
            filled(word, self._variables)
            .replace(SECRETS, f"{self.secrets}/")
            .replace("--dir /data", f"--dir {self.folder / 'data'}")
            for word in own
        ]

    def start(self, service: str, name: str = "", extra: str = "") -> subprocess.Popen:
        """Starts a process of a service; its output goes to `NAME.log`. `extra` are options of the queue."""
        name, command = name or service, self.command(service)
        if extra:
            command[-1] = command[-1].replace("valkey-server -", f"valkey-server - {extra}")
        environment = self.environment(service)
        program = shutil.which(command[0], path=environment["PATH"])
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), program, *command[1:]],
                cwd=self.code, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self.processes[name]

    def run(self, service: str, command: list[str] | None = None) -> subprocess.CompletedProcess:
        """Runs a service's command, or another one in its place, to its end."""
        environment = self.environment(service)
        program, *arguments = command or self.command(service)
        program = shutil.which(program, path=environment["PATH"])
        return subprocess.run(
            [program, *arguments], cwd=self.code, env=environment,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def is_healthy(self, service: str) -> bool:
        """What the service's health check says."""
        told = self.services[service].get("healthcheck", {}).get("test")
        return self.run(service, told[1:] if told else self.image.healthcheck).returncode == 0

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        """Ends every process that is left, by its own id."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
