"""Rooms import downwards only: docs/architecture.md has their order."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ROOT / "beam_jobs"

ROOMS = (
    "errors", "notes", "storage", "batch", "schema", "config", "read", "images", "models", "score",
    "validation", "warehouse", "statistics", "monitoring", "runs", "request_files", "publish",
    "notify", "terminal", "plan", "finish", "pipelines", "commands", "demo", "flex_template", "cli",
    "__main__",
)  # fmt: skip
"""From the lowest to the highest; files of `beam_jobs` itself are rooms, too."""

WITHOUT_BEAM = (
    "read", "images", "validation", "statistics", "monitoring", "models", "score", "request_files",
    "publish", "runs", "warehouse",
)  # fmt: skip
"""Rooms of plain functions; only their transforms know Beam, and scoring's ModelHandler."""

BEAM_SIDES = {"transforms.py", "handler.py"}


def imports_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where things come from"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(CODE).parts[0].removesuffix(".py")


def rooms_in(imports: set[str]) -> set[str]:
    """The rooms of this package that are imported."""
    names = {name.split(".")[1] for name in imports if name.startswith("beam_jobs.")}
    return names - {"__version__"}


FILES = {path: imports_of(path) for path in CODE.rglob("*.py") if path != CODE / "__init__.py"}


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in FILES} == set(ROOMS)


def test_imports_go_down_only() -> None:
    upwards = [
        f"{path.relative_to(ROOT)} imports {room}"
        for path, imports in FILES.items()
        for room in rooms_in(imports)
        if ROOMS.index(room) > ROOMS.index(room_of(path))
    ]
    assert upwards == []


def test_modules_of_a_room_do_not_import_each_other_in_a_circle() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    graph = {
        name: {
            other
            for imported in FILES[path]
            for other in (imported, imported.rpartition(".")[0])
            if other in modules and other != name
        }
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join((*way, name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("room", WITHOUT_BEAM)
def test_functions_do_not_know_beam(room: str) -> None:
    knowing = [
        str(path.relative_to(ROOT))
        for path, imports in FILES.items()
        if room_of(path) == room
        and path.name not in BEAM_SIDES
        and any(name.split(".")[0] == "apache_beam" for name in imports)
    ]
    assert knowing == []


@pytest.mark.parametrize(
    ("room", "others"),
    [
        ("monitoring", {"storage", "warehouse", "runs", "publish"}),
        ("warehouse", {"runs", "publish", "plan"}),
        ("pipelines", {"terminal", "commands"}),
    ],
)
def test_a_room_does_not_know_others(room: str, others: set[str]) -> None:
    known = {
        other
        for path, imports in FILES.items()
        if room_of(path) == room
        for other in rooms_in(imports)
    }
    assert known & others == set()


def test_graphs_are_run_by_commands_and_templates_alone() -> None:
    users = {
        room_of(path)
        for path, imports in FILES.items()
        if "pipelines" in rooms_in(imports) and room_of(path) != "pipelines"
    }
    assert users <= {"commands", "flex_template"}


def test_runs_know_warehouses_by_their_interface() -> None:
    engines = re.compile(r"beam_jobs\.warehouse\.(duckdb|bigquery)\b")
    knowing = [
        str(path.relative_to(ROOT))
        for path, imports in FILES.items()
        if room_of(path) in ("runs", "publish", "plan") and any(map(engines.match, imports))
    ]
    assert knowing == []


def test_no_file_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("beam_jobs", "tests", "benchmarks", "docs")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    folders -= {"__pycache__", "integration", "support"}
    assert folders <= {path.name for path in CODE.iterdir() if path.is_dir()}
