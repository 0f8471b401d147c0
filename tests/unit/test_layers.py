"""The layers of docs/explanation/architecture.md: a package imports only itself and those above it, all at the top."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "manylab"
LAYERS = (
    *("base", "config", "model", "plan", "system", "apply", "warm", "supervise"),
    *("warden", "hub", "lab", "scale", "console", "cli"),
)
PURE = ("base", "config", "model", "plan")
TOUCHES_THE_MACHINE = {"subprocess", "pwd", "grp", "socket"}
# Root's program and the program inside a person's server: read in one sitting, and small in other people's processes.
NARROW = {
    "warm": {"manylab.warm"},
    "warden": {"manylab.base", "manylab.warm", "manylab.warden", "pamela"},
    "lab": {
        *(
            "manylab.base",
            "manylab.warm",
            "manylab.lab",
            "jupyterlab",
            "jinja2",
            "jupyter_server",
            "jupyterhub",
            "jupyter_client",
        ),
        *("jupyter_core", "ipykernel", "json5", "tornado", "traitlets", "zmq", "aiohttp", "prometheus_client"),
        *("jupyterlab_server", "jupyter_events"),
    },
}
READS = {
    "open",
    "read_text",
    "read_bytes",
    "getenv",
    "exists",
    "is_file",
    "is_dir",
    "iterdir",
    "glob",
    "listdir",
    "stat",
}

# JupyterHub runs its configuration file as a program; nothing imports it.
PROGRAMS = {Path("hub/jupyterhub_config.py")}

MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if "locks" not in path.parts)
pytestmark = pytest.mark.parametrize("module", MODULES, ids=str)


def parsed(module: Path) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"), str(module))


def layer(module: Path) -> str:
    """The package of a module; "" for manylab/__init__.py and its neighbours."""
    return module.parts[0] if len(module.parts) > 1 else ""


def imported(tree: ast.AST, module: Path) -> Iterator[str]:
    """The full names of everything imported, relative imports resolved."""
    package = ("manylab", *module.parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (outer, node.module)))
            # `from manylab import config` names a package by its alias.
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Everything that runs when a module is imported: not the bodies of functions, not `if __name__ == "__main__"`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for part in (*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)):
                yield part
                yield from at_import(part)
        elif isinstance(child, ast.Lambda) or (isinstance(child, ast.If) and "__name__" in ast.dump(child.test)):
            continue
        else:
            yield child
            yield from at_import(child)


def test_a_module_imports_only_its_own_layer_and_those_above(module):
    here = layer(module)
    if not here:
        allowed: set[str] = set()
    else:
        assert here in LAYERS, f"{here} is not a layer; see docs/explanation/architecture.md"
        allowed = set(LAYERS[: LAYERS.index(here) + 1])
    for name in imported(parsed(module), module):
        parts = name.split(".")
        if parts[0] == "manylab" and len(parts) > 1:
            assert parts[1] in allowed or parts[1].startswith("__"), f"{module} imports {name}"


def test_the_deciding_layers_cannot_touch_the_machine(module):
    if layer(module) in PURE:
        roots = {name.split(".")[0] for name in imported(parsed(module), module)}
        assert not roots & TOUCHES_THE_MACHINE


def test_the_warden_and_the_lab_need_little(module):
    if layer(module) not in NARROW:
        return
    for name in imported(parsed(module), module):
        parts = name.split(".")
        root = ".".join(parts[:2]) if parts[0] == "manylab" else parts[0]
        assert (
            root in sys.stdlib_module_names
            or root in NARROW[layer(module)]
            or root == "__future__"
            or root == "manylab.__version__"
        ), name


def test_no_import_hides_in_a_function(module):
    for function in ast.walk(parsed(module)):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                assert not isinstance(node, (ast.Import, ast.ImportFrom)), f"{module}:{node.lineno}"


def test_nothing_is_read_when_a_module_is_imported(module):
    if module in PROGRAMS:
        return
    for node in at_import(parsed(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in ("environ", "environb"), f"{module}:{node.lineno}"
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in READS, f"{module}:{node.lineno}: {called}"
