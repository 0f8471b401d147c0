"""Configurations on a real machine: wrong ones change nothing, TLS and addresses are checked, what cannot be fetched or
written is said plainly and disturbs nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import wait_until

from support.build import SMALL
from support.client import Client
from support.looking import FOLDERS, ask, changed, in_memory, leftovers, planned, refusal, tree
from support.site import Site

PASSWORD = "wonderland 1865"
CONFIG_FILE = "/etc/manylab/manylab.toml"
NOT_COMPARED = ("/opt/manylab/cache", "/opt/manylab/tool", "/var/lib/manylab/hub")
TINY = "/opt/manylab/envs/tiny"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Up in the foreground, with alice in it."""
    with Site("bookworm", config=SMALL, machine=in_memory("bookworm", small=True)) as one:
        one.add_user("alice", PASSWORD)
        with one.up():
            yield one


@pytest.fixture(autouse=True)
def as_before(site) -> Iterator[None]:
    """Each test leaves the configuration as it was, and the site in order."""
    before = site.machine.read(CONFIG_FILE)
    yield
    if site.machine.read(CONFIG_FILE) != before:
        site.machine.write(CONFIG_FILE, before, mode=0o600)
        ask(site, "apply")
        site.wait_until_it_answers()


# wrong configurations

WRONG = """\
# a comment
[http]
prot = 8080
address = "0.0.0.0"

[people]
group = "root; rm -rf /"
admins = ["-x", "../x"]

[servers]
memory = "lots"
start = "hot"

[envs.default]
packages = ["numpy ==="]
"""


def test_everything_that_is_wrong_is_said_at_once_with_its_line_and_nothing_is_changed(site):
    before = tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)
    files = site.machine.read(CONFIG_FILE)
    site.machine.write("/root/wrong.toml", WRONG, mode=0o600)
    site.machine.run(["cp", "--no-preserve=all", "/root/wrong.toml", CONFIG_FILE])
    with_wrong = tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)
    for words in (["apply"], ["plan"], ["config", "check"]):
        error = refusal(site, *words)
        assert error["code"] == "E-CONFIG"
        lines = {problem["line"]: problem for problem in error["problems"]}
        assert lines.keys() == {3, 4, 7, 8, 11, 12, 15}, error
        assert "http.port" in str(lines[3]) or "'port'" in str(lines[3]) or '"port"' in str(lines[3]), lines[3]
        assert "insecure" in str(lines[4])
    said = site.manylab("apply", check=False)
    assert said.returncode == 1 and "did you mean" in said.stderr.lower()
    for line in (3, 4, 7, 8, 11, 12, 15):
        assert f"{CONFIG_FILE}:{line}: " in said.stderr, said.stderr
    assert changed(with_wrong, tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)) == {}
    assert changed(before, with_wrong).keys() == {CONFIG_FILE}
    assert site.answers()
    site.machine.write(CONFIG_FILE, files, mode=0o600)


def test_config_set_keeps_comments_and_refuses_what_would_not_be_valid(site):
    text = f'# ours\n[site]\nname = "Lab"  # as on the door\n\n[http]\nport = {site.machine.port}\n{SMALL}# the end\n'
    site.machine.write(CONFIG_FILE, text, mode=0o600)
    site.manylab("config", "set", "site.name", "Physics lab")
    site.manylab("config", "set", "servers.memory", "2G")
    now = site.machine.read(CONFIG_FILE)
    for kept in ("# ours\n", '"Physics lab"  # as on the door\n', "# the end\n", 'memory = "2G"'):
        assert kept in now
    for key, value in (("servers.memory", "lots"), ("http.address", "0.0.0.0")):
        assert refusal(site, "config", "set", key, value)["code"] == "E-CONFIG"
    error = refusal(site, "config", "set", "servers.memroy", "2G")
    assert error["code"] == "E-NOT-FOUND" and "memory" in error["message"] + error["hint"]
    assert site.machine.read(CONFIG_FILE) == now
    assert site.machine.run(["stat", "-c", "%a", CONFIG_FILE]).stdout == "600\n"
    site.manylab("config", "unset", "servers.memory")
    assert "memory" not in site.machine.read(CONFIG_FILE)


