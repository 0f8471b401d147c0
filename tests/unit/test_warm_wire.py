"""Lines between a server, a nursery and the warden."""

from __future__ import annotations

import socket
import threading

import pytest

from manylab.warm import wire


class Slow(socket.socket):
    """A socket whose owner is not scheduled between two system calls: the other end answers and goes first."""

    def sendmsg(self, *words):
        sent = super().sendmsg(*words)
        assert super().recv(16, socket.MSG_PEEK)
        answered.wait(5)
        return sent


answered = threading.Event()


def test_an_answer_counts_although_the_other_end_has_closed_when_the_question_is_sent():
    one, other = socket.socketpair()
    asker = Slow(fileno=one.detach())

    def answer() -> None:
        conversation = wire.Conversation(other)
        conversation.receive()
        conversation.send({"ok": True})
        other.close()
        answered.set()

    thread = threading.Thread(target=answer)
    thread.start()
    with asker:
        conversation = wire.Conversation(asker)
        conversation.send({"do": "place"})
        assert conversation.receive() == ({"ok": True}, [])
        with pytest.raises(OSError, match="Broken pipe"):
            conversation.send({"do": "more"})
    thread.join()
