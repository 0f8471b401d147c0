"""All checks, in the order in which they are made and shown: importing a group's module registers its own."""

from __future__ import annotations

from manylab.cli.doctor import (
    accounts,
    database,
    environments,
    files,
    limits,
    machine,
    network,
    people,
    python,
    services,
    tls,
)
from manylab.cli.doctor.table import TABLE, Check

# First what everything else stands on.
GROUPS = {
    machine: "The machine",
    limits: "Limits",
    python: "Python and the program",
    files: "Configuration and secrets",
    accounts: "The group and its accounts",
    environments: "Environments and kernels",
    database: "The hub's database",
    services: "Services",
    network: "The address",
    tls: "The certificate",
    people: "People's homes",
}
TITLES = {module.__name__.rpartition(".")[2]: title for module, title in GROUPS.items()}
ALL: dict[str, Check] = {
    asked.id: asked for asked in sorted(TABLE.values(), key=lambda asked: list(TITLES).index(asked.group))
}
