"""The conformance application on WSGI (PEP 3333), for example

    gunicorn --threads 64 --chdir conformance-tests/foreign wsgi:application
    conformance run --external 127.0.0.1:8000

A call holds its thread while it waits: the server needs several dozen of them, and must be one process.
"""

import http
import os
import tempfile
import threading
import time

import contract
from contract import Failed, Sum, decode, encode, pattern

RECORDS = contract.Records()


class Call:
    """One request, and the response that a script puts together. Each method is a step of the same name."""

    def __init__(self, environ, log):
        self.environ, self.log = environ, log
        self.status, self.headers, self.body = 200, [(contract.MARK, "1")], []
        # The length of the body, where it is known.
        self.known = 0
        # Octets of the request's body that may be read; PEP 3333 promises no end behind Content-Length.
        length, is_chunked = environ.get("CONTENT_LENGTH"), "chunked" in field(environ, "transfer-encoding").lower()
        self.length_is_known = bool(length) or not is_chunked
        self.left = int(length or 0) if self.length_is_known else float("inf")

    # Reading.

    def read(self):
        self.take(-1)

    def chunk(self):
        # `read(1)` is all that PEP 3333 has for "what there is".
        self.take(1)

    def chunks(self, count):
        self.take(int(count))

    def take(self, wanted):
        """Reads `wanted` octets, or to the end."""
        seen = Sum()
        try:
            while seen.length != wanted:
                octets = self.piece(65536 if wanted < 0 else wanted - seen.length)
                if not octets:
                    return self.log.record(seen.data(), seen.end())
                seen.add(octets)
            self.log.record(seen.data(), f"chunk {seen.length}")
        except Exception as error:
            kind = "disconnected" if isinstance(error, (ConnectionError, EOFError)) else "malformed"
            self.log.record(seen.data(), f"read-error {kind}")

    def piece(self, most):
        """Up to so many octets, none at the end of the body."""
        octets = self.environ["wsgi.input"].read(min(most, self.left)) if self.left else b""
        if not octets and self.left and self.length_is_known:
            raise EOFError("the body is shorter than its Content-Length")
        self.left -= len(octets)
        return octets

    def length(self):
        self.log.record(f"length {self.left if self.length_is_known else 'unknown'}")

    def drop_request(self):
        pass

    # Waiting.

    def gate(self, name):
        event = threading.Event()
        self.log.when_open(name, event.set)
        event.wait()

    def pending(self):
        self.gate(None)

    def sleep(self, milliseconds):
        started = time.monotonic()
        time.sleep(int(milliseconds) / 1000)
        self.log.record(contract.slept(started))

    def busy(self, milliseconds):
        self.log.record("busy")
        time.sleep(int(milliseconds) / 1000)
        self.log.record("idle")

    # Telling.

    def bare(self):
        pass

    def blocking(self):
        self.log.record("blocking")

    def record(self, text):
        self.log.record(decode(text).decode())

    def threads(self):
        self.log.record(f"threads {len(os.listdir('/proc/self/task'))}")

    # Answering.

    def set_status(self, code):
        self.status = int(code)

    def header(self, name, value=""):
        self.headers.append((decode(name).decode("latin-1"), decode(value).decode("latin-1")))

    def set_body(self, text=""):
        self.whole(decode(text))

    def size(self, length):
        self.whole(pattern(int(length)))

    def whole(self, octets):
        self.known, self.body = len(octets), [octets]

    def stream(self, *words):
        self.known, self.body = None, Items(self, words)

    def channel(self, _capacity, _feeder, *words):
        self.stream(*words)

    def echo(self):
        self.known, self.body = None, iter(lambda: self.piece(65536), b"")

    def file(self, size, offset, start, end, _name=""):
        size, start = int(size), int(offset if start == "-" else start)
        octets = pattern(size)[: size if end == "-" else int(end)]
        file = tempfile.TemporaryFile(prefix="conformance-")
        file.write(octets)
        file.seek(start)
        self.known = max(len(octets) - start, 0)
        self.body = self.environ.get("wsgi.file_wrapper", lambda file: iter(lambda: file.read(65536), b""))(file)

    # Failing.

    def error(self, text=""):
        raise Failed(decode(text).decode())

    def error_chain(self, *texts):
        error = None
        for text in reversed(texts):
            error, error.__cause__ = Failed(decode(text).decode()), error
        raise error

    def panic(self, text=""):
        raise RuntimeError(decode(text).decode())


