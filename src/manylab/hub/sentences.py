"""What people read when something is refused, in English and Chinese. Pure.

Names and passwords are never part of a sentence. Everything that can go wrong *before* the right password was given is
one and the same sentence, so that nobody can learn from the login page which accounts exist, are locked or are not
allowed here.
"""

from __future__ import annotations

import time
from typing import Any

from manylab.base import languages

_WRONG = ("The user name or password is wrong, or the account is locked.", "用户名或密码错误，或账户已被锁定。")

_SENTENCES: dict[str, tuple[str, str]] = {
    "wrong": _WRONG,
    "unknown": _WRONG,
    "locked": _WRONG,
    "system-account": _WRONG,
    "not-member": (
        "Your account may not use this site. Ask whoever runs it to add you to its group.",
        "您的账户尚未获准使用本站点，请联系管理员将您加入用户组。",
    ),
    "expired": ("Your account has expired. Ask whoever runs this machine.", "您的账户已过期，请联系管理员。"),
    "password-expired": (
        "Your password has expired. Change it on the machine itself (with the passwd command), then sign in again.",
        "您的密码已过期，请先在服务器上用 passwd 命令修改密码，然后重新登录。",
    ),
    "busy": (
        "Too many people are signing in right now, or there were too many tries. Wait a little and try again.",
        "当前登录人数过多或尝试次数过多，请稍后再试。",
    ),
    "unavailable": (
        "Signing in does not work at the moment. Try again in a minute; if it stays so, tell whoever runs this site.",
        "暂时无法登录，请一分钟后再试；如仍不行，请联系管理员。",
    ),
    "no-home": (
        "Your home folder does not exist. Ask an administrator to type: sudo mkhomedir_helper YOUR-USER-NAME (or, for "
        "everybody's first sign-in: sudo pam-auth-update --enable mkhomedir).",
        "您的主目录不存在。请管理员运行：sudo mkhomedir_helper 您的用户名（如需在首次登录时自动创建，请运行："
        "sudo pam-auth-update --enable mkhomedir）。",
    ),
    "home-closed": (
        "Your home folder cannot be entered. Ask an administrator to look at its owner and mode (ls -ld).",
        "无法进入您的主目录，请管理员检查该目录的所有者和权限（ls -ld）。",
    ),
    "home-silent": (
        "Your home folder does not answer: the file server or disk that it is on may be down. Try again later; if it "
        "stays so, tell an administrator.",
        "您的主目录没有响应，其所在的文件服务器或磁盘可能出现故障。请稍后重试；如仍不行，请联系管理员。",
    ),
    "no-session": (
        "This machine opens no session for your account (PAM). Try again; if it stays so, ask an administrator to look "
        "at `manylab logs warden` and at the session lines of /etc/pam.d/manylab.",
        "系统未能为您的账户打开会话（PAM）。请重试；如仍不行，请管理员运行 manylab logs warden 查看日志，并检查 "
        "/etc/pam.d/manylab 中的 session 设置。",
    ),
    "session-silent": (
        "A session module of this machine (PAM) does not answer, so your server cannot start. Try again; if it stays "
        "so, ask an administrator to look at `manylab logs warden` and at the session lines of /etc/pam.d/manylab.",
        "系统的会话模块（PAM）没有响应，您的服务器无法启动。请重试；如仍不行，请管理员运行 manylab logs warden "
        "查看日志，并检查 /etc/pam.d/manylab 中的 session 设置。",
    ),
    "disk-full": (
        "The disk (or your share of it) is full, so your server cannot start. Delete files over SSH, or ask for help.",
        "磁盘空间（或您的配额）已满，服务器无法启动。请通过 SSH 删除一些文件，或联系管理员。",
    ),
    "machine-full": (
        "The disk of this machine is full, so this cannot be done now. Delete files if you can; if it stays so, tell "
        "whoever runs this site.",
        "本机磁盘空间已满，暂时无法执行此操作。请尽量删除一些文件；如仍不行，请联系管理员。",
    ),
    "start-failed": (
        "Your server could not be started. Try again; if it stays so, tell whoever runs this site.",
        "您的服务器无法启动，请重试；如仍不行，请联系管理员。",
    ),
    "ended-early": (
        "Your server ended while it was starting. Try again; if it stays so, tell whoever runs this site.",
        "您的服务器在启动过程中退出，请重试；如仍不行，请联系管理员。",
    ),
    "not-running": (
        "Your server is not running. Start it on the hub's page.",
        "您的服务器未在运行。请在 hub 页面上启动它。",
    ),
    "start-unavailable": (
        "Servers cannot be started at the moment. Try again in a minute.",
        "暂时无法启动服务器，请一分钟后再试。",
    ),
}

