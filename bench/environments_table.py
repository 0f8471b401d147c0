"""The table about installing in docs/explanation/performance.md and its Chinese sister. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- bench/environments writes from here -->", "<!-- to here -->"
SIDES = ("manylab", "pip")
PAGES = {"performance.md": False, "performance.zh-CN.md": True}
ROWS = {
    "first": ("first start of a bare Debian, until the site answers", "空白的 Debian 上第一次启动，到站点有应答为止"),
    "cold": ("the set `scientific`, nothing downloaded yet", "软件包集 `scientific`，没有任何下载缓存"),
    "warm": ("the same, from what was downloaded before", "同上，用以前下载的文件"),
    "add": ("one package more (xarray)", "增加一个软件包（xarray）"),
    "nothing": ("nothing to do", "没有要做的事"),
    "back": ("back to the generation before", "回到前一代"),
    "disk-first": ("the set on the disk", "软件包集占用的磁盘"),
    "disk-second": ("a second one beside it, with one package more", "旁边再有一个，多一个软件包"),
}


def write(found: dict[str, Any], docs: Path) -> None:
    """Renew the tables of all pages that have a place for one."""
    for name, chinese in PAGES.items():
        path = docs / "explanation" / name
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN) if path.exists() else ("", "", "")
        _, end, after = rest.partition(END)
        if begin and end:
            path.write_text(f"{before}{BEGIN}\n\n{table(found, chinese=chinese)}\n{END}{after}", encoding="utf-8")


def table(found: dict[str, Any], *, chinese: bool = False) -> str:
    """Markdown: medians, in brackets least to most, and how many times longer (or more) the other side takes."""
    cells = {(one["side"], one["case"]): one for one in found["summaries"]}
    lines = ["|  | manylab | venv, pip, npm |", "| --- | ---: | ---: |"]
    for case, titles in ROWS.items():
        ours, others = cells.get((SIDES[0], case)), cells.get((SIDES[1], case))
        if ours is None and others is None:
            continue
        times = f", **{others['median'] / ours['median']:.1f}x**" if ours and others else ""
        busy = "处理器 {:.1f} s" if chinese else "{:.1f} s of processors"
        lines.append(f"| {titles[chinese]} | {_cell(ours, case, busy)} | {_cell(others, case, busy)}{times} |")
    suite = {"trixie": "Debian 13", "bookworm": "Debian 12"}[found["suite"]]
    day, repeat = str(found["when"])[:10], found["repeat"]
    if chinese:
        end = f"{day}，{found['machine']}，{suite}。双方各用 {repeat} 台全新的机器，轮流进行；中位数（最小到最大）。"
    else:
        end = (
            f"{day}, {found['machine']}, {suite}. {repeat} fresh machines for each side, taking turns; "
            "medians, in brackets least to most."
        )
    return "\n".join([*lines, "", end, ""])


def _cell(one: dict[str, Any] | None, case: str, busy: str) -> str:
    if one is None:
        return "-"
    scale, unit, digits = (1e6, "MB", 0) if case.startswith("disk") else (1, "s", 2 if one["median"] < 10 else 1)
    low, middle, high = (f"{one[name] / scale:.{digits}f}" for name in ("low", "median", "high"))
    more = [f"{low} to {high}"] if one["n"] > 1 else []
    more += [busy.format(one["processors"])] if "processors" in one else []
    return f"{middle} {unit}" + (f" ({'; '.join(more)})" if more else "")
