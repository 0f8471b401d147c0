"""What is said to people in their Lab, in its language."""

from __future__ import annotations

import time

from manylab.lab.memory import Ending

_ENGLISH = {
    "server": (
        "Out of memory at {when}: your server, with all its notebooks and terminals, used {used}, and its limit is "
        "{limit}."
    ),
    "server-unknown": (
        "Out of memory at {when}: your server, with all its notebooks and terminals, has reached its limit of memory."
    ),
    "machine": "Out of memory at {when}: the machine ran out of memory, which all people's servers share.{own}",
    "own": " Your server used {used}.",
    "rest": (
        "The kernel of this notebook was ended because of that, and starts again; its variables are gone. Your files, "
        "your server and your other notebooks are not affected.\n"
        "What helps: read less data at once, delete large variables you no longer need, shut down other kernels (in "
        "the side bar: Running Terminals and Kernels)"
    ),
    "server-end": ", or ask the administrator for a higher limit.",
    "machine-end": "; try again later, or tell the administrator.",
    "newer": (
        "JupyterLab has been updated here ({name}). Your server goes on as it is; to change over, save your work, then "
        "stop and start your server."
    ),
    "newer-label": "My server",
    "others-port": (
        "Port {port} belongs to another account of this machine: what listens there is not yours, and nothing of yours "
        "was sent to it. Start your application on another port."
    ),
    "no-room-for-trash": (
        "{path} was not deleted: the disk or your quota is full, and there is no room to move it to the trash. To free "
        "space, open a terminal and empty the trash (manylab trash empty), or delete it there for good (rm -r)."
    ),
}
_CHINESE = {
    "server": "{when} 内存不足：您的服务器（包括其中所有的笔记本和终端）使用了 {used} 内存，上限为 {limit}。",
    "server-unknown": "{when} 内存不足：您的服务器（包括其中所有的笔记本和终端）已达到内存上限。",
    "machine": "{when} 内存不足：这台机器的内存已经用尽，它由所有用户的服务器共用。{own}",
    "own": "您的服务器使用了 {used}。",
    "rest": (
        "因此，本笔记本的内核被结束，并会自动重新启动；其中的变量已经丢失。您的文件、服务器和其他笔记本不受影响。\n"
        "建议：一次少读入一些数据，删除不再需要的大变量，关闭其他内核（侧边栏“正在运行终端和内核”）"
    ),
    "server-end": "，或请管理员提高上限。",
    "machine-end": "；请稍后再试，或告知管理员。",
    "newer": (
        "这里的 JupyterLab 已更新（{name}）。您的服务器照常运行；要换用新版本，请先保存工作，"
        "再停止并重新启动您的服务器。"
    ),
    "newer-label": "我的服务器",
    "others-port": (
        "端口 {port} 属于这台机器上的另一个账户：在那里监听的不是您的程序，您的任何内容都没有发送给它。"
        "请用另一个端口启动您的应用。"
    ),
    "no-room-for-trash": (
        "{path} 未被删除：磁盘空间或您的配额已满，无法移到回收站。要腾出空间，请打开终端清空回收站"
        "（manylab trash empty），或者在终端里将其彻底删除（rm -r）。"
    ),
}


def out_of_memory(ending: Ending, language: str) -> str:
    """Why the kernel ended and what to do, in "zh" or "en". Pure, but for the time zone."""
    said = _CHINESE if language == "zh" else _ENGLISH
    used = size(ending.used) if ending.used is not None else ""
    when = time.strftime("%H:%M", time.localtime(ending.when))
    if ending.cause == "machine":
        first = said["machine"].format(when=when, own=said["own"].format(used=used) if used else "")
    elif ending.limit is None or not used:
        first = said["server-unknown"].format(when=when)
    else:
        first = said["server"].format(when=when, used=used, limit=size(ending.limit))
    space = "" if language == "zh" else " "
    return f"{first}{space}{said['rest']}{said[f'{ending.cause}-end']}"


def newer_server(name: str, language: str) -> tuple[str, str]:
    """That new servers are of another generation, and the label of the link to where one is stopped. Pure."""
    said = _CHINESE if language == "zh" else _ENGLISH
    return said["newer"].format(name=name), said["newer-label"]


def others_port(port: int, language: str) -> str:
    """Why a web application is not shown. Pure."""
    return (_CHINESE if language == "zh" else _ENGLISH)["others-port"].format(port=port)


def no_room_for_trash(path: str, language: str) -> str:
    """Why something was not deleted, and how it can be. Pure."""
    return (_CHINESE if language == "zh" else _ENGLISH)["no-room-for-trash"].format(path=path)


def size(amount: int) -> str:
    """Bytes for people, in the units of manylab.toml: 2147483648 -> "2 GB", 1610612736 -> "1.5 GB"."""
    if amount >= 1 << 30:
        return f"{amount / (1 << 30):.2f}".rstrip("0").rstrip(".") + " GB"
    return f"{amount / (1 << 20):.0f} MB"
