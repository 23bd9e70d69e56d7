"""The house: imports go to lower floors only, and what must start fast imports nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "emergence"
FLOORS = [
    {"core"},
    {"text", "analysis"},
    {"tasks", "models"},
    {"training", "generation"},
    {"evaluation", "compression"},
    {"study"},
    {"report"},
    {"api"},
    {"cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Return every imported module of a file, and whether it is imported when the file is."""
    tree = ast.parse(path.read_text())
    late = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        at_import = id(node) not in late and id(node) not in typing
        if isinstance(node, ast.Import):
            found += [(alias.name, at_import) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node.module or "", at_import))
            found += [(f"{node.module}.{alias.name}", at_import) for alias in node.names]
    return found


def test_every_room_has_a_floor() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(FLOOR_OF)


def test_imports_go_to_lower_floors_only() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0]
        if room not in FLOOR_OF:
            continue  # the package's own __init__, which offers `api`
        for module, _ in imports_of(path):
            parts = module.split(".")
            if parts[0] == "emergence" and len(parts) > 1 and parts[1] in FLOOR_OF:
                other = parts[1]
                if other != room and FLOOR_OF[other] >= FLOOR_OF[room]:
                    wrong.append(f"{path.relative_to(SOURCE)} imports {module}")
    assert not wrong


def test_torch_is_never_named_where_it_must_not_be() -> None:
    wrong = [
        str(path.relative_to(SOURCE))
        for room in ("core", "text", "analysis", "tasks", "report", "cli")
        for path in (SOURCE / room).rglob("*.py")
        if any(module.split(".")[0] in ("torch", "transformers", "safetensors") for module, _ in imports_of(path))
    ]
    assert not wrong


@pytest.mark.parametrize(
    "code",
    [
        "import emergence",
        "import emergence.analysis, emergence.analysis.verdict, emergence.analysis.sources",
        "import emergence.study.run, emergence.report",
        "from emergence.cli.main import cli; cli(['--help'], standalone_mode=False)",
        "from emergence.cli.main import cli; cli(['list', 'tasks'], standalone_mode=False)",
        "from emergence.cli.main import cli; cli(['list', 'studies'], standalone_mode=False)",
    ],
)
def test_starts_without_torch(code: str) -> None:
    check = f"{code}\nimport sys\nassert not {{'torch', 'transformers'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bare_import_loads_nothing_of_weight() -> None:
    heavy = ("numpy", "polars", "pydantic", "scipy", "rich")
    check = f"import emergence, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_in_the_library_prints() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong
