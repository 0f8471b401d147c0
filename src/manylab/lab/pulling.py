"""Links of nbgitpuller, which put a repository into the home of whoever follows them: the person is asked first, and
nothing is put where programs look for files of their own.

As it comes it does so at once, whatever page the link is on, and into any folder: `~/.config/git` or the start-up files
of IPython are then somebody else's, and so is what runs next.
"""

from __future__ import annotations

import html
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from tornado.web import HTTPError, authenticated

from manylab.lab import local_repositories

_AGREED: Final = "manylab_pulls"  # in the server's settings: what its owner has agreed to, and until when
_WHILE: Final = 600.0  # seconds; the page that fetches asks at once
_URL: Final = re.compile(r"^\s*url\s*=\s*(.+?)\s*$", re.MULTILINE)
_STYLE: Final = """<!doctype html>
<html><head><meta charset="utf-8"><title>git-pull</title><style>
body { font: 16px/1.6 system-ui, sans-serif; max-width: 42rem; margin: 4rem auto; padding: 0 1rem }
button { font: inherit; padding: .4rem 1.2rem } code { background: #8882; overflow-wrap: anywhere }
</style></head><body>"""
_UNREADABLE: Final = """{style}
<p>Your account cannot read the repository <code>{repo}</code>. Ask its owner, or an administrator, to let everybody
read it: <code>chmod -R a+rX</code>, and <code>chmod a+x</code> for the folders above it.</p>
<p lang="zh">您的账户无权读取仓库 <code>{repo}</code>。请它的所有者或管理员向所有人开放读取：
<code>chmod -R a+rX</code>，并对其上层目录执行 <code>chmod a+x</code>。</p>
<p><a href="{home}">Back · 返回</a></p>
</body></html>
"""
_PAGE: Final = """{style}
<p>A link wants to put <code>{repo}</code>{branch} into your folder <code>{folder}</code>. What is in it may run with
all your rights when you open it, or work beside it. Go on only if you know who made the link.</p>
<p lang="zh">有一个链接要把 <code>{repo}</code>{branch} 放进您的文件夹 <code>{folder}</code>。
其中的内容在您打开它、或在它旁边工作时，可能以您的全部权限运行。只有知道链接来自谁，才请继续。</p>
<form method="post">{xsrf}<button>Get it · 获取</button> &nbsp; <a href="{home}">No · 不要</a></form>
</body></html>
"""


class Pull(NamedTuple):
    """What a link asks for. folder: the absolute path it goes to. shown: the same, below the home."""

    repo: str
    branch: str
    backup: str
    folder: str
    shown: str


def guard() -> None:
    """Call when a server is built: where nbgitpuller is loaded, its pages ask, and fetch what was agreed to."""
    handlers: Any = sys.modules.get("nbgitpuller.handlers")
    if handlers is None or "post" in vars(handlers.UIHandler):
        return
    local_repositories.use()
    show, fetch = handlers.UIHandler.get, handlers.SyncHandler.get

    async def ask(self: Any) -> None:
        pull = wanted(self)
        path = local_repositories.path_of(pull.repo)
        if path is not None and local_repositories.is_unreadable(path):
            self.set_status(403)
            self.finish(_UNREADABLE.format(style=_STYLE, repo=html.escape(path), home=html.escape(self.base_url)))
        elif is_from(pull.repo, Path(pull.folder)):
            _agree(self, pull)
            await show(self)
        else:
            self.finish(_page(self, pull))

    async def agreed(self: Any) -> None:  # tornado has looked at the form's _xsrf
        _agree(self, wanted(self))
        await show(self)

    async def fetch_agreed(self: Any) -> None:
        if self.settings.get(_AGREED, {}).get(wanted(self), 0.0) < time.monotonic():
            raise HTTPError(403, "nobody agreed to this")
        await fetch(self)

    signed_in: Any = authenticated
    handlers.UIHandler.get, handlers.UIHandler.post = signed_in(ask), signed_in(agreed)
    handlers.SyncHandler.get = signed_in(fetch_agreed)


def wanted(handler: Any) -> Pull:
    """What this request is about. Raises HTTPError 400 for what is never done."""
    repo = handler.get_argument("repo")
    target = handler.get_argument("targetpath", None) or handler.get_argument("targetPath", None)
    root = Path(handler.settings["server_root_dir"]).expanduser()
    try:
        folder = place(root, os.environ.get("NBGITPULLER_PARENTPATH", ""), target or repo.rstrip("/").split("/")[-1])
    except ValueError as error:
        raise HTTPError(400, str(error), reason=str(error)) from None
    if repo.startswith("-") or "::" in repo:
        raise HTTPError(400, "not the address of a repository", reason="not the address of a repository")
    branch = handler.get_argument("branch", None) or ""
    backup = str(handler.get_argument("backup", "") or "")
    return Pull(repo, branch, backup, str(folder), str(folder.relative_to(root.resolve())))


def place(root: Path, parent: str, target: str) -> Path:
    """The folder below `root` that a repository goes to. Raises ValueError for one that is hidden, or not below."""
    folder, base = Path(root, parent, target).resolve(), root.resolve()
    if not folder.is_relative_to(base) or folder == base or ".." in Path(target).parts:
        raise ValueError("a repository goes into a folder of your home")
    if any(part.startswith(".") for part in folder.relative_to(base).parts):
        raise ValueError("a repository does not go into a hidden folder")
    return folder


def is_from(repo: str, folder: Path) -> bool:
    """Whether the folder is a clone of that repository and of no other: it was agreed to then."""
    settings = folder / ".git" / "config"
    try:
        if settings.is_symlink() or settings.parent.is_symlink():
            return False
        return set(_URL.findall(settings.read_text(encoding="utf-8"))) == {repo}
    except (OSError, UnicodeDecodeError):
        return False


def _agree(handler: Any, pull: Pull) -> None:
    now = time.monotonic()
    agreed = handler.settings.setdefault(_AGREED, {})
    for old in [old for old, until in agreed.items() if until < now]:
        del agreed[old]
    agreed[pull] = now + _WHILE
    local_repositories.trust(old.repo for old in agreed)


def _page(handler: Any, pull: Pull) -> str:
    return _PAGE.format(
        style=_STYLE,
        repo=html.escape(pull.repo),
        branch=f" ({html.escape(pull.branch)})" if pull.branch else "",
        folder=html.escape(pull.shown),
        xsrf=handler.xsrf_form_html(),
        home=html.escape(handler.base_url),
    )