# addresses and TLS


def listening(site: Site) -> str:
    """The address of the site's TCP port, as the kernel has it: 0100007F is 127.0.0.1."""
    port = f":{site.machine.port:04X}"
    rows = [line.split() for line in site.machine.read("/proc/net/tcp").splitlines()[1:]]
    return ",".join(row[1].split(":")[0] for row in rows if row[1].endswith(port) and row[3] == "0A")


def test_an_address_that_others_reach_needs_tls_or_a_word_that_says_so(site):
    assert listening(site) == "0100007F"
    site.configure(SMALL + '[http]\naddress = "0.0.0.0"\n')
    error = refusal(site, "apply")
    assert error["code"] == "E-CONFIG" and "insecure" in str(error)
    assert listening(site) == "0100007F"
    site.configure(SMALL + '[http]\naddress = "0.0.0.0"\ninsecure = true\n')
    ask(site, "apply")
    wait_until(lambda: listening(site) == "00000000", 60, "a socket on every address")
    site.wait_until_it_answers()
    site.configure(SMALL + '[http]\naddress = "0.0.0.0"\ninsecure = true\n[people]\nauthenticator = "dummy"\n')
    error = refusal(site, "apply")
    assert error["code"] == "E-CONFIG" and "dummy" in str(error)


@pytest.fixture(scope="module")
def certificates(site) -> str:
    """A folder with a certificate and its key, another key, and one with a passphrase."""
    folder = "/etc/lab-tls"
    new = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    get = "apt-get update -qq && apt-get install -qq -y --no-install-recommends openssl"
    commands = [
        f"mkdir -p {folder} && cd {folder} && (which openssl || ({get}))",
        f"{new} -keyout key.pem -out cert.pem",
        f"{new} -keyout other.pem -out other-cert.pem",
        "openssl genrsa -out nobodys.pem 2048",
        "openssl rsa -aes128 -passout pass:secret -in other.pem -out locked.pem",
        "echo nothing > empty.pem && chmod 600 *.pem",
    ]
    site.machine.run(" && ".join(commands), timeout=200)
    return folder


def with_tls(certificate: str, key: str) -> str:
    return f'{SMALL}[http]\naddress = "0.0.0.0"\n[https]\ncertificate = "{certificate}"\nkey = "{key}"\n'


def test_tls_by_certificate_files_works_from_sign_in_to_a_kernel(site, certificates):
    site.configure(with_tls(f"{certificates}/cert.pem", f"{certificates}/key.pem"))
    ask(site, "apply")
    url = f"https://127.0.0.1:{site.machine.port}/"
    with Client(url, "alice", PASSWORD, verify=False) as alice:
        alice.sign_in()
        assert all(cookie.secure for cookie in alice.http.cookies.jar if "session" in cookie.name)
        alice.open_lab()
        kernel = alice.server("POST", "api/kernels", json={"name": "python3"})
        assert kernel.status_code == 201
    assert ask(site, "status")["address"] == url
    assert planned(site) == {}
    assert "PRIVATE KEY" not in site.logs(2000)
    # A renewed certificate is a change that apply sees and serves.
    site.machine.run(f"cd {certificates} && cp other-cert.pem cert.pem && cp other.pem key.pem")
    assert "file /var/lib/manylab/proxy/certificate.pem" in planned(site)
    ask(site, "apply")
    served = "openssl s_client -connect 127.0.0.1:{} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    new = site.machine.run(f"openssl x509 -noout -serial -in {certificates}/cert.pem").stdout
    wait_until(
        lambda: site.machine.run(served.format(site.machine.port), check=False).stdout == new, 20, "the new certificate"
    )


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("other-cert.pem", "locked.pem", "passphrase"),
        ("other-cert.pem", "empty.pem", "cannot be used together"),
        ("locked.pem", "locked.pem", "cannot be used together"),
        ("missing.pem", "other.pem", "No such file"),
        (".", "other.pem", "director"),
        ("other-cert.pem", "nobodys.pem", "cannot be used together"),
    ],
)
def test_certificate_files_that_cannot_be_used_are_refused_by_name(site, certificates, certificate, key, said):
    site.configure(with_tls(f"{certificates}/{certificate}", f"{certificates}/{key}"))
    error = refusal(site, "apply", timeout=20)
    assert error["code"] == "E-CONFIG"
    assert said in error["message"] + error["hint"], error
    assert certificates in error["message"]
    assert site.answers()


