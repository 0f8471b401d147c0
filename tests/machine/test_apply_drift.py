"""`apply` again and again, and what somebody changed by hand: `plan` shows it and touches nothing, `apply` mends it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.build import SMALL
from support.client import Client
from support.looking import FOLDERS, ask, changed, in_memory, planned, tree
from support.site import Site

PASSWORD = "wonderland 1865"
# Downloads of the installer, the log that the launcher starts anew, and the hub's database.
NOT_COMPARED = ("/opt/manylab/cache", "/opt/manylab/tool", "/var/lib/manylab/hub")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Installed under systemd, with alice in it; small, so that a damaged environment is built again in seconds."""
    with Site("bookworm", config=SMALL, machine=in_memory("bookworm", "systemd", small=True)) as one:
        one.install()
        one.add_user("alice", PASSWORD)
        yield one


@pytest.fixture(scope="module")
def alice(site) -> Iterator[Client]:
    """Her Lab with a kernel that remembers something."""
    with site.client("alice", PASSWORD) as client:
        client.sign_in()
        client.open_lab()
        client.run("kept = 42")
        yield client


def test_a_second_apply_changes_nothing(site, capsys, record_property):
    before = tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)
    began = time.monotonic()
    done = ask(site, "apply")
    seconds = time.monotonic() - began
    assert done["changes"] == [] and done["generation"] is None
    assert changed(before, tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)) == {}
    record_property("second apply, seconds", round(seconds, 2))
    with capsys.disabled():
        print(f"\nsecond apply: {seconds:.2f} s, of which the command itself {done['seconds']} s")


UNIT = "/etc/systemd/system/manylab-hub.service"
DRIFT = {
    f"sed -i s/^RestartSec=1/RestartSec=9/ {UNIT}": (f"file {UNIT}", "-RestartSec=9"),
    "chmod 0666 /var/lib/manylab/rendered/warden.json": (
        "file /var/lib/manylab/rendered/warden.json",
        "mode is 0666, should be 0600",
    ),
    "chown nobody /var/lib/manylab/rendered/hub.json": (
        "file /var/lib/manylab/rendered/hub.json",
        "owner is nobody, should be root",
    ),
    "chmod 0777 /opt/manylab/envs": ("directory /opt/manylab/envs", "mode is 0777, should be 0755"),
    "sed -i '1i auth sufficient pam_permit.so' /etc/pam.d/manylab": (
        "file /etc/pam.d/manylab",
        "-auth sufficient pam_permit.so",
    ),
    "ln -sfn elsewhere /opt/manylab/envs/server/current": (
        "link /opt/manylab/envs/server/current",
        "points to elsewhere",
    ),
    "rm /usr/local/bin/manylab && cp /bin/true /usr/local/bin/manylab": (
        "link /usr/local/bin/manylab",
        "is something else",
    ),
    "rm -r /opt/manylab/envs/default/current/lib/python3*/site-packages/traitlets": (
        "environment default",
        "is incomplete",
    ),
    "chmod 0644 /var/lib/manylab/proxy/token.env": ("secret proxy token", "can be read by others"),
    "rm /etc/profile.d/manylab.sh": ("file /etc/profile.d/manylab.sh", None),
    "mv /opt/manylab/share/jupyter/kernels/python3/kernel.json /root/ && ln -s /root/kernel.json "
    "/opt/manylab/share/jupyter/kernels/python3/kernel.json": (
        "file /opt/manylab/share/jupyter/kernels/python3/kernel.json",
        "is something else",
    ),
    "gpasswd --delete manylab manylab-proxy": ("account manylab", "not in group manylab-proxy"),
    "systemctl disable manylab": ("service manylab", "enabled is no, should be yes"),
}


def test_plan_shows_what_somebody_changed_by_hand_and_apply_mends_it(site, alice):
    for command in DRIFT:
        site.machine.run(command)
    before = tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)
    found = planned(site)
    assert changed(before, tree(site.machine, *FOLDERS, ignore=NOT_COMPARED)) == {}, "plan touches nothing"
    for command, (key, why) in DRIFT.items():
        assert key in found, f"plan does not see: {command}"
        assert why is None or any(why in line for line in found[key]), (command, found[key])
    assert found.keys() == {key for key, _ in DRIFT.values()}, "and nothing else"
    text = site.manylab("plan").stdout
    assert f"~ file {UNIT}" in text and "to update" in text

    done = ask(site, "apply")
    assert {change["resource"] for change in done["changes"]} >= found.keys()
    assert planned(site) == {}
    assert "RestartSec=1" in site.machine.read(UNIT)
    assert "pam_permit" not in site.machine.read("/etc/pam.d/manylab")
    assert (
        "NeedDaemonReload=no" in site.machine.run(["systemctl", "show", "-p", "NeedDaemonReload", "manylab-hub"]).stdout
    )
    site.wait_until_it_answers()
    assert alice.run("kept") == "42", "people's kernels go on"
    assert alice.server("GET", "api/kernelspecs").json()["kernelspecs"].keys() == {"python3"}


def test_a_part_that_was_stopped_by_hand_is_started_again(site):
    site.machine.run(["systemctl", "stop", "manylab-hub"])
    assert planned(site) == {"service manylab-hub": ["running is no, should be yes"]}
    ask(site, "apply")
    site.wait_until_it_answers()
    assert planned(site) == {}


def test_after_a_reboot_there_is_nothing_to_change(site):
    site.machine.reboot()
    site.wait_until_it_answers()
    assert planned(site) == {}
