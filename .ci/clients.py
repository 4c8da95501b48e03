"""What .ci/restarts and .ci/soak have in common: clients by hand, and the testbed as a process."""

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path

SERVERS = ["hyper", "actix", "smol", "threadpool"]
# For one answer, and for a process to begin or to end.
DEADLINE = 20
# This one speaks HTTP/1.1 alone.
WITHOUT_HTTP2 = ["threadpool"]
root = Path(__file__).resolve().parent.parent


class Lost(Exception):
    """A request has no answer, or a wrong one."""


def connect_to(port):
    connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exactly(connection, count, buffer=b""):
    """So many octets, those in `buffer` first, and what is left of that."""
    octets, rest = buffer[:count], buffer[count:]
    while len(octets) < count:
        more = connection.recv(count - len(octets))
        if not more:
            raise Lost(f"end after {len(octets)} of {count} octets")
        octets += more
    return octets, rest


def response(connection, buffer):
    """One response with a Content-Length: its fields, and what is behind it."""
    while b"\r\n\r\n" not in buffer:
        more = connection.recv(65536)
        if not more:
            raise Lost(f"end after {len(buffer)} octets of a response")
        buffer += more
    head, _, rest = buffer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if status.split(b" ")[1] not in (b"200", b"101"):
        raise Lost(f"answered {status.decode()}")
    length = int(fields.get(b"content-length", b"0"))
    while len(rest) < length:
        more = connection.recv(65536)
        if not more:
            raise Lost("end within a body")
        rest += more
    return fields, rest[length:]


# The certificate is made by each process for itself.
ANY = ssl.create_default_context()
ANY.check_hostname, ANY.verify_mode = False, ssl.CERT_NONE


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


# RFC 7541: GET, http and "/" are of the static table; ":authority: x" is a literal that is not indexed.
GET = bytes([0x82, 0x86, 0x84, 0x01, 1]) + b"x"


def listen(count):
    """So many listening sockets, above the descriptors that a process finds them at."""
    reserve = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(count)]
    for descriptor in reserve:
        os.close(descriptor)
    return listeners


class Testbed:
    """A server with listening sockets of this process's, and whoever came after it."""

    def __init__(self, program, server, listeners, log, options):
        binds = ["--bind", "fd:3", "--bind", "fd:4,tls", "--tls-self-signed"]
        self.command = [program, "--server", server, *options, *binds]
        self.listeners, self.log = listeners, log
        self.process = self.start()
        self.last = self.process.pid

    def start(self):
        """A process that serves the listeners, once it says so."""

        # LISTEN_PID is the child's own number, which a shell knows before it becomes the program.
        descriptors = [listener.fileno() for listener in self.listeners]
        shell = 'LISTEN_FDS=2 LISTEN_PID=$$ exec "$@" 3<&{} 4<&{}'.format(*descriptors)
        begin = self.log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *self.command], stdout=self.log, stderr=self.log, pass_fds=descriptors
        )
        self.wait_for("listening on", begin)
        return process

    def wait_for(self, text, begin):
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            said = Path(self.log.name).read_text()[begin:]
            if text in said:
                return said[said.index(text) :]
            time.sleep(0.01)
        raise SystemExit(f"the server did not say {text!r}; it said {said!r}")

    def upgrade(self):
        begin = self.log.seek(0, os.SEEK_END)
        os.kill(self.last, signal.SIGUSR2)
        self.last = int(self.wait_for("SIGUSR2: process ", begin).split()[2])

    def successor(self):
        former, self.process = self.process, self.start()
        self.last = self.process.pid
        former.terminate()
        if former.wait(DEADLINE) != 0:
            raise SystemExit(f"a server ended with {former.returncode}")

    def reload(self):
        os.kill(self.last, signal.SIGHUP)

    def end(self):
        os.kill(self.last, signal.SIGTERM)
        self.process.wait(DEADLINE)
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until and Path(f"/proc/{self.last}").exists():
            time.sleep(0.01)


def build():
    command = ["cargo", "build", "--release", "-p", "adapter-web", "--example", "testbed", "--message-format", "json"]
    messages = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [message["executable"] for message in map(json.loads, messages) if message.get("executable")][-1]
