"""Which values each kind of setting takes, and in which form the program sees them."""

from __future__ import annotations

import pytest

from manylab.base.errors import ConfigError
from manylab.config import packages
from manylab.config.load import parse
from manylab.config.values import duration_text, size_text, toml


def read(key: str, value: object):
    """What the program sees of a setting that is written like this."""
    table, name = key.rsplit(".", 1)
    found = parse(f"[{table}]\n{name} = {toml(value)}\n")
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) or not hasattr(found, part) else getattr(found, part)
    return found


GOOD = [
    ("servers.memory", "2G", 2 * 2**30),
    ("servers.memory", "512m", 512 * 2**20),
    ("servers.memory", "1.5T", 3 * 2**39),
    ("servers.memory", "none", None),
    ("servers.cpu", 2, 2.0),
    ("servers.cpu", 0.5, 0.5),
    ("servers.cpu", "none", None),
    ("servers.tasks", 1000, 1000),
    ("servers.tasks", "none", None),
    ("servers.idle_timeout", "never", None),
    ("servers.idle_timeout", "10m", 600),
    ("servers.idle_timeout", "1d", 86400),
    ("servers.start_timeout", "120s", 120),
    ("servers.start_timeout", "1m30s", 90),
    ("servers.default_url", "/lab/tree/a.ipynb", "/lab/tree/a.ipynb"),
    ("servers.environment", {"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "2"}),
    ("http.base_url", "wsl", "/wsl/"),
    ("http.base_url", "/a//b/", "/a/b/"),
    ("http.base_url", "", "/"),
    ("http.port", 80, 80),
    ("site.name", "物理实验室", "物理实验室"),
    (
        "people.authenticator",
        "oauthenticator.github:GitHubOAuthenticator",
        "oauthenticator.github:GitHubOAuthenticator",
    ),
    ("people.admins", ["alice", "_svc-1"], ("alice", "_svc-1")),
    ("envs.default.python", ">=3.10,<3.14", ">=3.10,<3.14"),
    ("envs.default.python", "~=3.11, !=3.11.2", "~=3.11, !=3.11.2"),
    ("hub.db_url", "sqlite:////srv/hub.sqlite", "sqlite:////srv/hub.sqlite"),
    ("hub.db_url", "postgresql+psycopg://u:p@h:5432/db", "postgresql+psycopg://u:p@h:5432/db"),
    ("mirrors.pypi", "https://u:p@mirror.example.org/simple/", "https://u:p@mirror.example.org/simple/"),
    ("mirrors.pypi", "file:///srv/pypi/simple", "file:///srv/pypi/simple"),
    ("mirrors.proxy", "http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
]

BAD = [
    ("servers.memory", ["2GB", "2", "G", "-1G", "2 G", "", "255M", "0G", 2147483648, True, "٢G"]),
    ("servers.cpu", [0, -1, True, "2", float("nan"), float("inf"), 5000]),
    ("servers.tasks", [0, 10, True, "many", 2.5]),
    ("servers.idle_timeout", ["599s", "5m", "0s", "1h 30m", "", 3600, "1.5h", "Never"]),
    ("servers.start_timeout", ["1s", "2h", 120, "never"]),
    ("servers.start", ["Warm", "slurm", True]),
    ("servers.default_url", ["lab", "http://x", "/a/../b", "/a b", "//evil.example"]),
    ("servers.named_limit", [0, -1, "5", True]),
    (
        "servers.environment",
        [{"A B": "x"}, {"PATH": "x"}, {"LD_PRELOAD": "x"}, {"A": 1}, {"1A": "x"}, {"A": "x\0"}, "A=1"],
    ),
    ("http.address", ["", "0", "1.2.3", "[::1]", "a_b", "*", "a b", "256.1.1.1", "x" * 300, "127.0.0.1:80"]),
    ("http.port", [0, 65536, "8000", True, 80.0]),
    ("http.base_url", ["/a b", "/..", "/a/./b", "/a?b", "/<x>", "/%2e%2e", "/中"]),
    ("http.insecure", ["true", 1, "yes"]),
    ("https.certificate", ["c.pem", "~/c.pem", "/a\nb"]),
    ("people.group", ["root; rm -rf /", "../x", "a,b", " a", "a" * 256, "", "-x", "root", "manylab-proxy"]),
    ("people.admins", [["a:b"], ["root"], ["a", "a"], "alice", [1], [""], ["a\n"], ["-rf"]]),
    ("people.authenticator", ["PAM", "jupyterhub.auth.PAMAuthenticator", "x:y z", ""]),
    ("site.name", ["", "  ", "a\nb", "a\x1b[31m", 5]),
    ("site.language", ["zh", "de"]),
    ("envs.default.python", ["2.7", "3.12", ">=3.10.*", "~=3", "", ">=3.10;x", "python3", "pypy", "--x"]),
    ("envs.default.preload", [["os; import x"], ["-m"], [""], "numpy"]),
    ("hub.db_url", ["x", "sqlite:///relative.db", "sqlite://"]),
    ("hub.packages", [["scientific"], ["-r x"]]),
    ("hub.log_level", ["debug", "TRACE"]),
    ("hub.members_check", ["0s", "2h", 5]),
    ("mirrors.npm", ["registry", "ftp://x", "https://", "https://a b", "https://x:port/", "file:///x"]),
    ("mirrors.ca_bundle", ["ca.pem"]),
]


@pytest.mark.parametrize(("key", "value", "seen"), GOOD)
def test_a_good_value_has_the_form_the_program_uses(key, value, seen):
    if key.startswith("envs"):
        assert (
            getattr(parse(f"[envs.default]\n{key.split('.')[-1]} = {toml(value)}").envs["default"], key.split(".")[-1])
            == seen
        )
    else:
        assert read(key, value) == seen


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD for value in values])
def test_a_bad_value_is_refused_under_its_own_name(key, value):
    with pytest.raises(ConfigError) as caught:
        read(key, value)
    for problem in caught.value.data["problems"]:
        assert problem["key"].startswith(key)
        assert problem["line"] == 2


@pytest.mark.parametrize(
    "package",
    [
        "numpy",
        "numpy>=2",
        "numpy >= 2, != 2.1",
        "psycopg[binary]",
        "a[b,c]==1.*",
        "a (>=1)",
        "A.b-c_d~=1.0",
        "x; python_version < '3.12'",
        "x @ https://example.org/x.whl",
        "x @ git+ssh://git@example.org/x.git@main",
        "a===1.0+local",
    ],
)
def test_a_requirement_is_taken_as_pip_would(package):
    assert parse(f"[envs.a]\npackages = [{toml(package)}]").envs["a"].packages == (package,)


@pytest.mark.parametrize(
    "package",
    [
        "",
        "-e .",
        "--index-url=https://x",
        "./x",
        "/x",
        "a b",
        "a>=",
        "x @ http://example.org/x",
        "x\n--pre",
        "a;",
        "a[",
        "https://x/y.whl",
    ],
)
def test_what_is_no_requirement_is_refused(package):
    with pytest.raises(ConfigError):
        parse(f"[envs.a]\npackages = [{toml(package)}]")


@pytest.mark.parametrize("name", ["hub", "server", "proxy", "tool", "Big", "a_b", "../x", "1a", "a" * 31, ""])
def test_an_environment_needs_a_free_and_plain_name(name):
    with pytest.raises(ConfigError):
        parse(f"[envs.{toml(name)}]")


def test_sizes_and_durations_are_written_back_in_their_shortest_form():
    assert [size_text(value) for value in (2**30, 3 * 2**29, 2**40, 1500, None)] == [
        "1G",
        "1536M",
        "1T",
        "1.46484375K",
        "none",
    ]
    assert [duration_text(value) for value in (5, 90, 3600, 90061, None)] == ["5s", "1m30s", "1h", "1d1h1m1s", "never"]


def test_versions_of_python_are_read_as_packaging_reads_them():
    specifiers = pytest.importorskip("packaging.specifiers")
    clauses = [
        f"{mark}{version}"
        for mark in ("", "~=", "==", "!=", "<=", ">=", "<", ">")
        for version in ("3", "3.12", "3.12.*", "3.12.1")
    ]
    for clause in clauses:
        try:
            specifiers.SpecifierSet(clause)
        except specifiers.InvalidSpecifier:
            with pytest.raises(ConfigError):
                read("envs.default.python", clause)
        else:
            parse(f"[envs.default]\npython = {toml(clause)}")


def test_a_requirement_is_read_as_packaging_reads_it():
    requirements = pytest.importorskip("packaging.requirements")
    for package in (
        "numpy",
        "a[b,c]>=1,<2",
        "a>=1.0.dev1",
        "a==1.*",
        "a~=1.4.2",
        "a_b.c-d",
        "x; python_version < '3.12'",
    ):
        assert packages.name(package) == canonical(requirements.Requirement(package).name)
        parse(f"[envs.a]\npackages = [{toml(package)}]")


def canonical(name: str) -> str:
    return pytest.importorskip("packaging.utils").canonicalize_name(name)
