"""A kernel that speaks TCP and nothing else, as many do that are not written in Python. Run: PYTHON tcp_kernel.py FILE

What it answers to a cell is {"python": its interpreter, "path": its PATH, "transport": ..., "size": of the cell}.
"""

import hashlib
import hmac
import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path

import zmq

CONTEXT = zmq.Context()
INFO: dict = {}


def bind(kind, name):
    socket = CONTEXT.socket(kind)
    socket.bind(f"tcp://{INFO['ip']}:{INFO[name]}")
    return socket


def signature(parts):
    made = hmac.new(INFO["key"].encode(), digestmod=hashlib.sha256)
    for part in parts:
        made.update(part)
    return made.hexdigest().encode()


def send(socket, kind, content, parent, ids):
    header = {**parent, "msg_id": uuid.uuid4().hex, "msg_type": kind, "version": "5.3", "date": time.strftime("%FT%TZ")}
    parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
    socket.send_multipart([*ids, b"<IDS|MSG>", signature(parts), *parts])


def answer(socket, iopub):
    message = socket.recv_multipart()
    cut = message.index(b"<IDS|MSG>")
    ids, signed, parts = message[:cut], message[cut + 1], message[cut + 2 : cut + 6]
    if not hmac.compare_digest(signed, signature(parts)):
        return
    header, content = json.loads(parts[0]), json.loads(parts[3])
    kind = header["msg_type"]
    send(iopub, "status", {"execution_state": "busy"}, header, [b"status"])
    reply = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
    if kind == "kernel_info_request":
        language = {"name": "tcp", "version": "1", "mimetype": "text/plain", "file_extension": ".txt"}
        reply |= {"protocol_version": "5.3", "implementation": "tcp", "language_info": language, "banner": ""}
    elif kind == "execute_request":
        found = {"python": sys.executable, "path": os.environ["PATH"], "transport": INFO["transport"]}
        text = json.dumps({**found, "size": len(content["code"])})
        send(iopub, "stream", {"name": "stdout", "text": text}, header, [b"stream"])
    send(socket, kind.replace("_request", "_reply"), reply, header, ids)
    send(iopub, "status", {"execution_state": "idle"}, header, [b"status"])
    if kind == "shutdown_request":
        time.sleep(0.2)
        os._exit(0)


def main():
    INFO.update(json.loads(Path(sys.argv[1]).read_text()))
    if INFO["transport"] != "tcp":
        sys.exit(f"this kernel speaks tcp, and not {INFO['transport']}")
    shell, control = bind(zmq.ROUTER, "shell_port"), bind(zmq.ROUTER, "control_port")
    stdin, heart = bind(zmq.ROUTER, "stdin_port"), bind(zmq.REP, "hb_port")
    iopub = bind(zmq.PUB, "iopub_port")
    threading.Thread(target=zmq.proxy, args=(heart, heart), daemon=True).start()
    poller = zmq.Poller()
    for socket in (shell, control):
        poller.register(socket, zmq.POLLIN)
    while not stdin.closed:
        for ready, _ in poller.poll():
            answer(ready, iopub)


if __name__ == "__main__":
    main()
