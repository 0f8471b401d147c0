"""The hub's database. Root never opens it: what the hub has written is read under the hub's own account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from manylab.cli.doctor.scene import Scene, Skip
from manylab.cli.doctor.table import Finding, check, problem
from manylab.model.accounts import HUB_ACCOUNT
from manylab.system.run import run

# Runs with the hub's own interpreter and account. A hub that writes meanwhile is not disturbed: read only, with
# patience.
_PROBE = """
import json, os, pathlib, sqlite3, sys
path = sys.argv[1]
found = {"writable": os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK)}
try:
    with sqlite3.connect(pathlib.Path(path).as_uri() + "?mode=ro", uri=True, timeout=5) as db:
        found["check"] = [row[0] for row in db.execute("PRAGMA quick_check(3)")]
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        if "alembic_version" in tables:
            found["revision"] = [row[0] for row in db.execute("SELECT version_num FROM alembic_version")]
except sqlite3.Error as error:
    found["error"] = str(error)
folders = [os.path.join(folder, "jupyterhub", "alembic", "versions") for folder in sys.path]
names = [name for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)]
found["known"] = sorted({name.partition("_")[0] for name in names if name.endswith(".py")})
print(json.dumps(found))
"""


@cache
def probe(scene: Scene) -> dict[str, Any]:
    """What the hub's account sees of its database. Raises Skip where there is none to look at."""
    scene.need_site()
    if scene.config.hub.db_url:
        raise Skip("the hub's database is not a file of this machine (hub.db_url)")
    if scene.layout.system:
        scene.need_root()
    if not scene.layout.hub_database.exists():
        raise Skip("there is no database yet: the hub makes it when it first starts")
    as_hub = ["runuser", "-u", HUB_ACCOUNT, "--"] if scene.layout.system else []
    python = str(scene.built("hub") / "bin/python")
    said = run([*as_hub, python, "-I", "-c", _PROBE, str(scene.layout.hub_database)], timeout=60)
    found: dict[str, Any] = json.loads(said.out)
    return found


@check(
    "database-damaged",
    "The hub's database is whole",
    why=(
        "A damaged database (a full disk, a power cut) loses who is signed in and which servers run, at some moment "
        "nobody chose."
    ),
    mend=(
        "sudo manylab stop; put the newest copy beside it (jupyterhub.sqlite.DATE) in its place, or remove the file: "
        "people only have to sign in again"
    ),
)
def database_damaged(scene: Scene) -> Iterator[Finding]:
    found = probe(scene)
    if "error" in found:
        yield problem(f"SQLite cannot read the database: {found['error']}")
    elif found.get("check") != ["ok"]:
        yield problem(f"SQLite finds the database damaged: {'; '.join(map(str, found.get('check', [])))[:300]}")


@check(
    "database-readonly",
    "The hub can write its database",
    why="A database that belongs to somebody else (made by hand as root, or restored) keeps the hub from starting.",
    mend="sudo chown -R manylab:manylab-hub /var/lib/manylab/hub",
)
def database_readonly(scene: Scene) -> Iterator[Finding]:
    if not probe(scene)["writable"]:
        yield problem(f"the hub cannot write {scene.layout.hub_database} or its folder")


def judge_revision(have: list[str], known: list[str]) -> str:
    """What is wrong when a database has these revisions and the code knows those; "" when nothing. Pure."""
    unknown = sorted(set(have) - set(known))
    return (
        ""
        if not known or not unknown
        else f"the database has revision {', '.join(unknown)}, which this JupyterHub does not know"
    )


@check(
    "database-newer",
    "The database is not newer than the hub",
    why="A database that a later JupyterHub has upgraded cannot be read by an earlier one: the hub does not start.",
    mend=(
        "use the newer manylab again (its own ./manylab apply), or restore the copy that was made before the upgrade "
        "from /var/lib/manylab/hub (jupyterhub.sqlite.DATE)"
    ),
)
def database_newer(scene: Scene) -> Iterator[Finding]:
    found = probe(scene)
    if wrong := judge_revision(found.get("revision", []), found["known"]):
        yield problem(wrong)
