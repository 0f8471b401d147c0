"""What is written down about a generation is on the disk before its folder gets its number."""

from __future__ import annotations

import os
from pathlib import Path

from manylab.system import files


def test_files_that_were_not_synced_one_by_one_are_synced_together(tmp_path, monkeypatch):
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "locks").mkdir()
    paths = [tmp_path / "meta.json", tmp_path / "locks/hub.txt"]
    for path in paths:
        files.write_file(path, "content", 0o600, synced=False)
    assert synced == []
    files.sync_files(tmp_path)
    assert sorted(synced) == sorted(map(str, paths))
    files.write_file(paths[0], "more", 0o600)
    assert paths[0].read_text() == "more" and len(synced) == 3
