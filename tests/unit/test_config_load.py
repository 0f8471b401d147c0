"""manylab.toml is read whole, or refused with every problem and its line."""

from __future__ import annotations

import os
import time
from textwrap import dedent

import pytest

from manylab.base.errors import ConfigError, NotFound
from manylab.config.load import decode, load, parse
from manylab.config.schema import Config


def problems(text: str) -> list[tuple[int, str, str]]:
    """(line, key, what is said) of every problem of a text."""
    with pytest.raises(ConfigError) as caught:
        parse(dedent(text))
    return [
        (found["line"], found["key"], f"{found['message']}; {found['hint']}") for found in caught.value.data["problems"]
    ]


def lines_and_keys(text: str) -> list[tuple[int, str]]:
    return [(line, key) for line, key, _ in problems(text)]


def test_the_empty_file_is_a_working_site():
    config = parse("")
    assert config == Config()
    assert config.http.address == "127.0.0.1"
    assert config.envs["default"].packages == ("scientific",)
    assert config.servers.memory is None
    assert config.servers.idle_timeout is None


def test_every_problem_is_reported_at_once_in_the_order_of_the_file():
    text = """\
        [site]
        memory = "2G"
        [http]
        port = "8000"
        address = "0.0.0.0"
        bogus = 2G
        [servers]
        memmory = "1G"
        idle_timeout = "5m"
        [https]
        key = "/etc/key.pem"
        [people]
        admins = ["root; rm -rf /", "../x", "-x", "a:b", " x"]
        """
    assert lines_and_keys(text) == [
        (2, "site.memory"),
        (4, "http.port"),
        (6, ""),
        (8, "servers.memmory"),
        (9, "servers.idle_timeout"),
        (11, "https.key"),
        *[(13, f"people.admins[{index}]") for index in range(5)],
    ]


def test_the_message_reads_like_a_compiler_s():
    with pytest.raises(ConfigError) as caught:
        parse('[servers]\nmemmory = "2G"\n')
    assert caught.value.message == "manylab.toml:2: servers.memmory: unknown setting; did you mean servers.memory?"
    assert caught.value.as_json()["code"] == "E-CONFIG"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('[servers]\nmemmory = "1G"', "did you mean servers.memory?"),
        ('[site]\nmemory = "1G"', "did you mean servers.memory?"),
        ("port = 1", "did you mean http.port?"),
        ("[server]\ncpu = 1", "did you mean servers?"),
        ('[servers]\nmem_limit = "1G"', "did you mean servers.memory?"),
        ('[people]\nadmin_users = ["a"]', "did you mean people.admins?"),
        ('[envs.course]\npackage = ["a"]', "did you mean envs.course.packages?"),
        ('[envs.course]\nmemory = "1G"', "did you mean servers.memory?"),
        ("[site]\nqqqq = 1", "known here: name, language"),
    ],
)
def test_an_unknown_key_says_what_was_meant(text, meant):
    [(_, _, said)] = problems(text)
    assert meant in said


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("[http]\n\n# note\nport = 0", 4, "http.port"),
        ("http.port = 0", 1, "http.port"),
        ("# x\nhttp = { address = '127.0.0.1', port = 0 }", 2, "http.port"),
        ("[people]\nadmins = [\n  # who\n  'alice',\n\n  '-b',\n]", 2, "people.admins[1]"),
        ('[site]\nname = """\nport = 1\n[http]\n"""\nlanguage = "fr"', 2, "site.name"),
        ("[site]\nname = '''a''''\n[ http ]\n\"port\" = 0", 4, "http.port"),
        ("[envs.course]\n[envs . 'Big Data']", 2, 'envs."Big Data"'),
        ("[envs]\na = {}\nb.python = '2'", 3, "envs.b.python"),
        ("[[site]]\nname = 'x'", 1, "site"),
        ("[site]\r\nname = 'x'\r\nlanguage = 'fr'\r\n", 3, "site.language"),
        ("[jupyterhub.JupyterHub]\nload_groups = { a = ['b'] }\nbind_url = 'x'", 3, 'jupyterhub."JupyterHub.bind_url"'),
        ("[jupyterhub]\n'JupyterHub.a' = 1\n'JupyterHub.ip' = ''", 3, 'jupyterhub."JupyterHub.ip"'),
        ("[servers]\ncpu = 1\n\n[servers.environment]\nA = 'b'\nLD_PRELOAD = 'x'", 6, "servers.environment.LD_PRELOAD"),
        ("[servers.environment]\nA = 'x'\n[servers]\ncpu = 0", 4, "servers.cpu"),
    ],
)
def test_each_problem_has_the_line_of_its_key(text, line, key):
    found = problems(text)
    assert (line, key) in [(at, name) for at, name, _ in found]


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("memory = 2G", 'text needs quotes: "2G"'),
        ("named = True", "write true"),
        ("memory = “2G”", "plain marks"),
        ("memory ＝ '2G'", "plain marks"),
        ("memory =", "give it a value"),
        ("memory", "name = value"),
        ('default_url = "C:\\q"', "backslash"),
        ("memory = '1G'\nmemory = '2G'", "overwrite"),
    ],
)
def test_a_line_that_is_no_toml_comes_with_advice_and_hides_nothing_else(line, advice):
    found = problems(f"[servers]\n{line}\ncpu = -1\n")
    assert advice in found[0][2]
    assert "column" in found[0][2]
    assert found[-1][1] == "servers.cpu"


