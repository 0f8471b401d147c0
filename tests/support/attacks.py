"""What somebody with an ordinary account can try against others on the same machine; standard library only.

It is sent to the machine and run there as that account (`Pair.attack`), or inside their own kernel. Each function does
one thing and says how it ended; it is for the tests to say how it should end.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import sys
import time

WORKED = "worked"


def _tried(action):
    """WORKED, or the name of the error: "EACCES", "ENOENT"..."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return WORKED


# sockets


def connect(address):
    """To a unix socket: a path, or "@name" for an abstract one."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(5)
        return _tried(lambda: one.connect("\0" + address[1:] if address.startswith("@") else address))


def connect_tcp(port):
    with socket.socket() as one:
        one.settimeout(5)
        return _tried(lambda: one.connect(("127.0.0.1", port)))


def sockets_of(pids):
    """Where these processes listen: {"tcp": [port], "unix": [path or "@name"]}. For root."""
    inodes = set()
    for pid in pids:
        for entry in listing(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(f"/proc/{pid}/fd/{entry}").removeprefix("socket:[").removesuffix("]"))
    found = {"tcp": [], "unix": []}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in _rows(path):
            if row[3] == "0A" and row[9] in inodes:
                found["tcp"].append(int(row[1].rpartition(":")[2], 16))
    for row in _rows("/proc/net/unix"):
        if row[6] in inodes and int(row[3], 16) & 0x10000:  # it accepts connections
            found["unix"].append(row[7] if len(row) > 7 else "")
    return found


def _rows(path):
    with open(path) as file:
        return [line.split() for line in file.read().splitlines()[1:]]


def say(address, text, timeout=10.0, times=1):
    """Send something (so many times) to a unix socket or a port and hear what comes back, at most 100 kB."""
    kind = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(kind) as one:
        one.settimeout(timeout)
        try:
            one.connect(("127.0.0.1", address) if isinstance(address, int) else address)
            one.sendall(text.encode() * times)
            heard = b""
            while len(heard) < 100_000 and (data := one.recv(65536)):
                heard += data
        except TimeoutError:
            pass
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
    return heard.decode(errors="replace")


def debug(port, expression, timeout=10.0):
    """Speak to a port as a debugger does: the value of an expression there, or how it ended ("closed")."""
    with socket.socket() as one:
        one.settimeout(timeout)
        try:
            one.connect(("127.0.0.1", port))
            with one.makefile("rwb") as file:
                return _evaluated(file, expression)
        except (ConnectionResetError, BrokenPipeError):
            return "closed"
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))


def _evaluated(file, expression):
    """What the debug adapter protocol makes of it."""

    def ask(command, **arguments):
        body = json.dumps({"seq": 1, "type": "request", "command": command, "arguments": arguments}).encode()
        file.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        file.flush()

    ask("initialize", clientID="eve", adapterID="")
    ask("attach", justMyCode=False)
    while head := file.readline():
        file.readline()
        said = json.loads(file.read(int(head.split(b":")[1])))
        if said.get("event") == "initialized":
            ask("configurationDone")
        elif said.get("command") == "attach" and said["success"]:
            ask("evaluate", expression=expression, context="repl")
        elif said["type"] == "response" and (not said["success"] or said["command"] == "evaluate"):
            return said["body"]["result"] if said["success"] else said.get("message")
    return "closed"


def hold(address, count, begin=""):
    """Connections that say how they begin and no more; prints how many there are, and keeps them while it runs."""
    kind = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    to = ("127.0.0.1", address) if isinstance(address, int) else address
    held = []
    with contextlib.suppress(OSError):
        while len(held) < count:
            one = socket.socket(kind)
            one.settimeout(5)
            held.append(one)
            one.connect(to)
            one.sendall(begin.encode())
    print(json.dumps(len(held)), flush=True)
    signal.pause()


# files


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode(errors="replace")
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def write(path, text=""):
    def act():
        with open(path, "w") as file:
            file.write(text)

    return _tried(act)


def listing(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def remove(path):
    return _tried(lambda: os.unlink(path))


def rename(path, to):
    return _tried(lambda: os.rename(path, to))


def make_folder(path):
    return _tried(lambda: os.mkdir(path))


def mode(path):
    return oct(os.stat(path).st_mode & 0o7777)


def search(secrets, folders):
    """Where these texts can be read: {secret: [places]}. Arguments, environments and files, links not followed."""
    found = {}

    def look(place, data):
        for secret in secrets:
            if secret.encode() in data:
                found.setdefault(secret, []).append(place)

    own = {os.getpid(), os.getppid()}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in own:
            for file in ("cmdline", "environ", "comm", "status", "mountinfo"):
                look(f"/proc/{name}/{file}", _content(f"/proc/{name}/{file}"))
    for folder in folders:
        for above, _, files in os.walk(folder):
            for file in files:
                path = os.path.join(above, file)
                look(path, path.encode(errors="replace") + b"\0" + _content(path))
    return found


def _content(path):
    with contextlib.suppress(OSError):
        if path.startswith("/proc/") or os.path.isfile(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(64 << 20)
    return b""


# processes


def search_memory(pids, secrets):
    """Which of these texts are in the memory of which process: {pid: [secrets]}. For root, or one's own processes."""
    found = {}
    for pid in pids:
        here = set()
        try:
            with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
                for line in maps:
                    addresses, rights = line.split()[:2]
                    start, end = (int(number, 16) for number in addresses.split("-"))
                    if "r" not in rights or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                        continue
                    with contextlib.suppress(OSError, ValueError, OverflowError):
                        memory.seek(start)
                        data = memory.read(end - start)
                        here |= {secret for secret in secrets if secret.encode() in data}
        except OSError as error:
            found[str(pid)] = errno.errorcode.get(error.errno, str(error))
        else:
            found[str(pid)] = sorted(here)
    return found


