"""The table of docs/explanation/performance.md and its Chinese sister, from the results. Pure."""

from __future__ import annotations

from manylab.cli.bench.report import Report, machine_line
from manylab.cli.bench.samples import Metric, Summary
from manylab.cli.bench.table import less_often, number, times

BEGIN, END = "<!-- bench/run writes from here -->", "<!-- to here -->"

CHINESE = {
    "signed-in": "密码核对完",
    "server": "服务器就绪",
    "lab": "一个人的 Lab 就绪",
    "kernel": "内核就绪，跑完第一个单元格",
    "stack": "同上，并导入 numpy、pandas、matplotlib",
    "server-private": "空闲服务器独占的内存",
    "server-pss": "它按比例分摊的内存（PSS）",
    "server-page-tables": "它的页表",
    "kernel-private": "导入上述包的空闲内核独占的内存",
    "kernel-pss": "它按比例分摊的内存（PSS）",
    "kernel-page-tables": "它的页表",
    "alive-memory": "平均每人占用整机内存",
    "alive-answer": "所有人同时计算，最后一个答复",
    "browser-lab": "Chromium 中：Lab 画出来",
    "browser": "Chromium 中：笔记本的内核空闲",
    "browser-again": "Chromium 中：再打开同一页，服务器和内核都在运行，全部已缓存",
}


def replaced(page: str, table: str) -> str:
    """The page with this table between its marks. Raises ValueError for a page without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for the table")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def table(report: Report, *, chinese: bool = False) -> str:
    """The picture, the table in Markdown, and the line about machine and day."""
    head = ["", *(side.title for side in report.sides)]
    alt = "下表的图" if chinese else "The table below as bars"
    lines = [f"![{alt}](../images/bench.svg)", "", _row(head), _row(["---", *("---:" for _ in report.sides)])]
    for metric in report.measured:
        title = _chinese(metric) if chinese else metric.title
        lines.append(_row([title, *(_cell(report, side.name, metric, chinese) for side in report.sides)]))
    many = report.settings["repeat"]
    if chinese:
        others = report.settings.get("others_largest", 0)
        largest = (
            f"{max(report.settings['crowds'])} 人同时登录：第一列 {many} 次，其余各列 {others} 次。" if others else ""
        )
        lines += [
            "",
            f"{report.when[:10]}，{machine_line(report.machine)}。{many} 次的中位数；括号内是最小到最大。{largest}",
        ]
    else:
        said = f"{report.when[:10]}, {machine_line(report.machine)}. Median of {many}; in brackets least to most."
        lines += ["", " ".join([said, *less_often(report)])]
    return "\n".join([*lines, ""])


def _chinese(metric: Metric) -> str:
    kind, _, size = metric.name.partition("-")
    if kind == "crowd":
        return f"{size} 人同时登录，最后一个人的 Lab 就绪"
    return CHINESE.get(metric.name) or "同时在工作且都得到答复的人数"


def _cell(report: Report, side: str, metric: Metric, chinese: bool) -> str:
    found = report.summary(side, metric)
    if found is None:
        return ""
    better = times(report.ratio(side, metric))
    parts = [*([_numbers(found, metric)] if found.n else []), *([f"**{better}**"] if better else [])]
    if found.lost:
        of = found.lost + found.n
        parts.append(f"{of} 次中失败 {found.lost} 次" if chinese else f"failed {found.lost} of {of} times")
    return ", ".join([*parts, *found.failures[:1]])


def _numbers(found: Summary, metric: Metric) -> str:
    spread = f" ({found.low:.3g} to {found.high:.3g})" if found.n > 1 else ""
    return number(found.median, metric.unit) + spread


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
