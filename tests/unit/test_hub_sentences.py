"""What people read when something is refused. Nothing here needs JupyterHub."""

import pytest

from manylab.hub import environment, sentences


@pytest.mark.parametrize("reason", ["wrong", "unknown", "locked", "system-account"])
def test_whatever_is_wrong_before_the_right_password_reads_the_same(reason):
    assert sentences.login_refusal(reason, "en") == sentences.login_refusal("wrong", "en")
    assert sentences.login_refusal(reason, "zh") == sentences.login_refusal("wrong", "zh")


def test_reasons_that_need_the_right_password_have_their_own_sentences():
    said = [
        sentences.login_refusal(reason)[1] for reason in ("wrong", "not-member", "expired", "password-expired", "busy")
    ]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("reason", ["error", "forbidden", "bad-message", "something new", "", "no-home", "disk-full"])
def test_trouble_inside_is_no_persons_fault(reason):
    assert sentences.login_refusal(reason) == (503, sentences.say("unavailable"))


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("fr,zh;q=0.5,en;q=0.3", "zh"),
        ("de", "en"),
        ("zh;q=nonsense", "en"),
        ("ZH-hant", "zh"),
    ],
)
def test_the_browsers_language_is_used(header, language):
    assert sentences.language(header) == language


def test_pages_without_a_reader_say_it_in_both_languages():
    assert sentences.say("no-home", "en") in sentences.both("no-home")
    assert sentences.say("no-home", "zh") in sentences.both("no-home")


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        ("no-home", "", "no-home"),
        ("home-closed", "", "home-closed"),
        ("home-silent", "", "home-silent"),
        ("no-session", "", "no-session"),
        ("session-silent", "", "session-silent"),
        ("start-failed", "mkdir: No space left on device", "disk-full"),
        ("start-failed", "Disk quota exceeded", "disk-full"),
        ("start-failed", "exec failed", "start-failed"),
        ("not-member", "", "not-member"),
        ("bad-message", "unknown field", "start-failed"),
    ],
)
def test_a_failed_start_is_told_in_plain_words(reason, message, said):
    assert sentences.start_refusal(reason, message) == said


def test_only_what_the_warden_accepts_is_sent():
    env = {"JUPYTERHUB_USER": "alice", "JPY_API_TOKEN": "t", "LANG": "C.UTF-8", "LC_ALL": "C", "TZ": "UTC"}
    bad = {
        "PATH": "/evil",
        "LD_PRELOAD": "x",
        "HOME": "/root",
        "PYTHONPATH": "x",
        "MEM_LIMIT": "1",
        "jupyterhub_x": "1",
    }
    kept, dropped = environment.split({**env, **bad, "JUPYTERHUB_NONE": None})
    assert kept == env
    assert dropped == sorted(bad)


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [(3600, "1 h", "1 小时"), (5400, "1 h 30 min", "1 小时 30 分钟"), (600, "10 min", "10 分钟"), (0, "0 s", "0 秒")],
)
def test_how_long_is_said_in_the_largest_units(seconds, english, chinese):
    assert sentences.duration(seconds) == (english, chinese)


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("why", ["idle", "admin", "something of a later version"])
def test_who_was_stopped_reads_when_and_what_is_lost(why, language):
    said = sentences.ended({"why": why, "when": 1_000_000_000}, 5400, language)
    assert "2001-09-" in said and ("{" not in said)
    assert (("1 h 30 min" in said) or ("1 小时 30 分钟内" in said)) == (why == "idle")
