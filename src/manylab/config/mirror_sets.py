"""Ready-made sets of mirrors, by the name that `mirrors.preset` gives them. Only here are addresses of registries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MirrorSet:
    """Addresses, as in [mirrors]."""

    pypi: str
    npm: str
    conda: str


SETS = {
    # TUNA, Tsinghua University's: complete, synchronised several times a day, free for everybody, and it carries both
    # PyPI and conda-forge (by channel below /anaconda/cloud). npmmirror, run by Alibaba Cloud, is the npm mirror that
    # npm's own users in China are pointed to; TUNA has none.
    "china": MirrorSet(
        pypi="https://pypi.tuna.tsinghua.edu.cn/simple",
        npm="https://registry.npmmirror.com/",
        conda="https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud",
    ),
}
