"""The recipe's rows about people: `manylab user`, the site's group, admins, and who may run the service."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from harness import Process, wait_until

from support.client import Client, Refused
from support.site import Site

PASSWORD = "wonderland 1865"
MEMBERS_CHECK = 1.0


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site("bookworm", "systemd", config=f'[hub]\nmembers_check = "{MEMBERS_CHECK:g}s"\n') as one:
        one.install()
        one.add_user("bob", PASSWORD)
        yield one


@pytest.fixture
def bob(site: Site) -> Iterator[Client]:
    """Somebody who works, whatever happens to others: his kernel remembers x = 41."""
    with site.client("bob", PASSWORD) as client:
        client.sign_in()
        client.open_lab()
        client.run("x = 41")
        yield client


def shadow(site: Site, name: str) -> str:
    return site.machine.run(["getent", "shadow", name]).stdout


def groups(site: Site, name: str) -> set[str]:
    return set(site.machine.run(["id", "-Gn", name]).stdout.split())


def processes_of(site: Site, name: str) -> list[Process]:
    uid = site.machine.person(name).uid
    return [process for process in site.machine.processes() if process.uid == uid]


def hub_pid(site: Site) -> str:
    return site.machine.run("systemctl show --value --property MainPID manylab-hub").stdout.strip()


def can_sign_in(site: Site, name: str, password: str = PASSWORD) -> bool:
    with site.client(name, password) as client:
        try:
            client.sign_in()
        except Refused:
            return False
        return True


# user add


def test_a_password_can_be_typed_piped_or_generated_and_lets_its_owner_in(site):
    with site.machine.popen(["/srv/manylab/manylab", "user", "add", "typed"], tty=True) as asking:
        asking.wait_for_output("Password for typed: ")
        asking.send(f"{PASSWORD}\n")
        asking.wait_for_output("The same again: ")
        asking.send(f"{PASSWORD}\n")
        assert asking.wait(30) == 0, asking.output()
        assert PASSWORD not in asking.output(), "what is typed is not shown"
    site.manylab("user", "add", "piped", "--password-stdin", input=f"{PASSWORD}\n")
    printed = site.manylab("user", "add", "dealt", "--generate").stdout
    generated = re.search(r"only this once: (\S{12,})$", printed, re.MULTILINE)
    assert generated, printed
    assert printed.count(generated[1]) == 1
    assert generated[1] not in site.logs(2000)
    kept = site.machine.run(
        ["grep", "-rlF", generated[1], "/etc", "/var/lib/manylab", "/var/log", "/run/manylab"], check=False
    )
    assert kept.stdout == "", "a generated password is nowhere but on the screen"
    for name, password in [("typed", PASSWORD), ("piped", PASSWORD), ("dealt", generated[1])]:
        assert can_sign_in(site, name, password), name
        assert "manylab" in groups(site, name)


def test_two_passwords_that_differ_change_nothing(site):
    with site.machine.popen(["/srv/manylab/manylab", "user", "add", "unsure"], tty=True) as asking:
        asking.wait_for_output("Password for unsure: ")
        asking.send("one\n")
        asking.wait_for_output("The same again: ")
        asking.send("other\n")
        assert asking.wait(30) == 1
        assert "the two passwords differ" in asking.output()
    assert site.machine.run(["getent", "passwd", "unsure"], check=False).returncode != 0


def test_an_account_that_exists_keeps_its_password_and_only_joins_the_group(site):
    site.machine.add_account("earlier", password=PASSWORD, groups=["users"])
    site.machine.write("/home/earlier/.bashrc", "# mine\n", owner="earlier")
    before = shadow(site, "earlier")
    said = site.manylab("user", "add", "earlier", "--json").stdout
    assert json.loads(said) | {"created": False, "joined": True, "password_set": False} == json.loads(said)
    assert shadow(site, "earlier") == before
    assert groups(site, "earlier") >= {"users", "manylab"}
    assert site.machine.read("/home/earlier/.bashrc") == "# mine\n"
    assert can_sign_in(site, "earlier")
    assert json.loads(site.manylab("user", "add", "earlier", "--json").stdout)["joined"] is False, "twice is once"


def test_without_a_terminal_a_missing_password_is_asked_for_by_name_of_the_option(site):
    done = site.manylab("user", "add", "mute", check=False)
    assert done.returncode == 1
    assert "--password-stdin or --generate" in done.stderr
    assert site.machine.run(["getent", "passwd", "mute"], check=False).returncode != 0


def test_a_class_comes_from_a_file_and_a_second_run_changes_no_password(site):
    site.machine.add_account("pupil0", password=PASSWORD)
    site.machine.write("/root/names.txt", "\ufeffpupil0\r\npupil1\r\n\r\n# absent\r\npupil2\r\npupil1\r\n")
    words = ["user", "add", "pupil3", "--from", "/root/names.txt", "--generate", "--passwords"]
    site.manylab(*words, "/root/first.csv")
    assert site.machine.run(["stat", "-c", "%a %U", "/root/first.csv"]).stdout == "600 root\n"
    rows = list(csv.reader(site.machine.read("/root/first.csv").removeprefix("\ufeff").splitlines()))
    assert [row[0] for row in rows] == ["account", "pupil3", "pupil1", "pupil2"], "pupil0 has a password"
    assert can_sign_in(site, "pupil0") and all(can_sign_in(site, name, password) for name, password in rows[1:])
    before = [shadow(site, f"pupil{number}") for number in range(4)]
    said = site.manylab(*words, "/root/second.csv").stdout
    assert "Kept the password that they had: pupil3, pupil0, pupil1, pupil2." in said
    assert [shadow(site, f"pupil{number}") for number in range(4)] == before
    assert "No such file" in site.machine.run(["cat", "/root/second.csv"], check=False).stderr
    site.machine.run(["usermod", "--lock", "pupil2"])
    locked = shadow(site, "pupil2")
    assert "Locked, and left so: pupil2." in site.manylab(*words, "/root/third.csv").stdout
    assert shadow(site, "pupil2") == locked
    site.manylab("user", "add", "pupil1", "--generate", "--reset-password")
    assert shadow(site, "pupil1") != before[1]


def test_of_a_file_with_wrong_names_nobody_is_added(site):
    site.machine.write("/root/wrong.txt", "good1\n../x\ngood2\na:b\n")
    done = site.manylab("user", "add", "--from", "/root/wrong.txt", "--generate", check=False)
    assert done.returncode == 1 and "line 2:" in done.stderr and "line 4:" in done.stderr
    done = site.manylab("user", "add", "good1", "www-data", "--generate", check=False)
    assert done.returncode == 1 and "E-REFUSED" in done.stderr
    assert site.machine.run(["getent", "passwd", "good1", "good2"], check=False).stdout == ""


@pytest.mark.parametrize(
    "name", ["root; rm -rf /", "../x", "..", " two words", "a" * 256, "", "a:b", "a,b", "a\nb", "a\x1bb", "-x"]
)
def test_a_text_that_can_be_no_account_is_refused_where_it_enters(site, name):
    before = site.machine.run("cat /etc/passwd /etc/group /etc/shadow; ls -la /home").stdout
    for command in (["user", "add", "--generate"], ["user", "remove", "--delete-home", "--yes"], ["user", "admin"]):
        done = site.manylab(*command, "--json", "--", name, check=False)
        assert done.returncode == 1, done
        assert json.loads(done.stdout)["error"]["code"] == "E-BAD-NAME"
    assert site.machine.run("cat /etc/passwd /etc/group /etc/shadow; ls -la /home").stdout == before


@pytest.mark.parametrize("name", ["root", "www-data", "manylab", "manylab-proxy", "nobody"])
def test_root_and_system_accounts_are_neither_added_nor_removed(site, name):
    before = site.machine.run("cat /etc/passwd /etc/group /etc/shadow").stdout
    for command in (["user", "add", "--generate"], ["user", "remove", "--delete-home", "--yes"]):
        done = site.manylab(*command, "--json", name, check=False)
        assert done.returncode == 1, done
        assert json.loads(done.stdout)["error"]["code"] == "E-REFUSED"
    assert site.machine.run("cat /etc/passwd /etc/group /etc/shadow").stdout == before


# leaving


def by_command(site: Site, name: str) -> None:
    said = site.manylab("user", "remove", name).stdout
    assert f"{name} can no longer sign in; 1 server stopped. Account and home stay." in said


def by_hand(site: Site, name: str) -> None:
    site.machine.run(["gpasswd", "-d", name, "manylab"])


def token_works(site: Site, token: str) -> bool:
    answer = httpx.get(
        f"{site.url}hub/api/user", headers={"Authorization": f"token {token}"}, trust_env=False, timeout=60
    )
    return answer.status_code == 200


def opens_server(client: Client, owner: str) -> bool:
    """Whether this browser, as it is, gets an answer of that person's server."""
    answer = client.get(f"user/{owner}/api/status")
    return answer.status_code == 200 and answer.url.path == f"/user/{owner}/api/status"


