"""[limits.groups.NAME] and [limits.people.NAME]: limits for some, in place of those of [servers]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer

from manylab.config import kinds
from manylab.config.kinds import Kind
from manylab.config.table import Table, setting


class OwnLimits(Table):
    """Limits other than those of [servers]; "default" says nothing, "none" says that there is no limit."""

    memory: kinds.OwnMemory = setting(
        "default", doc="Memory that one of their servers with its kernels may use.", example="8G", counts="server"
    )
    cpu: kinds.OwnCpu = setting(
        "default", doc="Processors that one of their servers with its kernels may use.", example=4.0, counts="server"
    )
    tasks: kinds.OwnTasks = setting(
        "default", doc="Processes and threads that one of their servers may have.", example=8192, counts="server"
    )


class GroupLimits(OwnLimits):
    """Limits for the members of a group of the machine, in place of those of [servers]. Of several groups, each time
    the most generous limit holds.
    """

    zh = "用户组限额：[limits.groups.组名] 代替 [servers] 中的限额；属于多个组时取最宽松者"


class PersonLimits(OwnLimits):
    """Limits for one person, in place of those of their groups and of [servers]."""

    zh = "个人限额：[limits.people.用户名] 优先于用户组与 [servers] 中的限额"


class Limits(Table):
    """Limits for some: by group and by person."""

    groups: Annotated[
        Mapping[kinds.GroupName, GroupLimits],
        Kind("a table for each group"),
        AfterValidator(kinds.freeze),
        PlainSerializer(dict, return_type=dict[str, GroupLimits]),
    ] = setting({}, doc="Limits by group, one table each.")
    people: Annotated[
        Mapping[kinds.PersonName, PersonLimits],
        Kind("a table for each person"),
        AfterValidator(kinds.freeze),
        PlainSerializer(dict, return_type=dict[str, PersonLimits]),
    ] = setting({}, doc="Limits by person, one table each.")
