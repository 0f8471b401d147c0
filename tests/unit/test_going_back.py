"""What `rollback` and `env rollback` without a number go back to, and that what they need is never removed."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from manylab.apply import generations
from manylab.apply.generations import Generation
from manylab.system.environments import collect, record


class History:
    """Records as `apply` and the two rollbacks write them. A letter is a generation of the environment `default`."""

    def __init__(self, *in_use: str) -> None:
        self.records: list[Generation] = []
        for letter in in_use:
            self.apply(letter)

    @property
    def now(self) -> Generation | None:
        return self.records[-1] if self.records else None

    def apply(self, letter: str, *, restores: int | None = None, restored: dict[str, int] | None = None) -> None:
        self.records.append(
            Generation(
                number=len(self.records) + 1,
                when=0.0,
                digest=letter,
                version="",
                source_digest={},
                summary="",
                paths=(),
                folder=Path(),
                environments={"default": letter},
                restores=restores,
                restored=restored or {},
            )
        )

    def rollback(self) -> str | None:
        wanted = generations.before(self.records, self.now)
        if wanted is None:
            return None
        self.apply(wanted.environments["default"], restores=wanted.number)
        return wanted.environments["default"]

    def env_rollback(self) -> str | None:
        digest = generations.environment_before(self.records, self.now, "default")
        if digest is None:
            return None
        had_it = [one.number for one in self.records if one.environments["default"] == digest]
        self.apply(digest, restored={"default": had_it[-1]})
        return digest


def test_env_rollback_goes_to_what_was_in_use_and_not_to_what_was_rejected():
    history = History("base", "with a")
    assert history.env_rollback() == "base"
    history.apply("with b")
    assert history.env_rollback() == "base"
    assert history.env_rollback() is None


def test_rollback_of_the_whole_site_does_the_same():
    history = History("base", "with a")
    assert history.rollback() == "base"
    history.apply("with b")
    assert history.rollback() == "base"
    assert history.rollback() is None


def test_several_rollbacks_go_further_back_each():
    for way in (History.rollback, History.env_rollback):
        history = History("1", "2", "3", "4")
        assert [way(history) for _ in range(4)] == ["3", "2", "1", None]


def test_what_was_chosen_again_by_hand_is_a_step_of_its_own():
    for way in (History.rollback, History.env_rollback):
        history = History("2 GB", "4 GB", "2 GB")
        assert [way(history), way(history)] == ["4 GB", "2 GB"]


def test_other_changes_of_the_site_between_do_not_count_for_the_environment():
    history = History("base", "with a", "with a", "with a")
    assert history.env_rollback() == "base"
    history.apply("base")
    assert history.env_rollback() is None


def test_a_rollback_of_the_site_counts_for_its_environments():
    history = History("base", "with a")
    history.rollback()
    history.apply("with b")
    assert history.env_rollback() == "base"


@given(st.lists(st.booleans(), max_size=12), st.sampled_from([History.rollback, History.env_rollback]))
def test_each_is_undo_whatever_was_done_before(steps, way):
    """Against the simplest model of undo: a stack. True is a change, False a rollback."""
    history, stack = History("0"), ["0"]
    for number, change in enumerate(steps, 1):
        if change:
            history.apply(str(number))
            stack.append(str(number))
        else:
            assert way(history) == (stack[-2] if len(stack) > 1 else None)
            stack = stack[:-1] or stack
        assert history.records[-1].environments["default"] == stack[-1]


@given(st.integers(0, 9), st.integers(1, 12), st.integers(0, 9), st.sets(st.integers(0, 9)))
def test_the_newest_stay_and_a_larger_keep_removes_nothing_more(tmp_path_factory, count, keep, in_use, needed):
    envs = tmp_path_factory.mktemp("envs")
    folders = []
    for number in range(1, count + 1):
        folder = envs / "default" / f"digest{number}"
        folder.mkdir(parents=True)
        (folder / record.MARKER).write_text(json.dumps({"number": number, "when": number}))
        folders.append(folder)
    if in_use < count:
        (envs / "default/current").symlink_to(folders[in_use].name)
    wanted = {folders[number] for number in needed if number < count}

    def going(keep: int) -> set[Path]:
        return {one.path for one in collect.unneeded(envs, keep=keep, needed=wanted)}

    gone = going(keep)
    assert not gone & ({*folders[max(0, count - keep) :]} | wanted)
    assert in_use >= count or folders[in_use] not in gone
    assert gone | {*folders[max(0, count - keep) :]} | wanted | {*folders[in_use : in_use + 1]} == {*folders}
    assert going(keep + 1) <= gone