def authorize(client: Client, page: httpx.Response) -> httpx.Response:
    """Press the button of JupyterHub's page that asks before somebody enters another person's server."""
    form = [
        (html.unescape(name), html.unescape(value))
        for name, value in re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page.text, re.DOTALL)
    ]
    data: dict[str, list[str]] = {}
    for name, value in form:
        data.setdefault(name, []).append(value)
    return client.http.post(str(page.url), data=data, headers={"Referer": str(page.url)})


@pytest.mark.parametrize("leave", [by_command, by_hand])
def test_whoever_leaves_the_group_loses_server_session_and_token_and_the_hub_is_not_restarted(
    site, bob, leave: Callable[[Site, str], None]
):
    name = f"left-{leave.__name__.replace('_', '-')}"
    site.add_user(name, PASSWORD)
    site.machine.write(f"/home/{name}/thesis.txt", "all my work\n", owner=name)
    hub = hub_pid(site)
    with site.client(name, PASSWORD) as person:
        person.sign_in()
        person.open_lab()
        # Also what a kernel has put into the background belongs to the server.
        person.run("import subprocess; subprocess.Popen(['setsid', 'sleep', '4321']); None")
        token = person.api("POST", f"users/{name}/tokens", json={"note": "a script"}).json()["token"]
        assert token_works(site, token)
        assert processes_of(site, name)
        leave(site, name)
        # The hub looks every second; then the server has to end.
        wait_until(
            lambda: not processes_of(site, name), MEMBERS_CHECK + 8, lambda: f"the end of {processes_of(site, name)}"
        )
        assert not token_works(site, token)
        assert not person.signed_in()
        assert not opens_server(person, name)
        assert not can_sign_in(site, name)
    assert site.machine.read(f"/home/{name}/thesis.txt") == "all my work\n"
    assert hub_pid(site) == hub
    assert bob.run("x") == "41", "nobody else notices"
    site.add_user(name, PASSWORD)
    assert can_sign_in(site, name), "and back again"
    assert not token_works(site, token), "an old token stays ended"


