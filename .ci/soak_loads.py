"""The clients of .ci/soak: each act is one connection, or a burst of them, checked octet by octet, and told to the ledger.

What the server counts of a client that vanishes depends on when it notices. So that all others can be counted exactly, clients that vanish have
labels of their own: the method PATCH, and HTTP/1.0 over TLS.
"""

import base64
import collections
import hashlib
import random
import select
import socket
import ssl
import struct
import threading
import time

from clients import ANY, Lost, connect_to, frame

# For one answer: above all the time limits of the server, and a stop.
PATIENCE = 60
# What the server is started with, in seconds; more than the clock steps forward in a stop, and than a slow client takes.
LIMIT = 10
STALLED = 4.5 * LIMIT
CONNECTIONS = 100
BODY = 4 << 20
BLOCK = random.Random(1).randbytes(BODY)
FILE = (bytes(range(251)) * ((8 << 20) // 251 + 1))[: 8 << 20]
SECURED = ssl.create_default_context()
SECURED.check_hostname, SECURED.verify_mode = False, ssl.CERT_NONE
SECURED.set_alpn_protocols(["h2"])


class LetGo(Exception):
    """The server has closed a connection on which nothing was asked for, which it may where others wait for a place: also one whose request is
    on its way, or whose handshake is, after a second. The server says how many it has closed so, and there must not be more of them.
    """


class Starved(Exception):
    """This process had no processor for so long that the server may have given the client up: nobody's fault, and nothing to compare."""


class Ledger:
    """What the clients know was done, and what was wrong."""

    def __init__(self):
        self.lock, self.counts, self.wrong = threading.Lock(), collections.Counter(), []

    def add(self, *key, count=1):
        with self.lock:
            self.counts[key] += count

    def complain(self, text):
        with self.lock:
            self.wrong.append(text)


class World:
    """A server as its clients have it, for one period."""

    def __init__(self, ports, has_http2, rate, until, is_restarted):
        # Where the server is replaced meanwhile, a part of a head is nothing that is waited for.
        self.is_restarted = is_restarted
        self.ports, self.has_http2, self.ledger, self.until = ports, has_http2, Ledger(), until
        self.lock, self.interval, self.next, self.files = threading.Lock(), 1 / rate, time.monotonic(), 0
        # While descriptors run out, nothing is asked for that needs one.
        self.is_scarce = False

    def pace(self):
        with self.lock:
            now = time.monotonic()
            slot = max(now, self.next)
            self.next = slot + self.interval
        time.sleep(slot - now)

    def left(self):
        return self.until - time.monotonic()

    def begin_file(self):
        with self.lock:
            self.files += not self.is_scarce
            return not self.is_scarce

    def end_file(self):
        with self.lock:
            self.files -= 1

    def scarce(self, is_scarce):
        """Waits for those who have asked for a file by then."""
        with self.lock:
            self.is_scarce = is_scarce
        until = time.monotonic() + PATIENCE
        while is_scarce and self.files and time.monotonic() < until:
            time.sleep(0.01)


class Corrupted(Lost):
    """Octets that nobody has sent: no want of time explains them."""


def expect(actual, expected, what):
    if actual != expected:
        if isinstance(actual, bytes) and len(actual) == len(expected):
            at = next(at for at in range(len(actual)) if actual[at] != expected[at])
            raise Corrupted(f"{what}: octet {at} of {len(actual)} is {actual[at]}, not {expected[at]}")
        show = lambda value: value[:80] + f"… ({len(value)})".encode() if isinstance(value, bytes) and len(value) > 80 else value
        raise Lost(f"{what}: {show(actual)!r}, not {show(expected)!r}")


Answer = collections.namedtuple("Answer", "interim status version fields body")


class Peer:
    """A connection, and what was read ahead."""

    def __init__(self, world, secure=False, context=ANY, buffer=None):
        self.world, self.buffer, self.asked, self.secure = world, b"", "", secure
        # Whether anything of an answer has come, on this connection or, in HTTP/2, in this round.
        self.is_answered = False
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", world.ports[secure]))
        world.ledger.add("opened")
        if secure:
            try:
                self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
            except (ssl.SSLEOFError, ConnectionError) as why:
                self.socket.close()
                raise LetGo from why
            world.ledger.add("handshakes", "done")

    def __enter__(self):
        return self

    def __exit__(self, kind, why, _):
        self.socket.close()
        if isinstance(why, (Lost, OSError)):
            if not self.is_answered and not isinstance(why, (Corrupted, TimeoutError)):
                raise LetGo from why
            kind = type(why) if isinstance(why, Lost) else Lost
            raise kind(f"{why if isinstance(why, Lost) else repr(why)}; asked {self.asked!r}") from why

    def scheme(self):
        return "https" if self.secure else "http"

    def send(self, data):
        self.socket.sendall(data)

    def more(self, count=65536):
        data = self.socket.recv(count)
        if not data:
            raise Lost(f"end of the stream, {len(self.buffer)} octets are there")
        self.buffer += data
        self.is_answered = True

    def take(self, count):
        # Pieces are joined once: there are bodies of 8 MiB.
        pieces, have = [self.buffer], len(self.buffer)
        while have < count:
            data = self.socket.recv(min(count - have, 1 << 18))
            if not data:
                raise Lost(f"end after {have} of {count} octets")
            pieces.append(data)
            have += len(data)
        octets = b"".join(pieces)
        self.buffer = octets[count:]
        return octets[:count]

    def take_until(self, end):
        while end not in self.buffer:
            self.more()
        octets, _, self.buffer = self.buffer.partition(end)
        return octets

    def ended(self):
        """What came up to the end of the stream, which has to be one."""
        pieces = [self.buffer]
        while data := self.socket.recv(65536):
            pieces.append(data)
        self.buffer = b""
        return b"".join(pieces)

    def head(self):
        status, *lines = self.take_until(b"\r\n\r\n").split(b"\r\n")
        version, code, *_ = status.split(b" ")
        fields = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or name.lower() in fields:
                raise Lost(f"a field {line!r} among {lines!r}")
            fields[name.lower()] = value.strip()
        return int(code), version, fields

    def chunks(self):
        pieces = []
        while size := int(self.take_until(b"\r\n"), 16):
            pieces.append(self.take(size))
            expect(self.take(2), b"\r\n", "the end of a chunk")
        expect(self.take(2), b"\r\n", "the end of the chunks")
        return b"".join(pieces)

    def answer(self, method="GET"):
        interim = []
        while True:
            status, version, fields = self.head()
            if status == 101 or status >= 200:
                break
            interim.append(status)
        if method == "HEAD" or status in (101, 204, 304):
            body = b""
        elif fields.get(b"transfer-encoding") == b"chunked":
            body = self.chunks()
        elif b"content-length" in fields:
            body = self.take(int(fields[b"content-length"]))
        else:
            body = self.ended()
        return Answer(interim, status, version, fields, body)

    def count(self, method, status, version, sent=0, received=0, error=None):
        """A request the application was called with is done; `sent` is by the client."""
        if error is None:
            error = str(status) if status >= 500 else ""
        ledger = self.world.ledger
        ledger.add("request", method, str(status), version, self.scheme(), error)
        ledger.add("sent", count=sent)
        ledger.add("received", count=received)

    def vanish(self, rng):
        """At once, by a reset or by an end."""
        if rng.random() < 0.5:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Ask:
    """A request and its one right answer."""

    def __init__(self, method, target, status, body, upload=None, fields=(), holds=None):
        self.method, self.target, self.status, self.body = method, target, status, body
        self.upload, self.fields, self.holds = upload, fields, holds

    def head(self, version, more=()):
        lines = [f"{self.method} {self.target} HTTP/{version}", "Host: x", *self.fields, *more]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def check(self, answer):
        """That it is right."""
        what = f"{self.method} {self.target}"
        expect(answer.status, self.status, f"status of {what}")
        if self.holds is not None:
            if self.holds not in answer.body:
                raise Lost(f"{what}: {self.holds!r} is not in {answer.body!r}")
        elif self.method == "HEAD":
            expect(answer.body, b"", what)
            length = answer.fields.get(b"content-length")
            if self.body is not None and length is not None:
                expect(length, str(len(self.body)).encode(), f"length of {what}")
        elif self.body is not None:
            expect(answer.body, self.body, f"body of {what}")


def octets(rng, length):
    begin = rng.randrange(BODY - length) if length < BODY else 0
    return BLOCK[begin : begin + length]


def length(rng, most):
    """Of any magnitude."""
    return rng.choice([0, 1, rng.randrange(100), rng.randrange(10_000), rng.randrange(most)])


def simple(rng):
    """Without a body."""
    kind = rng.randrange(12)
    if kind < 4:
        return Ask(rng.choice(["GET", "GET", "HEAD"]), "/", 200, b"Hello, World!")
    if kind < 6:
        count, size = rng.randrange(20), rng.choice([1, 100, 5000])
        target = f"/stream{rng.choice(['', '-blocking'])}?n={count}&size={size}"
        return Ask(rng.choice(["GET", "GET", "HEAD"]), target, 200, b"x" * (count * size))
    if kind == 6:
        return Ask("GET", f"/sleep{rng.choice(['', '-blocking'])}?ms={rng.randrange(100)}", 200, b"done")
    if kind == 7:
        status = rng.choice([200, 201, 204, 304, 404, 418, 503])
        body = b"" if status in (204, 304) else str(status).encode()
        return Ask(rng.choice(["GET", "DELETE", "OPTIONS"]), f"/status/{status}", status, body)
    if kind == 8:
        mark = rng.randbytes(8).hex()
        return Ask("GET", "/headers", 200, None, fields=[f"X-Mark: {mark}"], holds=f"x-mark: {mark}\n".encode())
    if kind == 9:
        return Ask("GET", "/nowhere", 404, b"not found")
    if kind == 10 and rng.random() < 0.2:
        return Ask("GET", rng.choice(["/error", "/panic"]), 500, None)
    return Ask("GET", "/", 200, b"Hello, World!")


def upload(rng, most=2 << 20):
    body = octets(rng, length(rng, most))
    kind = rng.randrange(4)
    if kind == 0:
        return Ask("POST", "/count", 200, str(len(body)).encode(), body)
    if kind == 1:
        return Ask("PUT", rng.choice(["/drain", "/drain-blocking"]), 200, b"ok", body)
    return Ask(rng.choice(["POST", "PUT"]), "/echo", 200, body, body)


def chunked(rng, body):
    pieces, at = [], 0
    while at < len(body):
        size = min(rng.choice([1, 100, 5000, 65536]) if len(body) < 10_000 else rng.randrange(1, 1 << 17), len(body) - at)
        pieces += [b"%x\r\n" % size, body[at : at + size], b"\r\n"]
        at += size
    return b"".join([*pieces, b"0\r\n\r\n"])


def one(peer, rng, ask, version="1.1", more=(), is_slow=False):
    """One exchange, and the answer, which is right and counted."""
    peer.asked = f"{ask.method} {ask.target} HTTP/{version}" + (f" with {len(ask.upload)} octets" if ask.upload is not None else "")
    head, body, sender = ask.head(version, more), ask.upload, None
    is_expected = False
    if body is not None:
        framing = "Content-Length: %d" % len(body)
        if version == "1.1" and rng.random() < 0.4:
            framing, body = "Transfer-Encoding: chunked", chunked(rng, body)
        # An echo begins its answer before it has read anything, and then there is no 100 any more.
        is_expected = version == "1.1" and ask.target != "/echo" and len(ask.upload) > 0 and rng.random() < 0.2
        expected = ["Expect: 100-continue"] if is_expected else []
        head = ask.head(version, [*more, framing, *expected])
    try:
        if is_slow:
            for at in range(len(head)):
                peer.send(head[at : at + 1])
                time.sleep(0.01)
        elif is_expected:
            peer.send(head)
            expect(peer.head()[0], 100, "status before the body")
        else:
            # Together, as most clients do.
            body = head + (body or b"")
        if body:
            if len(body) > 16384 and ask.target == "/echo":
                # The answer begins before the end of the request: it is read beside.
                sender = threading.Thread(target=quietly, args=(peer.socket, body))
                sender.start()
            else:
                peer.send(body)
        while b"\r\n\r\n" not in peer.buffer:
            peer.more()
    except (Lost, OSError) as why:
        if not peer.buffer and not is_expected and not isinstance(why, TimeoutError):
            raise LetGo from why
        raise
    answer = peer.answer(ask.method)
    if sender:
        sender.join()
    ask.check(answer)
    if any(status != 100 for status in answer.interim):
        raise Lost(f"interim {answer.interim}")
    peer.count(ask.method, answer.status, version, len(ask.upload or b""), len(answer.body))
    peer.world.ledger.add("panics", count=ask.target == "/panic")
    return answer


def quietly(connection, data):
    try:
        connection.sendall(data)
    except OSError:
        pass  # who reads is told


def any_ask(rng, most=2 << 20):
    return upload(rng, most) if rng.random() < 0.25 else simple(rng)


# Acts. Each is called with a world and a generator of random numbers.


def fresh(world, rng):
    world.pace()
    version, secure = rng.choice(["1.1", "1.1", "1.0"]), rng.random() < 0.2
    version = "1.1" if secure else version
    with Peer(world, secure) as peer:
        answer = one(peer, rng, any_ask(rng, 8192 if secure else 2 << 20), version, ["Connection: close"])
        if version == "1.1":
            expect(answer.fields.get(b"connection"), b"close", "Connection")
        expect(peer.ended(), b"", "behind the answer")


def kept(world, rng):
    version, secure = rng.choice(["1.1", "1.1", "1.1", "1.0"]), rng.random() < 0.2
    version = "1.1" if secure else version
    more = ["Connection: keep-alive"] if version == "1.0" else []
    with Peer(world, secure) as peer:
        for _ in range(rng.randrange(1, 12)):
            world.pace()
            ask = any_ask(rng, 8192 if secure else 2 << 20)
            answer = one(peer, rng, ask, version, more)
            if answer.fields.get(b"connection") == b"close" or version == "1.0" and b"connection" not in answer.fields:
                expect(peer.ended(), b"", "behind the last answer")
                return


def pipelined(world, rng):
    with Peer(world, rng.random() < 0.2) as peer:
        asks = [simple(rng) for _ in range(rng.randrange(2, 9))]
        world.pace()
        peer.asked = ", ".join(f"{ask.method} {ask.target}" for ask in asks)
        peer.send(b"".join(ask.head("1.1") for ask in asks))
        for ask in asks:
            answer = peer.answer(ask.method)
            ask.check(answer)
            peer.count(ask.method, answer.status, "1.1", 0, len(answer.body))
            world.ledger.add("panics", count=ask.target == "/panic")
            if answer.fields.get(b"connection") == b"close":
                expect(peer.ended(), b"", "behind the last answer")
                return
        expect(peer.buffer, b"", "behind the answers")


def slow(world, rng):
    """Sends an octet at a time, or reads a little at a time."""
    world.pace()
    began = time.monotonic()
    try:
        slowly(world, rng)
    except Lost as why:
        if time.monotonic() - began > LIMIT / 2 and not isinstance(why, Corrupted):
            raise Starved from None
        raise


def slowly(world, rng):
    if rng.random() < 0.5:
        with Peer(world) as peer:
            one(peer, rng, simple(rng), is_slow=True)
        return
    with Peer(world, rng.random() < 0.2, buffer=65536) as peer:
        count = rng.randrange(10, 60)
        ask = Ask("GET", f"/stream?n={count}&size=8192", 200, b"x" * (count * 8192))
        peer.asked = f"slowly, {ask.target}"
        peer.send(ask.head("1.1", ["Connection: close"]))
        pieces = []
        while data := peer.socket.recv(16384):
            peer.is_answered = True
            pieces.append(data)
            time.sleep(0.02)
        peer.buffer = b"".join(pieces)
        answer = peer.answer()
        ask.check(answer)
        peer.count("GET", 200, "1.1", 0, len(answer.body))


def file(world, rng):
    if not world.begin_file():
        return
    try:
        world.pace()
        with Peer(world, rng.random() < 0.3) as peer:
            one(peer, rng, Ask("GET", "/file", 200, FILE))
    finally:
        world.end_file()


BAD = [
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(120)) + b"\r\n"),
    (413, b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"),
]


def bad(world, rng):
    status, request = rng.choice(BAD)
    world.pace()
    with Peer(world, rng.random() < 0.2) as peer:
        peer.asked = request[:100]
        peer.send(request)
        expect(peer.answer().status, status, "status")
        expect(peer.ended(), b"", "behind the answer")
        world.ledger.add("refused", str(status))


def malformed(world, rng):
    """A body that breaks off, for the application's answer."""
    world.pace()
    with Peer(world) as peer:
        peer.asked = "chunks that are none"
        peer.send(b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        answer = peer.answer()
        expect(answer.status, 400, "status")
        expect(peer.ended(), b"", "behind the answer")
        peer.count("POST", 400, "1.1", 3, len(answer.body))


def late_head(world, rng):
    """408, and for who says nothing at all only the end."""
    with Peer(world) as peer:
        begins = rng.random() < 0.5
        peer.asked = "a part of a head"
        if begins:
            peer.send(b"GET / HT")
            expect(peer.answer().status, 408, "status")
            world.ledger.add("refused", "408")
        expect(peer.ended(), b"", "behind the answer")
        world.ledger.add("late" if begins else "silent")


def late_body(world, rng):
    with Peer(world) as peer:
        peer.asked = "a part of a body"
        peer.send(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123456789")
        answer = peer.answer()
        expect(answer.status, 408, "status")
        expect(peer.ended(), b"", "behind the answer")
        peer.count("POST", 408, "1.1", 10, len(answer.body))
        world.ledger.add("timeouts", "body_read")


def stalled(world, rng):
    """Takes nothing of a response that is longer than what sockets hold. An operating system that has room for a little more renews the time."""
    with Peer(world, buffer=8192) as peer:
        peer.asked = "64 MiB, and took nothing"
        peer.send(b"GET /stream?n=1024&size=65536 HTTP/1.1\r\nHost: x\r\n\r\n")
        poll = select.poll()
        poll.register(peer.socket, select.POLLRDHUP)
        if not poll.poll(STALLED * 1000):
            raise Lost(f"it is not given up after {STALLED} s")
        peer.count("GET", 200, "1.1", error="timed_out")
        world.ledger.add("timeouts", "write")
        world.ledger.add("inexact")


def idle(world, rng):
    world.pace()
    with Peer(world) as peer:
        one(peer, rng, Ask("GET", "/", 200, b"Hello, World!"))
        peer.asked = "nothing more"
        expect(peer.ended(), b"", "on an idle connection")
        world.ledger.add("idle")


def vanish(world, rng):
    """Clients that are gone: in the head, in the upload, before the response, and during it."""
    world.pace()
    kind = rng.randrange(6)
    world.ledger.add("inexact")
    if kind == 0:
        with Peer(world) as peer:
            peer.send(b"PATCH /drain HTTP/1.1\r\nHo"[: rng.randrange(1, 26)])
            world.ledger.add("vanished in the head")
            peer.vanish(rng)
    elif kind == 1:
        with Peer(world) as peer:
            world.ledger.add("vanished")
            path = rng.choice([b"/drain", b"/drain-blocking", b"/echo"])
            peer.send(b"PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" % path + bytes(rng.randrange(10_000)))
            peer.vanish(rng)
    elif kind == 2:
        with Peer(world) as peer:
            world.ledger.add("vanished")
            body = bytes(rng.randrange(200_000))
            peer.send(b"PATCH /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + body)
            peer.take(rng.randrange(100))
            peer.vanish(rng)
    elif kind == 3 and world.begin_file():
        try:
            with Peer(world, True) as peer:
                world.ledger.add("vanished")
                peer.send(b"GET /file HTTP/1.0\r\nHost: x\r\n\r\n")
                peer.take(rng.randrange(1 << 20))
                peer.vanish(rng)
        finally:
            world.end_file()
    elif kind == 4:
        with Peer(world, True) as peer:
            world.ledger.add("vanished")
            peer.send(b"GET /sleep%s?ms=300 HTTP/1.0\r\nHost: x\r\n\r\n" % rng.choice([b"", b"-blocking"]))
            peer.vanish(rng)
    else:
        # In the handshake.
        connection = connect_to(world.ports[1])
        world.ledger.add("opened")
        world.ledger.add("vanished in the handshake")
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[: rng.randrange(1, 12)])
        connection.close()


def burst(world, rng):
    """More connections than are allowed, each with a request: some wait, all are answered."""
    crowd(world, "/sleep?ms=50")


def peak(world):
    """As much at once as there can be, with and without threads."""
    for target in ("/sleep?ms=400", "/sleep-blocking?ms=400"):
        try:
            crowd(world, target)
        except Exception as why:
            world.ledger.complain(f"peak: {why!r}")


def crowd(world, target):
    peers = [Peer(world) for _ in range(CONNECTIONS + 20)]
    try:
        for peer in peers:
            peer.send(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target.encode())
        for peer in peers:
            with peer:
                peer.asked = f"{target} in a crowd"
                try:
                    answer = peer.answer()
                except (Lost, ConnectionError):
                    if peer.buffer:
                        raise
                    world.ledger.add("let go")
                    continue
                expect((answer.status, answer.body), (200, b"done"), "answer")
                expect(peer.ended(), b"", "behind the answer")
                peer.count("GET", 200, "1.1", 0, 4)
    finally:
        for peer in peers:
            peer.socket.close()


def hpack(method, scheme, path, length=None):
    """RFC 7541: names of the static table, values in plain, nothing indexed."""
    value = lambda text: bytes([len(text)]) + text.encode()
    known = {"GET": b"\x82", "POST": b"\x83"}
    block = known.get(method) or b"\x02" + value(method)
    block += {"http": b"\x86", "https": b"\x87"}[scheme] + b"\x04" + value(path) + b"\x01" + value("x")
    return block + (b"\x0f\x0d" + value(str(length)) if length is not None else b"")


STATUS = {0x88: 200, 0x89: 204, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}


def http2(world, rng):
    secure = rng.random() < 0.3
    with Peer(world, secure, SECURED) as peer:
        if secure:
            expect(peer.socket.selected_alpn_protocol(), "h2", "ALPN")
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        stream, is_done = 1, False
        for _ in range(rng.randrange(1, 5)):
            world.pace()
            stream, is_done = streams(peer, rng, stream)
            if is_done:
                return
        if rng.random() < 0.5:
            peer.send(frame(7, 0, 0, bytes(8)))
        elif rng.random() < 0.3:
            # With a stream that is open.
            world.ledger.add("vanished")
            world.ledger.add("inexact")
            peer.send(frame(1, 4, stream, hpack("PATCH", peer.scheme(), "/echo")) + frame(0, 0, stream, bytes(100)))
            peer.vanish(rng)


def streams(peer, rng, stream):
    """Some streams at once, one of them reset at times, and a PING between them; whether the server wants no more."""
    world, out, waiting, last = peer.world, [], {}, 2**31
    for _ in range(rng.randrange(1, 7)):
        kind = rng.randrange(7)
        body = None
        if kind < 2:
            ask = Ask("GET", "/", 200, b"Hello, World!")
        elif kind == 2:
            count = rng.randrange(30)
            ask = Ask("GET", f"/stream?n={count}&size=4000", 200, b"x" * (4000 * count))
        elif kind == 3:
            ask = Ask("GET", f"/sleep{rng.choice(['', '-blocking'])}?ms={rng.randrange(60)}", 200, b"done")
        elif kind == 4:
            ask = Ask("GET", "/nowhere", 404, b"not found")
        else:
            body = octets(rng, length(rng, 8000))
            ask = Ask("POST", "/echo", 200, body, body) if kind == 5 else Ask("POST", "/count", 200, b"%d" % len(body), body)
        block = hpack(ask.method, peer.scheme(), ask.target, None if body is None or rng.random() < 0.5 else len(body))
        out.append(frame(1, 5 if body is None else 4, stream, block))
        if body is not None:
            cut = rng.randrange(len(body) + 1)
            out += [frame(0, 0, stream, body[:cut]), frame(0, 1, stream, body[cut:])]
        waiting[stream] = [ask, None, []]
        stream += 2
    if rng.random() < 0.3:
        world.ledger.add("vanished")
        world.ledger.add("inexact")
        out += [frame(1, 5, stream, hpack("PATCH", peer.scheme(), "/drain")), frame(3, 0, stream, struct.pack(">I", 8))]
        stream += 2
    ping = rng.randbytes(8)
    out.append(frame(6, 0, 0, ping))
    peer.asked = "streams " + ", ".join(f"{number} {asked[0].method} {asked[0].target}" for number, asked in waiting.items())
    peer.is_answered = False
    peer.send(b"".join(out))
    while waiting or ping:
        try:
            header = peer.take(9)
        except (Lost, OSError):
            if last < 2**31 and not waiting:
                return stream, True
            raise
        payload = peer.take(int.from_bytes(header[:3], "big"))
        kind, flags, of = header[3], header[4], int.from_bytes(header[5:9], "big") & 0x7FFFFFFF
        if kind == 4 and not flags & 1:
            peer.send(frame(4, 1, 0))
        elif kind == 6:
            if flags & 1:
                expect(payload, ping, "PING")
                ping = None
            else:
                peer.send(frame(6, 1, 0, payload))
        elif kind == 7:
            last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
            expect(payload[4:8], bytes(4), "code of GOAWAY")
            waiting = {number: asked for number, asked in waiting.items() if number <= last}
        elif kind == 3 and of in waiting:
            code = int.from_bytes(payload, "big")
            if code != 7:
                raise Lost(f"stream {of} is reset with {code}")
            del waiting[of]
        elif kind == 1 and of in waiting:
            peer.is_answered = True
            waiting[of][1] = STATUS.get(payload[0], payload[:10])
        elif kind == 0 and payload:
            room = struct.pack(">I", len(payload))
            peer.send(frame(8, 0, 0, room) + (frame(8, 0, of, room) if of in waiting and not flags & 1 else b""))
            if of in waiting:
                waiting[of][2].append(payload)
        if kind in (0, 1) and flags & 1 and of in waiting:
            ask, status, pieces = waiting.pop(of)
            body = b"".join(pieces)
            ask.check(Answer([], status, b"2", {}, body))
            peer.count(ask.method, status, "2", len(ask.upload or b""), len(body))
    return stream, last < 2**31


def masked(first, payload, rng):
    """A frame of a client (RFC 6455 5.2)."""
    key = rng.randbytes(4)
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = bytes([first, 0x80 | 126]) + struct.pack(">H", size)
    else:
        head = bytes([first, 0x80 | 127]) + struct.pack(">Q", size)
    pad = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return head + key + (int.from_bytes(payload, "big") ^ pad).to_bytes(size, "big")


def received(peer):
    """One frame of a server: its first octet and its payload."""
    first, size = peer.take(2)
    if size == 126:
        (size,) = struct.unpack(">H", peer.take(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", peer.take(8))
    return first, peer.take(size)


def websocket(world, rng):
    with Peer(world, rng.random() < 0.2) as peer:
        key = base64.b64encode(rng.randbytes(16))
        peer.asked = "/ws"
        world.pace()
        peer.send(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )
        answer = peer.answer()
        expect(answer.status, 101, "status")
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        expect(answer.fields.get(b"sec-websocket-accept"), accept, "Sec-WebSocket-Accept")
        peer.count("GET", 101, "1.1")
        world.ledger.add("websockets")
        for _ in range(rng.randrange(0, 10)):
            world.pace()
            kind, payload = rng.choice([0x82, 0x81]), octets(rng, length(rng, 100_000))
            payload = payload if kind == 0x82 else payload.hex()[: len(payload)].encode()
            peer.asked = f"a message {kind:x} of {len(payload)} octets"
            if rng.random() < 0.3:
                cut = rng.randrange(len(payload) + 1)
                peer.send(masked(kind & 0x0F, payload[:cut], rng) + masked(0x89, b"between", rng) + masked(0x80, payload[cut:], rng))
                if not met(peer, 0x8A, b"between", rng):
                    return
            else:
                peer.send(masked(kind, payload, rng))
            if not met(peer, kind, payload, rng):
                return
        if rng.random() < 0.3:
            peer.vanish(rng)
            return
        peer.asked = "to close"
        peer.send(masked(0x88, struct.pack(">H", 1000) + b"bye", rng))
        first, payload = received(peer)
        codes = [1000, 1001, 1012] if world.is_restarted else [1000]
        if first != 0x88 or int.from_bytes(payload[:2], "big") not in codes:
            raise Lost(f"a frame {first:x} {payload[:20]!r}, and no Close")
        expect(peer.ended(), b"", "behind the Close")


def met(peer, kind, payload, rng):
    """Whether the frame came that has to; not where the server closes for an upgrade."""
    first, octets = received(peer)
    if peer.world.is_restarted and first == 0x88 and int.from_bytes(octets[:2], "big") in (1001, 1012):
        peer.send(masked(0x88, octets[:2], rng))
        peer.world.ledger.add("closed by the server")
        return False
    expect((first, len(octets)), (kind, len(payload)), "frame")
    expect(octets, payload, "message")
    return True


# How often, and how many seconds before the end of a period it has to begin.
ACTS = [
    (fresh, 24, 1),
    (kept, 24, 2),
    (pipelined, 10, 1),
    (http2, 14, 2),
    (websocket, 12, 2),
    (slow, 6, 3),
    (bad, 8, 1),
    (malformed, 2, 1),
    (vanish, 12, 1),
    (file, 2, 2),
    (idle, 0.4, LIMIT + 1),
    (late_head, 0.4, LIMIT + 1),
    (late_body, 0.4, LIMIT + 1),
    (stalled, 1, STALLED + 1),
    (burst, 0.3, 3),
]


def load(world, seed):
    """What one thread does in a period."""
    rng = random.Random(seed)
    while world.left() > 0:
        acts = [act for act in ACTS if act[2] < world.left() and (world.has_http2 or act[0] is not http2)]
        if world.is_restarted:
            acts = [act for act in acts if act[0] not in (slow, idle, late_head, late_body, stalled)]
        if not acts:
            return
        act = rng.choices([act[0] for act in acts], [act[1] for act in acts])[0]
        try:
            act(world, rng)
            world.ledger.add("acts", act.__name__)
        except LetGo:
            world.ledger.add("let go")
        except Starved:
            world.ledger.add("starved")
        except Exception as why:  # whatever it is, the answer was not the right one
            world.ledger.complain(f"{act.__name__}: {why}" if isinstance(why, Lost) else f"{act.__name__}: {why!r}")