def test_an_unclosed_list_is_reported_where_it_begins():
    [(line, _, said)] = problems("[people]\nadmins = ['a',\n\n[servers]\ncpu = 1\n")
    assert line in (2, 4, 5)
    assert "line 2" in said or line == 2
    [(line, _, said)] = problems("[site]\nname = '''a\n\nb")
    assert (line, "not closed" in said) == (2, True)


def test_a_table_written_twice_is_refused():
    [(line, _, said)] = problems("[envs.a]\n[envs.b]\n[envs.a]\n")
    assert line == 3
    assert "twice" in said


@pytest.mark.parametrize("value", ['"0.0.0.0"', '"::"', '"192.168.1.2"', '"lab.example.org"'])
def test_an_address_that_others_can_reach_needs_https_or_saying_so(value):
    [(line, key, said)] = problems(f"[http]\naddress = {value}")
    assert (line, key) == (2, "http.address")
    assert "https.certificate" in said
    assert "127.0.0.1" in said
    assert "http.insecure = true" in said
    parse(f"[http]\naddress = {value}\ninsecure = true")
    parse(f'[http]\naddress = {value}\n[https]\ncertificate = "/c.pem"\nkey = "/k.pem"')


@pytest.mark.parametrize("value", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_a_loopback_address_needs_nothing_else(value):
    assert parse(f'[http]\naddress = "{value}"').http.loopback


@pytest.mark.parametrize("name", ["dummy", "jupyterhub.auth:DummyAuthenticator"])
def test_the_dummy_authenticator_stays_on_loopback_even_with_https(name):
    parse(f'[people]\nauthenticator = "{name}"')
    found = lines_and_keys(f'[people]\nauthenticator = "{name}"\n[http]\naddress = "0.0.0.0"\ninsecure = true')
    assert found == [(2, "people.authenticator")]


@pytest.mark.parametrize(
    "name",
    ["JupyterHub.authenticator_class", "JupyterHub.bind_url", "LocalProcessSpawner.cmd", "PAMAuthenticator.service"],
)
def test_the_way_out_leads_past_no_safeguard(name):
    [(line, _, _)] = problems(f'[jupyterhub]\n"{name}" = "x"')
    assert line == 2


def test_jupyterhub_settings_may_be_written_in_both_ways():
    dotted = parse('[jupyterhub]\n"JupyterHub.concurrent_spawn_limit" = 50\n"A.b" = { c = [1, 2] }')
    nested = parse("[jupyterhub.JupyterHub]\nconcurrent_spawn_limit = 50\n[jupyterhub.A]\nb = { c = [1, 2] }")
    assert dotted == nested
    assert dotted.traits() == {"JupyterHub.concurrent_spawn_limit": 50, "A.b": {"c": [1, 2]}}


def test_a_wrong_value_does_not_make_another_setting_look_wrong():
    assert lines_and_keys('[http]\naddress = "0.0.0.0"\ninsecure = "yes"') == [(3, "http.insecure")]
    assert lines_and_keys('[https]\ncertificate = "c.pem"\nkey = "/k.pem"') == [(2, "https.certificate")]
    assert lines_and_keys('[http]\naddress = "0.0.0.0"\ninsecure = True') == [(3, "")]


def test_a_secret_is_never_repeated_in_an_error():
    for text in (
        '[hub]\ndb_url = "postgresql:/u:hunter2@h"',
        '[mirrors]\npypi = "ftp://u:hunter2@h/"',
        '[mirrors]\nproxy = "u:hunter2@h"',
        '[envs.a]\npackages = ["https://u:hunter2@h/x.whl"]',
        '[envs.a]\npackages = ["x @ https://u:hunter2@h/x.whl"]',
    ):
        with pytest.raises(ConfigError) as caught:
            parse(text)
        assert "hunter2" not in str(caught.value.as_json())


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    file = tmp_path / "manylab.toml"
    file.write_bytes(b'\xef\xbb\xbf[site]\r\nname = "Labor"\r\n')
    assert load(file).site.name == "Labor"


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("[site]\nname = 'Lab\xe9'\n".encode("latin-1"), 2, "not UTF-8"),
        ("[site]\n".encode("utf-16"), 1, "UTF-16"),
        (b"#" * (10 * 1024 * 1024), 1, "larger than 1 MB"),
        (b"[site]\nname = 'a\x00b'", 2, "column"),
    ],
)
def test_files_that_are_no_configuration_are_refused_quickly_and_clearly(tmp_path, content, line, said):
    file = tmp_path / "manylab.toml"
    file.write_bytes(content)
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert time.process_time() - began < 2
    [problem] = caught.value.data["problems"]
    assert problem["line"] == line
    assert said in problem["message"]