class _Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def _system_call(function, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), function)


def _read_memory(pid, address):
    space = ctypes.create_string_buffer(16)
    here = _Part(ctypes.addressof(space), 16)
    there = _Part(address, 16)
    _system_call("process_vm_readv", pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)


def _attach(pid):
    _system_call("ptrace", 16, pid, None, None)  # PTRACE_ATTACH
    os.waitpid(pid, 0)
    _system_call("ptrace", 17, pid, None, None)  # PTRACE_DETACH


def _steal_descriptor(pid):
    descriptor = os.pidfd_open(pid)
    try:
        _system_call("syscall", 438, descriptor, 0, 0)  # pidfd_getfd
    finally:
        os.close(descriptor)


def _first_mapping(pid):
    try:
        with open(f"/proc/{pid}/maps") as maps:
            return int(maps.readline().partition("-")[0], 16)
    except OSError:
        return 0x400000


def molest(pid):
    """Everything that one process can do to another: {what: how it ended}."""
    files = ("environ", "maps", "mem", "auxv", "io", "stack", "syscall", "personality", "smaps", "pagemap", "wchan")
    found = {f"read {name}": _tried(lambda name=name: open(f"/proc/{pid}/{name}", "rb").read(1)) for name in files}
    found["read wchan"] = WORKED if _content(f"/proc/{pid}/wchan") not in (b"", b"0") else "nothing"
    # The memory itself, at an address that is there; nothing is at 0.
    address = _first_mapping(pid)

    def mem(flags):
        descriptor = os.open(f"/proc/{pid}/mem", flags)
        try:
            os.pread(descriptor, 1, address) if flags == os.O_RDONLY else None
        finally:
            os.close(descriptor)

    found["read mem"] = _tried(lambda: mem(os.O_RDONLY))
    found["write mem"] = _tried(lambda: mem(os.O_RDWR))
    found["process_vm_readv"] = _tried(lambda: _read_memory(pid, address))
    found["ptrace"] = _tried(lambda: _attach(pid))
    found["pidfd_getfd"] = _tried(lambda: _steal_descriptor(pid))
    for name in ("cwd", "exe", "root", "ns/mnt", "ns/net"):
        found[f"link {name}"] = _tried(lambda name=name: os.readlink(f"/proc/{pid}/{name}"))
    found["list fd"] = _tried(lambda: os.listdir(f"/proc/{pid}/fd"))
    found["list cwd"] = _tried(lambda: os.listdir(f"/proc/{pid}/cwd/"))
    found["list root/tmp"] = _tried(lambda: os.listdir(f"/proc/{pid}/root/tmp"))
    found["oom_score_adj"] = _tried(lambda: open(f"/proc/{pid}/oom_score_adj", "w").write("1000"))
    found["nice"] = _tried(lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    found["affinity"] = _tried(lambda: os.sched_setaffinity(pid, {0}))
    found["SIGCONT"] = _tried(lambda: os.kill(pid, signal.SIGCONT))
    found["SIGTERM"] = _tried(lambda: os.kill(pid, signal.SIGTERM))
    return found


def molest_own():
    """The same to a process of one's own, where all of it is allowed: a child, so that Yama allows it too."""
    import subprocess

    with subprocess.Popen(["sleep", "60"]) as child:
        time.sleep(0)  # exec happened before Popen returned
        return molest(child.pid)


def _keys(call: int, *words: object) -> int:
    """keyctl(2) or add_key(2) of x86-64, or minus the error's number."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(call, *(ctypes.c_long(word) if isinstance(word, int) else word for word in words))
    return int(done) if done >= 0 else -ctypes.get_errno()


def key_put(name: str, secret: str) -> str:
    """A key into the session keyring of this process, as kinit puts a ticket there."""
    text = secret.encode()
    done = _keys(248, b"user", name.encode(), text, len(text), -3)
    return WORKED if done > 0 else errno.errorcode[-done]


def key_get(name: str) -> str:
    """What a key in the session keyring holds."""
    found = _keys(250, 10, -3, b"user", name.encode(), 0)
    if found < 0:
        return errno.errorcode[-found]
    text = ctypes.create_string_buffer(200)
    size = _keys(250, 11, found, text, 200)
    return text.raw[:size].decode() if size >= 0 else errno.errorcode[-size]


def keys_of_one_session(first: int, second: int) -> str:
    """What the second account reads of the first one's in a session keyring that both were given. As root."""
    _keys(250, 1, 0)
    if os.fork() == 0:
        os.setresuid(first, first, first)
        key_put("ticket", "alice's")
        os._exit(0)
    os.wait()
    os.setresuid(second, second, second)
    return key_get("ticket")


if __name__ == "__main__":
    answer = globals()[sys.argv[1]](*json.loads(sys.argv[2]))
    if answer is not None:
        print(json.dumps(answer))
