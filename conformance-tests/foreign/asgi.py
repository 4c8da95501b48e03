"""The conformance application on ASGI 3, for example

    uvicorn --app-dir conformance-tests/foreign asgi:application
    conformance run --external 127.0.0.1:8000

The server must be one process.
"""

import asyncio
import os
import time

import contract
from contract import Failed, Sum, decode, encode, pattern

RECORDS = contract.Records()


async def once(register):
    """Waits until what was given to `register` is called, from any thread."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    register(lambda: loop.call_soon_threadsafe(event.set))
    await event.wait()


class Received:
    """What the server tells of the client. A step that reads and one that watches may wait at the same time."""

    def __init__(self, receive):
        self.receive, self.messages, self.gone, self.over = receive, [], asyncio.Event(), False
        self.more, self.pump = asyncio.Condition(), None

    async def listen(self):
        """Takes what comes, whether or not anybody reads: only where somebody watches, since it ends back-pressure."""
        while not self.gone.is_set():
            message = await self.receive()
            async with self.more:
                self.messages.append(message)
                self.more.notify_all()
            if message["type"] == "http.disconnect":
                self.gone.set()

    def watch(self):
        self.pump = self.pump or asyncio.ensure_future(self.listen())

    async def next(self):
        """The next piece of the body, `None` at its end."""
        if self.over:
            return None
        if self.pump:
            async with self.more:
                await self.more.wait_for(lambda: self.messages)
                message = self.messages.pop(0)
        else:
            message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client is gone")
        self.over = not message.get("more_body", False)
        return message.get("body", b"")


class Call:
    """One request, and the response that a script puts together. Each method is a step of the same name."""

    def __init__(self, scope, receive, send, log):
        self.scope, self.send, self.log, self.body = scope, send, log, Received(receive)
        self.status, self.headers = 200, [(contract.MARK, b"1")]
        # The octets of the response, or what yields them, or the words of items.
        self.answer = b""

    # Reading.

    async def read(self):
        await self.take(float("inf"))

    async def chunk(self):
        await self.take(1)

    async def chunks(self, count):
        await self.take(int(count))

    async def take(self, wanted):
        """Pieces until `wanted` octets came, or the end."""
        seen = Sum()
        try:
            while seen.length < wanted:
                octets = await self.body.next()
                if octets is None:
                    return self.log.record(seen.data(), seen.end())
                seen.add(octets)
            self.log.record(seen.data(), f"chunk {seen.length}")
        except Exception as error:
            kind = "disconnected" if isinstance(error, ConnectionError) else "malformed"
            self.log.record(seen.data(), f"read-error {kind}")

    async def length(self):
        fields = dict(self.scope["headers"])
        unknown = b"chunked" in fields.get(b"transfer-encoding", b"").lower()
        self.log.record(f"length {'unknown' if unknown else fields.get(b'content-length', b'0').decode()}")

    async def drop_request(self):
        pass

    # Waiting.

    async def gate(self, name):
        await once(lambda wake: self.log.when_open(name, wake))

    async def pending(self):
        await self.gate(None)

    async def sleep(self, milliseconds):
        started = time.monotonic()
        await asyncio.sleep(int(milliseconds) / 1000)
        self.log.record(contract.slept(started))

    async def busy(self, milliseconds):
        self.log.record("busy")
        time.sleep(int(milliseconds) / 1000)
        self.log.record("idle")

    async def watch(self):
        async def twice():
            await self.body.gone.wait()
            self.log.record("saw-disconnect true", "saw-disconnect true")

        self.body.watch()
        # The loop keeps no task that nobody else keeps.
        self.watching = asyncio.ensure_future(twice())

    async def disconnected(self):
        self.body.watch()
        await self.body.gone.wait()
        self.log.record("disconnected")

    # Telling.

    async def bare(self):
        pass

    async def blocking(self):
        self.log.record("blocking")

    async def record(self, text):
        self.log.record(decode(text).decode())

    async def threads(self):
        self.log.record(f"threads {len(os.listdir('/proc/self/task'))}")

    # Answering.

    async def set_status(self, code):
        self.status = int(code)

    async def header(self, name, value=""):
        self.headers.append((decode(name).decode("latin-1"), decode(value)))

    async def set_body(self, text=""):
        self.answer = decode(text)

    async def size(self, length):
        self.answer = pattern(int(length))

    async def stream(self, *words):
        self.answer = self.items(words)

    async def channel(self, _capacity, _feeder, *words):
        await self.stream(*words)

    async def echo(self):
        async def pieces():
            while (octets := await self.body.next()) is not None:
                yield octets

        self.answer = pieces()

    async def items(self, words):
        """The items of a body, one for each time it is asked."""
        asked = 0
        self.log.record("asked 0")
        for kind, rest in contract.items(words):
            octets = contract.data(kind, rest)
            if octets is not None:
                yield octets
                asked += 1
                self.log.record(f"asked {asked}")
            elif kind == "gate":
                await self.gate(rest)
            elif kind == "sleep":
                await asyncio.sleep(int(rest) / 1000)
            elif kind == "pending":
                await self.pending()
            else:
                raise Failed(f"an item: {kind}")
        self.log.record("body-end")

    # Failing.

    async def error(self, text=""):
        raise Failed(decode(text).decode())

    async def error_chain(self, *texts):
        error = None
        for text in reversed(texts):
            error, error.__cause__ = Failed(decode(text).decode()), error
        raise error

    async def panic(self, text=""):
        raise RuntimeError(decode(text).decode())

    async def websocket(self, *_):
        self.log.record("websocket-error not-websocket")

    async def respond(self):
        """Sends the response: the head first, then each piece once the server has taken the one before."""
        whole = isinstance(self.answer, bytes)
        if whole and contract.may_have_length(self.status, self.headers):
            self.headers.append(("content-length", str(len(self.answer)).encode()))
        headers = [(name.encode("latin-1"), value) for name, value in self.headers]
        await self.send({"type": "http.response.start", "status": self.status, "headers": headers})
        if whole:
            return await self.send({"type": "http.response.body", "body": self.answer})
        async for octets in self.answer:
            try:
                await self.send({"type": "http.response.body", "body": octets, "more_body": True})
            except OSError:
                return self.log.record("send-error")
            # To a client that is gone some servers send nothing, at once and for ever: an endless body would let nobody else
            # run. It ends with its case.
            await asyncio.sleep(0)
            if self.log.is_over():
                return
        await self.send({"type": "http.response.body", "body": b""})


STEPS = {
    name.replace("_", "-"): getattr(Call, name)
    for name in """read chunk chunks length drop_request gate pending sleep busy watch disconnected bare blocking record threads
    header size stream channel echo error error_chain panic websocket""".split()
}
STEPS.update({"status": Call.set_status, "body": Call.set_body, "iter": Call.stream})


async def websocket(scope, receive, send, log, words):
    """A session of a WebSocket: options, then actions in order."""
    await receive()
    protocol, headers, actions = None, [(contract.MARK.encode(), b"1")], []
    for word in words:
        name, _, value = word.partition(":")
        if name == "protocol":
            protocol = value
        elif name == "protocols":
            protocol = next((offered for offered in scope["subprotocols"] if offered in value.split(",")), None)
        elif name == "header":
            field, _, value = value.partition(":")
            headers.append((field.encode(), decode(value)))
        elif name != "blocking":
            actions.append((name, value))
    await send({"type": "websocket.accept", "subprotocol": protocol, "headers": headers})
    log.record("ws-open")
    state = {"sent": 0, "closed": None}

    async def take():
        """The next message, `None` at the end."""
        message = {"type": "websocket.disconnect"} if state["closed"] else await receive()
        if message["type"] == "websocket.disconnect":
            if not state["closed"]:
                state["closed"] = f"ws-closed {message.get('code', 1005)} {encode(message.get('reason') or '')}".rstrip()
                log.record("ws-end", state["closed"])
            return None
        text, octets = message.get("text"), message.get("bytes")
        if text is not None and len(text.encode()) <= contract.RECORDED:
            log.record(f"ws-text {encode(text)}")
        else:
            seen = Sum()
            seen.add(octets if text is None else text.encode())
            log.record(f"ws-binary {seen.length} {seen.sum:08x}")
        return {"text": text} if text is not None else {"bytes": octets}

    async def give(message):
        try:
            await send({"type": "websocket.send", **message})
        except Exception:
            return log.record("send-error")
        state["sent"] += 1
        log.record(f"sent {state['sent']}")

    for name, value in actions:
        if name in ("echo", "drain", "recv"):
            while (message := await take()) is not None:
                if name == "recv":
                    break
                if name == "echo":
                    await send({"type": "websocket.send", **message})
        elif name == "gate":
            await once(lambda wake: log.when_open(value, wake))
        elif name == "send":
            await give({"text": decode(value).decode()})
        elif name == "binary":
            await give({"bytes": pattern(int(value))})
        elif name == "flood":
            size, _, count = value.partition(":")
            for _ in range(int(count)):
                await give({"bytes": pattern(int(size))})
        elif name == "close":
            code, _, reason = value.partition(":")
            await send({"type": "websocket.close", "code": int(code or 1000), "reason": decode(reason).decode()})
            state["closed"] = True
            log.record("close-done")
        elif name == "error":
            log.record("session-done")
            raise Failed("a session")
        else:
            raise RuntimeError(f"an action: {name}")
    log.record("session-done")
    if not state["closed"]:
        state["closed"] = True
        await send({"type": "websocket.close", "code": 1000})


SESSION = "blocking protocol protocols header echo drain recv gate send binary flood close error panic".split()
WORDS = {
    "step": [
        *STEPS,
        *(f"item:{item}" for item in contract.ITEMS),
        *(f"websocket:{word}" for word in SESSION),
    ],
    "fact": ["scheme", "peer", "local", "mount-prefix"],
    "event": ["handler-returned", "send-error"],
}


def told(scope):
    """The events of a call."""
    path = scope.get("raw_path") or encode(scope["path"]).encode()
    # Some servers give the query here, too.
    target = path.partition(b"?")[0] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    version = {"2": "HTTP/2.0", "3": "HTTP/3.0"}.get(scope["http_version"], f"HTTP/{scope['http_version']}")

    def address(pair):
        host, port = pair or ("", 0)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    facts = {
        "scheme": scope["scheme"].replace("ws", "http"),
        "peer": address(scope.get("client")),
        "local": address(scope.get("server")),
        "mount-prefix": scope.get("root_path", ""),
    }
    return contract.head(scope.get("method", "GET"), target, version, scope["headers"], facts)


async def control(what):
    """The answer to a control request, or `None` if it is no such thing."""
    (name, words), *_ = contract.steps(what) or [("", [])]
    if name == "about":
        return contract.about("asgi", "", "ASGI", WORDS)
    if name == "wait":
        token, count, prefix, patience = contract.asked(words)

        def register(wake):
            RECORDS.when(token, lambda record: record.ended or record.count(prefix) >= count, wake)

        try:
            await asyncio.wait_for(once(register), patience)
        except asyncio.TimeoutError:
            pass
        return RECORDS.report(token)
    return contract.at_once(RECORDS, name, words)


def denying(scope, send):
    """`send` for the response to a handshake that is not accepted."""

    async def answer(message):
        if "websocket.http.response" in scope.get("extensions", {}):
            await send({**message, "type": "websocket." + message["type"]})
        elif message["type"] == "http.response.start":
            await send({"type": "websocket.close"})

    return answer


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
    if contract.CONTROL in fields:
        answer = await control(fields[contract.CONTROL])
        body, status = (answer or "").encode(), 501 if answer is None else 200
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        return await send({"type": "http.response.body", "body": body})
    log = RECORDS.begin(fields.get(contract.TOKEN, ""))
    log.record(*told(scope))
    script = contract.steps(fields.get(contract.DO, ""))
    if scope["type"] == "websocket":
        if script and script[0][0] == "websocket":
            return await websocket(scope, receive, send, log, script[0][1])
        # A handshake that is not accepted. Without the extension for it all that ASGI can answer is a 403.
        await receive()
        send = denying(scope, send)
    call = Call(scope, receive, send, log)
    for name, words in script:
        if name not in STEPS:
            call.status, call.answer = 501, b""
            break
        await STEPS[name](call, *words)
    log.record("handler-returned")
    await call.respond()
