"""What the conformance application is on any interface of Python: words, records, gates, scripts. See spec/APPLICATION.md.

`wsgi.py` and `asgi.py` add what their interface is about. Nothing here needs more than the standard library.
"""

import os
import sys
import threading
import time
import zlib
from array import array
from functools import lru_cache

TOKEN, DO, CONTROL, MARK = (
    "x-conformance-token",
    "x-conformance-do",
    "x-conformance-control",
    "x-conformance-application",
)
# Octets of a body that a record holds.
RECORDED = 512
# How long `wait` waits at most, in seconds.
PATIENCE = 60


def encode(octets):
    """Octets (or text, which is UTF-8) as one word."""
    octets = octets.encode() if isinstance(octets, str) else octets
    return "".join(chr(octet) if 0x20 < octet < 0x7F and octet not in b"%;" else f"%{octet:02X}" for octet in octets)


def decode(word):
    """The octets of a word; a % that begins no triplet is itself."""
    first, *rest = word.encode("latin-1").split(b"%")
    octets = [first]
    for piece in rest:
        try:
            octets.append(bytes.fromhex(piece[:2].decode("ascii")) if len(piece) > 1 else b"%")
            octets.append(piece[2:] if len(piece) > 1 else piece)
        except ValueError:
            octets.append(b"%" + piece)
    return b"".join(octets)


@lru_cache(8)
def pattern(length):
    """The octets in which a shifted or repeated piece shows: the words i * 0x9E3779B1, little end first."""
    words = array("I", ((index * 0x9E3779B1) & 0xFFFFFFFF for index in range(length // 4 + 1)))
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()[:length]


class Sum:
    """A body seen piece by piece."""

    def __init__(self):
        self.length, self.sum, self.first = 0, 0, b""

    def add(self, octets):
        self.length += len(octets)
        self.sum = zlib.crc32(octets, self.sum)
        self.first += octets[: RECORDED - len(self.first)]

    def data(self):
        return f"read-data {encode(self.first)}"

    def end(self):
        return f"read-end {self.length} {self.sum:08x}"


class Record:
    """All there is under one token."""

    def __init__(self):
        self.calls, self.events, self.gates, self.ended, self.waiting = 0, [], set(), False, []

    def count(self, prefix):
        return sum(text == prefix or text.startswith(prefix + " ") for _, _, text in self.events)


class Records:
    """What was seen, until somebody asks. For any number of threads and event loops, in one process."""

    def __init__(self):
        self.lock, self.by_token = threading.Lock(), {}

    def change(self, token, change):
        """`change(record)`, and then wakes who waited for that."""
        with self.lock:
            record = self.by_token.setdefault(token, Record())
            result = change(record)
            woken = [wake for reached, wake in record.waiting if reached(record)]
            record.waiting = [entry for entry in record.waiting if not entry[0](record)]
        for wake in woken:
            wake()
        return result

    def when(self, token, reached, wake):
        """Calls `wake()` once `reached(record)`, from any thread."""
        self.change(token, lambda record: record.waiting.append((reached, wake)))

    def begin(self, token):
        """The number of the next call."""

        def next_call(record):
            record.calls += 1
            return record.calls - 1

        return Log(self, token, self.change(token, next_call))

    def report(self, token):
        with self.lock:
            events = list(self.by_token.get(token, Record()).events)
        return "".join(f"{call}\t{thread}\t{text}\n" for call, thread, text in events)

    def end(self, token):
        """Nobody asks any more: whoever waits goes on, and the events are forgotten."""

        def forget(record):
            record.ended, record.events = True, []

        self.change(token, forget)


class Log:
    """Where one call writes down what happens to it."""

    def __init__(self, records, token, call):
        self.records, self.token, self.call = records, token, call

    def record(self, *texts):
        thread = threading.current_thread()
        events = [(self.call, f"{thread.name} {thread.ident}", text) for text in texts]
        self.records.change(self.token, lambda record: record.ended or record.events.extend(events))

    def is_over(self):
        """Whether nobody asks any more."""
        with self.records.lock:
            return self.records.by_token[self.token].ended

    def when_open(self, gate, wake):
        """Calls `wake()` once the client has opened `gate`; a gate of no name opens at the end of the case."""
        if gate is not None:
            self.record(f"at {gate}")
        self.records.when(self.token, lambda record: record.ended or gate in record.gates, wake)


def steps(script):
    """The steps of a script, each a name and its words, still encoded."""
    split = (step.split() for step in script.split(";"))
    return [(step[0], step[1:]) for step in split if step]


def items(words):
    """The items of a body, each a kind and what follows it."""
    for word in words:
        kind, _, rest = word.partition(":")
        if kind == "times":
            count, _, item = rest.partition(":")
            for _ in range(int(count)):
                yield from items([item])
        elif kind == "forever":
            while True:
                yield from items([rest])
        else:
            yield kind, rest


def data(kind, rest):
    """The octets of an item that has some, else `None`."""
    if kind == "text":
        return decode(rest)
    if kind == "size":
        return pattern(int(rest))
    return b"" if kind == "empty" else None


ITEMS = ["text", "size", "empty", "gate", "sleep", "pending", "error", "panic", "times", "forever"]


class Failed(Exception):
    """An error that a script asked for."""


def head(method, target, version, fields, facts):
    """The events of a call: all that is known of the request's head."""
    path, mark, query = target.partition(b"?")
    if b"://" in path:
        path = b"/" + path.split(b"://", 1)[1].partition(b"/")[2]
    told = [f"call {encode(method)} {encode(target)} {version}", f"path {encode(path)}"]
    if mark:
        told.append(f"query {encode(query)}")
    told += [f"header {encode(name)} {encode(value)}" for name, value in fields]
    told += [f"env {name} {encode(value)}" for name, value in facts.items()]
    return told


def may_have_length(status, headers):
    """Whether the application names the length of its body, as a framework does."""
    return status not in (204, 304) and status >= 200 and not any(name.lower() == "content-length" for name, _ in headers)


def about(name, version, interface, words):
    """The answer to `about`. What the operator knows of the server is in the environment: `CONFORMANCE_SERVER`,
    `CONFORMANCE_CAPABILITIES` (words with blanks between), and `CONFORMANCE_SETTINGS` (`NAME=ADDRESS`, likewise)."""
    lines = ["contract 1", f"server {os.environ.get('CONFORMANCE_SERVER', name)}", f"version {version}"]
    lines.append(f"interface {interface}")
    lines += [f"capability {word} true" for word in os.environ.get("CONFORMANCE_CAPABILITIES", "").split()]
    for setting in os.environ.get("CONFORMANCE_SETTINGS", "").split():
        lines.append("setting {} {}".format(*setting.split("=", 1)))
    lines += [f"{kind} {word}" for kind in words for word in words[kind]]
    return "".join(line + "\n" for line in lines)


def asked(words):
    """The arguments of `wait`, and its time in seconds."""
    token, count, prefix = words[0], int(words[1]), decode(words[2]).decode()
    return token, count, prefix, min(float(words[3]) / 1000 if len(words) > 3 else PATIENCE, PATIENCE)


def at_once(records, name, words):
    """The answer to a control request that needs no waiting, else `None`."""
    if name == "report":
        return records.report(words[0])
    if name == "open":
        records.change(words[0], lambda record: record.gates.add(words[1]))
        return ""
    if name == "end":
        for token in words:
            records.end(token)
        return ""
    # No lint: nothing was seen to be wrong.
    return "" if name == "violations" else None


def slept(started):
    """The event of a sleep that began then."""
    return f"slept {int((time.monotonic() - started) * 1000)}"
