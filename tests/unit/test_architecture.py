"""House rules: imports go down only, the domain is pure, files stay readable."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pdsapp"

# Lower numbers lie deeper; a module imports from its own tier or below.
TIERS = {
    "domain": 0,
    "errors": 0,
    "wall_clock": 0,
    "collector": 0,
    "config": 1,
    "models": 1,
    "extensions": 2,
    "database": 2,
    "grants": 2,
    "logs": 2,
    "llm": 2,
    "attempts": 3,
    "dt_service": 3,
    "scheduling": 3,
    "services": 3,
    "tasks": 4,
    "stack": 4,
    "cli": 5,
    "web": 5,
    "admin": 6,
    "factory": 7,
}
# The supervisor starts every other room, so it may reach up, but only from inside a function.
STARTERS = {"stack"}
PURE = {"croniter", "cron_descriptor", "pdsapp"}
FILE_LIMIT = 400


def _modules():
    return sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path):
    """(line, absolute dotted name, whether it is imported inside a function)."""
    package = [PACKAGE.parent.name, *path.relative_to(PACKAGE.parent).parent.parts][1:]
    tree = ast.parse(path.read_text())
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) in inner
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if name == "pdsapp" or (node.level and not node.module):
                for alias in node.names:
                    yield node.lineno, f"{name}.{alias.name}", id(node) in inner
            else:
                yield node.lineno, name, id(node) in inner


def _room(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    wrong = [
        f"line {line}: {name}"
        for line, name, is_inner in _imports(path)
        if name.startswith("pdsapp.")
        and _room(name) in TIERS
        and TIERS[_room(name)] > TIERS[own]
        and not (own in STARTERS and is_inner)
    ]
    assert not wrong, f"{own} (tier {TIERS[own]}) imports from above: {wrong}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "domain").rglob("*.py")), ids=lambda p: p.name)
def test_the_domain_is_pure(path):
    import sys

    wrong = [
        f"line {line}: {name}"
        for line, name, _ in _imports(path)
        if name.split(".")[0] not in PURE | sys.stdlib_module_names
        or name.split(".")[0] in {"socket", "time", "random", "http", "urllib.request", "asyncio", "os"}
    ]
    assert not wrong, f"not pure: {wrong}"


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_two(path):
    lines = len(path.read_text().splitlines())
    assert lines <= FILE_LIMIT, f"{lines} lines: split it"


def test_every_room_has_a_tier():
    rooms = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in _modules()}
    assert rooms - set(TIERS) == {"__init__"}