# what cannot be written or fetched


@pytest.mark.parametrize(
    ("folder", "size"),
    [
        (TINY, "4m"),
        ("/var/lib/manylab/generations", "16k"),
        ("/opt/manylab/cache", "64k"),
        ("/var/lib/manylab/rendered", "4k"),
    ],
)
def test_a_full_disk_is_said_disturbs_nobody_and_is_made_good_when_there_is_space(site, folder, size):
    site.machine.run(f"mkdir -p {folder} && cp -a {folder} /root/full-copy")
    site.machine.run(f"mount -t tmpfs -o size={size},mode=$(stat -c %a {folder}) tmpfs {folder}")
    try:
        # What was there, as far as it fits, and the rest of the space is somebody else's.
        site.machine.run(f"chown --reference=/root/full-copy {folder}; cp -a /root/full-copy/. {folder}/", check=False)
        site.machine.run(f"cat /dev/zero > {folder}/fill", check=False)
        admins = ", ".join(f'"person{number}"' for number in range(900))
        more = f'[site]\nname = "{folder}"\n[people]\nadmins = [{admins}]\n'
        site.configure(f'{more}{SMALL}[envs.tiny]\npackages = ["ipykernel"]\n')
        error = refusal(site, "apply")
        assert error["code"] == "E-DISK-FULL", error
        assert "free some space" in error["hint"]
        assert site.answers()
        with site.client("alice", PASSWORD) as alice:
            alice.sign_in()
            alice.open_lab()
    finally:
        site.machine.run(f"umount {folder} && rm -rf /root/full-copy")
    ask(site, "apply")
    assert planned(site) == {}
    assert leftovers(site.machine) == []
    site.machine.run(f"rm -rf {TINY}")


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        ("no-such-package-of-manylab-tests", "not found"),
        ("iniconfig==0.0.999", "no version"),
        ("ipykernel<0.1", "ipykernel"),
    ],
)
def test_packages_that_cannot_be_had_are_refused_with_the_solver_s_reason(site, package, reason):
    before = tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)
    error = refusal(site, "env", "add", "default", package)
    assert error["code"] == "E-ENV", error
    assert reason in error["message"], error
    assert changed(before, tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)) == {}
    assert planned(site) == {}


class Apart(Site):
    """A site on a machine without any network but its own loopback."""

    def answers(self) -> bool:
        ask_it = f"import urllib.request as r; print(r.urlopen('{self.url}hub/health', timeout=5).status)"
        return self.machine.run(["/usr/bin/python3", "-c", ask_it], check=False).stdout.strip() == "200"


@pytest.mark.parametrize(
    "words", [["env", "add", "default", "iniconfig"], ["env", "create", "other", "numpy"], ["apply"]], ids=" ".join
)
def test_without_a_network_the_running_site_goes_on_and_the_error_names_what_to_set(words, apart):
    before = tree(apart.machine, *FOLDERS, ignore=NOT_COMPARED)
    if words == ["apply"]:
        apart.configure('[envs.more]\npackages = ["polars"]\n')
        before = tree(apart.machine, *FOLDERS, ignore=NOT_COMPARED)
    error = refusal(apart, *words)
    assert error["code"] == "E-DOWNLOAD", error
    assert "HTTPS_PROXY" in error["hint"] and "[mirrors]" in error["hint"]
    assert changed(before, tree(apart.machine, *FOLDERS, ignore=NOT_COMPARED)) == {}
    assert apart.answers()


@pytest.fixture(scope="module")
def apart() -> Iterator[Site]:
    with Apart("bookworm", machine=in_memory("bookworm", network="private")) as one, one.up():
        yield one