_ENDED: dict[str, tuple[str, str]] = {
    "idle": (
        "Your server was stopped at {when}, because for {time} no code ran and nothing was typed or saved. Your files "
        "are as you saved them; the variables of your notebooks are gone.",
        "您的服务器已于 {when} 停止，因为 {time}内没有代码运行，也没有任何输入或保存操作。"
        "文件保持您最后一次保存的内容；笔记本中的变量已丢失。",
    ),
    "admin": (
        "Your server was stopped at {when} by an admin of this site. Your files are as you saved them; the variables "
        "of your notebooks are gone.",
        "您的服务器已于 {when} 由本站点的管理员停止。文件保持您最后一次保存的内容；笔记本中的变量已丢失。",
    ),
}

# Reasons that the warden gives only when the password was right.
_AFTER_PASSWORD = frozenset({"not-member", "expired", "password-expired", "busy"})


def language(accept_language: str) -> str:
    """Either "zh" or "en", whichever an Accept-Language header prefers; "en" when it names neither."""
    return languages.choose(accept_language, ("en", "zh"))


def say(reason: str, accept_language: str = "") -> str:
    """The sentence for one reason in the reader's language; an unknown reason is "unavailable"."""
    english, chinese = _SENTENCES.get(reason, _SENTENCES["unavailable"])
    return chinese if language(accept_language) == "zh" else english


def ended(found: dict[str, Any], idle_timeout: int, accept_language: str = "") -> str:
    """Why and when (seconds since 1970) a server was stopped, as `hub.endings` notes it. idle_timeout: seconds."""
    number = 1 if language(accept_language) == "zh" else 0
    when, now = time.localtime(found.get("when", 0)), time.localtime()
    form = "%H:%M" if when[:3] == now[:3] else "%Y-%m-%d %H:%M"
    said = _ENDED.get(str(found.get("why")), _ENDED["admin"])[number]
    return said.format(when=time.strftime(form, when), time=duration(idle_timeout)[number])


def duration(seconds: int) -> tuple[str, str]:
    """In words: 5400 -> ("1 h 30 min", "1 小时 30 分钟")."""
    parts = [
        (seconds // 3600, "h", "小时"),
        (seconds % 3600 // 60, "min", "分钟"),
        (seconds % 60, "s", "秒"),
    ]
    said = [part for part in parts if part[0]] or parts[-1:]
    return (
        " ".join(f"{number} {english}" for number, english, _ in said),
        " ".join(f"{number} {chinese}" for number, _, chinese in said),
    )


def login_refusal(reason: str, accept_language: str = "") -> tuple[int, str]:
    """HTTP status and sentence for a sign-in that the warden refused for `reason`."""
    if _SENTENCES.get(reason) is _WRONG or reason in _AFTER_PASSWORD:
        return (429 if reason == "busy" else 403), say(reason, accept_language)
    return 503, say("unavailable", accept_language)


def start_refusal(reason: str, message: str) -> str:
    """Which sentence fits a server that the warden could not start."""
    if reason in ("no-home", "home-closed", "home-silent", "no-session", "session-silent"):
        return reason
    lowered = message.lower()
    if "no space left" in lowered or "quota" in lowered or "disk full" in lowered or "disk is full" in lowered:
        return "disk-full"
    return "not-member" if reason in ("not-member", "system-account", "unknown") else "start-failed"


def both(reason: str) -> str:
    """The sentence in both languages, for pages that are made without knowing who reads them."""
    return " ".join(_SENTENCES[reason])
