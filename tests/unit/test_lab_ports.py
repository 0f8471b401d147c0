"""Who listens on a port, as the kernel says and as its tables say, and whom a connection may come to."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from manylab.lab import ports
from manylab.lab.ports import Listener

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:494D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 99 1 0 100 0 0 10 0
   1: 00000000:494D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 98 1 0 100 0 0 10 0
   2: 0100007F:494E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 97 1 0 100 0 0 10 0
   3: 0100007F:494D 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1003        0 96 1 0 20 4 30 10 -1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000001000000:494D 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 \
00000000  1000        0 95 1 0 100 0 0 10 0
"""
little_endian = pytest.mark.skipif("sys.byteorder != 'little'", reason="the tables are of a little-endian machine")


@pytest.fixture
def listening():
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))
        here.listen()
        yield here.getsockname()[1]


def test_the_kernel_names_the_listeners_of_a_port_and_their_accounts(listening):
    assert ports.listeners(listening) == [Listener(ip_address("127.0.0.1"), os.geteuid())]


def test_where_it_does_not_its_tables_say_the_same(listening, monkeypatch):
    monkeypatch.setattr(ports, "_SOCK_DIAG", 31)  # a protocol that nobody has
    assert ports.listeners(listening) == [Listener(ip_address("127.0.0.1"), os.geteuid())]
    monkeypatch.setattr(ports, "_TABLES", (Path("/nonexistent"), Path("/nonexistent")))
    with pytest.raises(OSError, match="nonexistent"):
        ports.listeners(listening)


def test_a_connection_is_no_listener_and_a_port_without_one_has_none():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert ports.listeners(client.getsockname()[1]) == []


@little_endian
def test_the_tables_are_read_port_by_port():
    found = ports.in_table(TCP, 18765)
    assert found == [Listener(ip_address("127.0.0.1"), 1000), Listener(ip_address("0.0.0.0"), 1001)]
    assert ports.in_table(TCP, 18766) == [Listener(ip_address("127.0.0.1"), 1002)]
    assert ports.in_table(TCP6, 18765) == [Listener(ip_address("::1"), 1000)]
    assert ports.in_table("", 18765) == []


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ("127.0.0.1", {"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"}),
        ("0.0.0.0", {"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"}),
        ("::ffff:127.0.0.1", {"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"}),
        ("127.0.0.2", {"127.0.0.2", "0.0.0.0", "::", "::ffff:0.0.0.0"}),
        ("::1", {"::1", "::"}),
        ("::", {"::1", "::"}),
    ],
)
def test_a_connection_comes_to_its_address_or_to_who_listens_on_all(target, reached):
    everywhere = ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0")
    found = [Listener(ip_address(address), 1000) for address in everywhere]
    assert {str(one.address) for one in ports.reaching(found, ip_address(target))} == {
        str(ip_address(address)) for address in reached
    }


def test_loopback_is_this_machine_and_an_address_of_the_documentation_is_not():
    assert ports.of_this_machine(socket.AF_INET, ("127.0.0.1", 80))
    assert ports.of_this_machine(socket.AF_INET, ("127.9.9.9", 80))
    assert ports.of_this_machine(socket.AF_INET6, ("::1", 80, 0, 0))
    assert not ports.of_this_machine(socket.AF_INET, ("192.0.2.1", 80))