class Items:
    """A body of scripted items: asked by the server one by one, closed by it in any case."""

    def __init__(self, call, words):
        self.call, self.log, self.items = call, call.log, contract.items(words)
        self.asked, self.over, self.dropped = 0, False, False

    def __iter__(self):
        return self

    def __next__(self):
        self.log.record("asked-after-end" if self.over else f"asked {self.asked}")
        self.asked += 1
        for kind, rest in self.items:
            octets = contract.data(kind, rest)
            if octets is not None:
                return octets
            if kind == "gate":
                self.call.gate(rest)
            elif kind == "sleep":
                time.sleep(int(rest) / 1000)
            elif kind == "pending":
                self.call.pending()
            else:
                self.over = True
                raise Failed(f"an item: {kind}")
        if not self.over:
            self.over = True
            self.log.record("body-end")
        raise StopIteration

    def close(self):
        self.log.record("body-dropped")


STEPS = {
    name.replace("_", "-"): getattr(Call, name)
    for name in """read chunk chunks length drop_request gate pending sleep busy bare blocking record threads header size stream
    channel echo file error error_chain panic""".split()
}
STEPS.update({"status": Call.set_status, "body": Call.set_body, "iter": Call.stream})
WORDS = {
    "step": [*STEPS, *(f"item:{item}" for item in contract.ITEMS)],
    "fact": ["scheme", "peer", "mount-prefix", "server"],
    "event": ["body-dropped", "asked-after-end", "handler-returned"],
}


def told(environ):
    """The events of a call."""
    # WSGI has no place for the target as it came; these are what servers call theirs.
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if target is None:
        quoted = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        target = encode(quoted.encode("latin-1")) + ("?" + environ["QUERY_STRING"] if environ["QUERY_STRING"] else "")
    names = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}
    fields = []
    for name, value in environ.items():
        if name.startswith("HTTP_") or (name in names and value):
            fields.append((names.get(name, name[5:].replace("_", "-").lower()), value.encode("latin-1")))
    port = environ.get("REMOTE_PORT")
    address = environ.get("REMOTE_ADDR", "")
    facts = {
        "scheme": environ["wsgi.url_scheme"],
        "peer": f"[{address}]:{port}" if ":" in address else f"{address}:{port}",
        "mount-prefix": environ.get("SCRIPT_NAME", ""),
        "server": environ.get("SERVER_SOFTWARE", ""),
    }
    method, version = environ["REQUEST_METHOD"], environ["SERVER_PROTOCOL"]
    return contract.head(method, target.encode("latin-1"), version, fields, facts)


def control(environ, what):
    """The answer to a control request, or `None` if it is no such thing."""
    (name, words), *_ = contract.steps(what) or [("", [])]
    if name == "about":
        return contract.about("wsgi", environ.get("SERVER_SOFTWARE", ""), "WSGI", WORDS)
    if name == "wait":
        token, count, prefix, patience = contract.asked(words)
        event = threading.Event()
        RECORDS.when(token, lambda record: record.ended or record.count(prefix) >= count, event.set)
        event.wait(patience)
        return RECORDS.report(token)
    return contract.at_once(RECORDS, name, words)


def field(environ, name):
    return environ.get("HTTP_" + name.upper().replace("-", "_"), "")


def application(environ, start_response):
    what = field(environ, contract.CONTROL)
    if what:
        answer = control(environ, what)
        body = (answer or "").encode()
        status = "200 OK" if answer is not None else "501 Not Implemented"
        start_response(status, [("content-type", "text/plain"), ("content-length", str(len(body)))])
        return [body]
    call = Call(environ, RECORDS.begin(field(environ, contract.TOKEN)))
    call.log.record(*told(environ))
    for name, words in contract.steps(field(environ, contract.DO)):
        if name not in STEPS:
            start_response("501 Not Implemented", [(contract.MARK, "1"), ("content-length", "0")])
            return []
        STEPS[name](call, *words)
    call.log.record("handler-returned")
    if call.known is not None and contract.may_have_length(call.status, call.headers):
        call.headers.append(("content-length", str(call.known)))
    reason = http.HTTPStatus(call.status).phrase if call.status in list(http.HTTPStatus) else "Unnamed"
    start_response(f"{call.status} {reason}", call.headers)
    return call.body


def main():
    """On the standard library's server: `python3 wsgi.py 127.0.0.1:8000`."""
    import socketserver
    import sys
    from wsgiref import simple_server

    class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
        daemon_threads = True
        request_queue_size = 128

    class Quiet(simple_server.WSGIRequestHandler):
        def log_message(self, *_):
            pass

    host, _, port = sys.argv[1].rpartition(":")
    with simple_server.make_server(host, int(port), application, Server, Quiet) as server:
        print(f"listening on {host}:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
