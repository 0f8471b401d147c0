"""Passwords, with the real PAM (pam_unix) and a real warden as root."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from pathlib import Path

import pytest

from manylab.system import warden_client as client
from support.warden_site import HUB, PASSWORD, Site, acting_as, until


def sign_in(site: Site, user: str, password: str = PASSWORD) -> dict:
    return site.ask("authenticate", user=user, password=password)


def test_the_right_password_of_a_member_is_right(site):
    begun = time.monotonic()
    assert sign_in(site, "mlt-alice") == {"ok": True, "user": "mlt-alice"}
    print(f"sign-in answered after {time.monotonic() - begun:.3f} s")


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("mlt-alice", "not-this-one", "wrong"),
        ("mlt-bob", "", "wrong"),
        ("mlt-bob", PASSWORD + " ", "wrong"),
        ("mlt-bob", "x" * 1024, "wrong"),
        ("mlt-eve", PASSWORD, "not-member"),
        ("mlt-eve", "not-this-one", "wrong"),  # nobody learns from a wrong password who is a member
        ("mlt-locked", PASSWORD, "locked"),
        ("mlt-noshell", PASSWORD, "locked"),
        ("mlt-noshell", "not-this-one", "wrong"),
        ("mlt-gone", PASSWORD, "expired"),
        ("mlt-gone", "not-this-one", "wrong"),
        ("mlt-open", "", "wrong"),  # an account without a password is not for the web
        ("mlt-open", "anything", "wrong"),
        ("mlt-stale", PASSWORD, "password-expired"),
        ("mlt-stale", "not-this-one", "wrong"),
        ("root", PASSWORD, "system-account"),
        ("mlt-system", PASSWORD, "system-account"),
        ("mlt-hub", PASSWORD, "system-account"),
        ("_mlt-daemon", PASSWORD, "system-account"),
        ("nobody", "", "system-account"),
        ("mlt-nobody-here", PASSWORD, "unknown"),
        ("MLT-Alice", PASSWORD, "unknown"),  # never mapped to another name in silence
        ("mlt-alice ", PASSWORD, "unknown"),
        ("DOMAIN\\mlt-alice", PASSWORD, "unknown"),
        ("mlt-alice@corp", PASSWORD, "unknown"),
        ("", "", "unknown"),
        ("../../etc/shadow", "x", "unknown"),
        ("爱丽丝\n\x1b[31m", "x", "unknown"),
        ("a" * 256, "x", "unknown"),
    ],
)
def test_who_is_not_let_in_and_why(site, user, password, reason):
    answer = sign_in(site, user, password)
    assert (answer["ok"], answer["reason"]) == (False, reason)
    assert password not in answer["message"] or len(password) < 2


def test_too_long_texts_are_no_questions(site):
    assert sign_in(site, "a" * 257)["reason"] == "bad-message"
    assert sign_in(site, "mlt-alice", "x" * 1025)["reason"] == "bad-message"
    assert sign_in(site, "mlt-alice", "x\0y")["reason"] == "bad-message"


def test_the_answer_for_accounts_that_do_not_exist_takes_as_long_as_for_a_wrong_password(site):
    times = {}
    for user in ("mlt-no-such", "mlt-bob", "root"):
        begun = time.monotonic()
        sign_in(site, user, "wrong")
        times[user] = time.monotonic() - begun
    print("refused after", {user: round(seconds, 2) for user, seconds in times.items()})
    assert all(1.2 < seconds < 4 for seconds in times.values())


def test_guessing_is_slowed_for_that_name_only_even_when_all_guesses_come_at_once(site):
    site.down()
    site.up()  # forgets what earlier tests tried
    reasons: list[str] = []

    def guess(number: int) -> None:
        question = {"do": "authenticate", "user": "mlt-alice", "password": f"guess {number}"}
        reasons.append(client.ask_sync(site.socket, question, 60)["reason"])

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reasons) == ["busy"] * 15 + ["wrong"] * 5
    assert sign_in(site, "mlt-alice")["reason"] == "busy"
    assert sign_in(site, "mlt-bob")["ok"]


def test_right_passwords_are_never_slowed(site):
    assert all(sign_in(site, "mlt-bob")["ok"] for _ in range(12))


def test_no_password_reaches_an_argv_or_the_log(site):
    lines = ""
    # PAM is asked for a fraction of a second: looked at again and again until it was seen.
    for _ in range(20):
        thread = threading.Thread(target=lambda: sign_in_as_root(site))
        thread.start()
        while thread.is_alive():
            lines += command_lines()
        if "pam_check" in lines:
            break
    assert "pam_check" in lines
    assert "guess-me-not" not in lines + site.log.read_text()


def command_lines() -> str:
    """The arguments of every process, as anybody sees them: quicker than ps, which may miss a short-lived one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


def sign_in_as_root(site: Site) -> dict:
    return client.ask_sync(site.socket, {"do": "authenticate", "user": "mlt-bob", "password": "guess-me-not"}, 60)


def test_a_service_that_pam_does_not_know_or_a_python_that_fails_is_an_error_and_lets_nobody_in(site):
    site.write_settings(python="/bin/false")
    assert sign_in(site, "mlt-bob")["reason"] == "error"
    site.write_settings(python="/nonexistent")
    assert sign_in(site, "mlt-bob")["reason"] == "error"
    site.write_settings()
    assert sign_in(site, "mlt-bob")["ok"]


def test_strangers_who_sign_in_without_end_keep_nobody_from_anything_else(site):
    """Each of them takes seconds, so that the hub's questions would all be these."""
    line = json.dumps({"do": "authenticate", "user": "nobody-here", "password": "x"}).encode() + b"\n"
    with contextlib.ExitStack() as stack, acting_as(HUB):
        asking = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(300)]
        for one in asking:
            one.connect(str(site.socket))
            one.sendall(line)

        def sent_away() -> int:
            ready, _, _ = select.select(asking, [], [], 0)
            return sum(b'"busy"' in one.recv(1000, socket.MSG_PEEK) for one in ready)

        until(lambda: sent_away() >= 100)
        assert client.ask_sync(site.socket, {"do": "list"}, 10)["ok"]
    until(lambda: sign_in(site, "mlt-bob")["ok"])