def test_a_session_without_a_server_ends_too_when_its_person_is_removed(site):
    site.add_user("idle", PASSWORD)
    with site.client("idle", PASSWORD) as person:
        person.sign_in()
        token = person.api("POST", "users/idle/tokens", json={}).json()["token"]
        site.manylab("user", "remove", "idle")
        wait_until(lambda: not token_works(site, token), MEMBERS_CHECK + 4, "the end of the token")
        assert not person.signed_in()


def test_a_home_is_deleted_only_when_asked_for_and_confirmed(site):
    def there() -> bool:
        return site.machine.exists("/home/leaver/thesis.txt")

    site.add_user("leaver", PASSWORD)
    site.machine.write("/home/leaver/thesis.txt", "all my work\n", owner="leaver")
    done = site.manylab("user", "remove", "leaver", "--delete-home", check=False)
    assert done.returncode == 1 and "--yes" in done.stderr
    assert there() and "manylab" in groups(site, "leaver"), "nothing was begun"
    with site.machine.popen(["/srv/manylab/manylab", "user", "remove", "leaver", "--delete-home"], tty=True) as asking:
        asking.wait_for_output("Delete it?")
        asking.send("n\n")
        assert asking.wait(30) == 1
    assert there() and "manylab" in groups(site, "leaver")
    site.manylab("user", "remove", "leaver")
    assert there() and groups(site, "leaver") == {"leaver"}
    site.manylab("user", "remove", "leaver", "--delete-account", "--yes")
    assert there() and site.machine.run(["getent", "passwd", "leaver"], check=False).returncode != 0
    site.machine.run(["rm", "-r", "/home/leaver"])
    site.add_user("leaver", PASSWORD)
    site.manylab("user", "remove", "leaver", "--delete-home", "--yes")
    assert not site.machine.exists("/home/leaver")
    assert site.machine.run(["getent", "passwd", "leaver"], check=False).returncode != 0


def test_the_list_says_who_may_sign_in_who_is_an_admin_and_whose_server_runs(site, bob):
    site.add_user("listed", PASSWORD)
    site.machine.add_account("unlisted", password=PASSWORD)
    found = {row["name"]: row for row in json.loads(site.manylab("user", "list", "--json").stdout)["users"]}
    assert found["bob"] == {"name": "bob", "admin": False, "servers": [""], "password": "set"}
    assert found["listed"] == {"name": "listed", "admin": False, "servers": [], "password": "set"}
    assert "unlisted" not in found and "root" not in found
    assert re.search(r"^listed +set$", site.manylab("user", "list").stdout, re.MULTILINE)
    refused = site.machine.run(["manylab", "user", "add", "mallory", "--generate"], user="bob", check=False)
    assert refused.returncode == 1 and "E-NEEDS-ROOT" in refused.stderr, "an ordinary account changes nothing"


# admins