def test_folders_pipes_and_missing_files_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not an ordinary file"):
        load(tmp_path / "pipe")
    with pytest.raises(NotFound):
        load(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError):
        load(tmp_path / "pipe" / "below.toml")


def test_deep_and_long_texts_end_in_an_error_and_not_in_a_crash():
    for text in ("a=" + "[" * 5000, "[http]\nport = " + "9" * 5000, "a." * 3000 + "b = 1", "x = 1\n" * 3000):
        with pytest.raises(ConfigError):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"x{number} = 1\n" for number in range(40_000)),
        "".join(f"x{number} = \n" for number in range(40_000)),
        f'[servers]\ndefault_url = "/{"a" * 50_000}!"',
        f'[envs.a]\npackages = ["{"a" * 50_000}!"]',
        f'[http]\nbase_url = "{"/a" * 50_000}!"',
        f'[site]\nname = "{"a" * 500_000}',
    ],
    ids=["unknown", "broken", "page", "package", "path", "unclosed"],
)
def test_a_hostile_text_does_not_keep_anybody_waiting(text):
    began = time.process_time()
    with pytest.raises(ConfigError):
        parse(text)
    assert time.process_time() - began < 5


def test_what_is_read_cannot_be_changed():
    config = parse('[servers.environment]\nA = "b"\n[jupyterhub]\n"A.b" = [{ c = 1 }]')
    with pytest.raises(Exception, match="frozen"):
        config.site.name = "x"
    for mapping in (config.envs, config.servers.environment, config.jupyterhub, config.jupyterhub["A.b"][0]):
        with pytest.raises(TypeError):
            mapping["x"] = 1


def test_a_configuration_survives_being_written_as_data():
    text = '[servers]\nmemory = "1.5G"\ncpu = 2\nidle_timeout = "1h30m"\n[envs.a]\n[jupyterhub]\n"A.b" = { c = [1] }'
    config = parse(text)
    data = config.as_data()
    assert data["servers"]["memory"] == "1536M"
    assert data["servers"]["idle_timeout"] == "1h30m"
    assert Config.model_validate(data) == config


def test_text_from_elsewhere_is_decoded_the_same_way():
    assert decode(b"\xef\xbb\xbfa") == "a"
