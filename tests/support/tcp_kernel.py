"""A kernel that speaks TCP and nothing else, as many do that are not written in Python. Run: PYTHON tcp_kernel.py FILE

What it answers to a cell is {"python": its interpreter, "path": its PATH, "code": the cell, "transport": ...}.
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

INFO = json.loads(Path(sys.argv[1]).read_text())
if INFO["transport"] != "tcp":
    sys.exit(f"this kernel speaks tcp, and not {INFO['transport']}")
CONTEXT = zmq.Context()


def bind(kind, name):
    socket = CONTEXT.socket(kind)
    socket.bind(f"tcp://{INFO['ip']}:{INFO[name]}")
    return socket


def beat():
    zmq.proxy(HEART, HEART)


SHELL, CONTROL = bind(zmq.ROUTER, "shell_port"), bind(zmq.ROUTER, "control_port")
bind(zmq.ROUTER, "stdin_port")
IOPUB, HEART = bind(zmq.PUB, "iopub_port"), bind(zmq.REP, "hb_port")
threading.Thread(target=beat, daemon=True).start()


def signature(parts):
    made = hmac.new(INFO["key"].encode(), digestmod=hashlib.sha256)
    for part in parts:
        made.update(part)
    return made.hexdigest().encode()


def send(socket, kind, content, parent, ids):
    header = {**parent, "msg_id": uuid.uuid4().hex, "msg_type": kind, "version": "5.3", "date": time.strftime("%FT%TZ")}
    parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
    socket.send_multipart([*ids, b"<IDS|MSG>", signature(parts), *parts])


def answer(socket):
    message = socket.recv_multipart()
    cut = message.index(b"<IDS|MSG>")
    ids, signed, parts = message[:cut], message[cut + 1], message[cut + 2 : cut + 6]
    if not hmac.compare_digest(signed, signature(parts)):
        return
    header, content = json.loads(parts[0]), json.loads(parts[3])
    kind = header["msg_type"]
    send(IOPUB, "status", {"execution_state": "busy"}, header, [b"status"])
    reply = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
    if kind == "kernel_info_request":
        language = {"name": "tcp", "version": "1", "mimetype": "text/plain", "file_extension": ".txt"}
        reply |= {"protocol_version": "5.3", "implementation": "tcp", "language_info": language, "banner": ""}
    elif kind == "execute_request":
        found = {"python": sys.executable, "path": os.environ["PATH"], "transport": INFO["transport"]}
        text = json.dumps({**found, "code": content["code"], "size": len(content["code"])})
        send(IOPUB, "stream", {"name": "stdout", "text": text}, header, [b"stream"])
    send(socket, kind.replace("_request", "_reply"), reply, header, ids)
    send(IOPUB, "status", {"execution_state": "idle"}, header, [b"status"])
    if kind == "shutdown_request":
        time.sleep(0.2)
        os._exit(0)


POLLER = zmq.Poller()
POLLER.register(SHELL, zmq.POLLIN)
POLLER.register(CONTROL, zmq.POLLIN)
while True:
    for ready, _ in POLLER.poll():
        answer(ready)