def test_an_admin_has_the_admin_page_and_enters_others_servers_only_where_the_site_says_so(site, bob):
    site.add_user("ada", PASSWORD)
    document = site.machine.read("/etc/manylab/manylab.toml")
    site.machine.write("/etc/manylab/manylab.toml", f"# kept\n{document}", mode=0o600)
    site.manylab("user", "admin", "ada")
    text = site.machine.read("/etc/manylab/manylab.toml")
    assert text.startswith("# kept\n") and 'admins = ["ada"]' in text
    site.wait_until_it_answers()
    assert bob.get("hub/admin").status_code == 403
    with site.client("ada", PASSWORD) as ada:
        ada.sign_in()
        assert ada.get("hub/admin").status_code == 200
        assert ada.get("user/bob/api/status").status_code == 403
        assert ada.get("user/bob/lab").status_code == 403
        assert ada.api("POST", "users/bob/tokens", json={}).status_code in (403, 404)
        site.manylab("config", "set", "people.admin_access", "true")
        site.manylab("apply")
        site.wait_until_it_answers()
        assert bob.run("x") == "41", "his server and kernel went on"
        page = authorize(ada, ada.get("user/bob/lab"))
        assert page.status_code == 200 and "jupyter-config-data" in page.text
        assert opens_server(ada, "bob")
        site.wait_for_log("admin ada opens bob's server")
        assert bob.get("user/ada/lab").status_code in (403, 404), "nobody else may"
    site.manylab("user", "admin", "--off", "ada")
    site.wait_until_it_answers()
    with site.client("ada", PASSWORD) as ada:
        ada.sign_in()
        assert ada.get("hub/admin").status_code == 403
        assert ada.get("user/bob/lab").status_code == 403
    refused = site.manylab("user", "admin", "--json", "stranger", check=False)
    assert json.loads(refused.stdout)["error"]["code"] == "E-NOT-FOUND"


# the account that may run the service


NOT_FOR_OPERATORS = """\
id
sh -c id
manylab
manylab apply
manylab user add eve --generate
manylab uninstall --yes
manylab status --json
manylab stop --help
/srv/manylab/manylab status
systemctl stop manylab
-u bob id
-u bob manylab status
-E manylab status
MANYLAB_ROOT=/tmp/x manylab status
"""


def test_an_operator_starts_and_stops_the_service_through_sudo_and_does_nothing_else(site):
    machine = site.machine
    done = site.manylab("install", "--operator", "nobody-here", check=False)
    assert done.returncode == 1 and "no account 'nobody-here'" in done.stderr
    machine.add_account("op", password=PASSWORD)
    done = site.manylab("install", "--operator", "op", check=False)
    assert done.returncode == 1 and "apt install sudo" in done.stderr, "this machine has no sudo"
    machine.run(
        "export DEBIAN_FRONTEND=noninteractive; install='apt-get install -qq -y --no-install-recommends sudo';"
        " $install || { apt-get update -qq && $install; }"
    )
    machine.add_account("colleague", password=PASSWORD)
    site.manylab("install", "--operator", "op")
    assert machine.run("stat -c '%a %U:%G' /etc/sudoers.d/manylab").stdout == "440 root:root\n"
    machine.run(["visudo", "-cq"])

    def sudo(*words: str, user: str = "op", env: dict[str, str] | None = None) -> int:
        return machine.run(["sudo", "-n", *words], user=user, check=False, env=env, cwd="/", timeout=120).returncode

    assert sudo("manylab", "status") == 0
    assert sudo("manylab", "stop") == 0
    assert not site.answers()
    assert sudo("manylab", "status") == 3
    assert sudo("manylab", "start") == 0
    assert sudo("manylab", "restart") == 0
    assert site.answers()
    before = machine.run("cat /etc/passwd /etc/group /etc/manylab/manylab.toml").stdout
    for line in NOT_FOR_OPERATORS.splitlines():
        words = line.split()
        assert sudo(*words) == 1, words
        assert sudo(*words, user="colleague") == 1, words
    assert sudo("manylab", "stop", user="colleague") == 1
    # Nothing that the operator sets reaches root: neither the interpreter's variables nor another root folder.
    machine.write("/tmp/evil/manylab/__init__.py", "open('/tmp/owned', 'w')\n")
    assert (
        sudo(
            "manylab", "status", env={"PYTHONPATH": "/tmp/evil", "MANYLAB_ROOT": "/tmp/evil", "PYTHONHOME": "/tmp/evil"}
        )
        == 0
    )
    assert not machine.exists("/tmp/owned")
    assert machine.run("cat /etc/passwd /etc/group /etc/manylab/manylab.toml").stdout == before
    assert site.answers()
