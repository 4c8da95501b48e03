// The conformance application on node:http. See spec/APPLICATION.md.
//
//     node conformance-tests/foreign/node.mjs 127.0.0.1:8000
//     conformance run --external 127.0.0.1:8000
//
// `error` and `panic` are left out: what a listener throws ends the process, which node:http has no answer to.

import http from "node:http";
import { Readable, pipeline } from "node:stream";
import { once } from "node:events";
import { crc32 } from "node:zlib";
import { readdirSync } from "node:fs";

const PREFIX = "x-conformance-";
const MARK = PREFIX + "application";
const RECORDED = 512;

// Words: octets, percent-encoded.

function encode(octets) {
  const isPlain = (octet) => octet > 0x20 && octet < 0x7f && octet !== 0x25 && octet !== 0x3b;
  const word = (octet) => (isPlain(octet) ? String.fromCharCode(octet) : "%" + octet.toString(16).toUpperCase().padStart(2, "0"));
  return [...Buffer.from(octets)].map(word).join("");
}

// Node gives fields and targets as one character for each octet.
const octetsOf = (text) => Buffer.from(text, "latin1");
const decode = (word = "") =>
  octetsOf(word.replace(/%([0-9a-fA-F]{2})/g, (_, digits) => String.fromCharCode(parseInt(digits, 16))));

function pattern(length) {
  const octets = Buffer.alloc(length + 3);
  for (let index = 0; index * 4 < length; index++) octets.writeUInt32LE(Math.imul(index, 0x9e3779b1) >>> 0, index * 4);
  return octets.subarray(0, length);
}

// A body seen piece by piece.
class Sum {
  length = 0;
  sum = 0;
  first = Buffer.alloc(0);

  add(octets) {
    this.length += octets.length;
    this.sum = crc32(octets, this.sum);
    if (this.first.length < RECORDED) this.first = Buffer.concat([this.first, octets.subarray(0, RECORDED - this.first.length)]);
  }

  data = () => `read-data ${encode(this.first)}`;
  end = () => `read-end ${this.length} ${this.sum.toString(16).padStart(8, "0")}`;
}

// All there is under one token.
class Record {
  static all = new Map();
  calls = 0;
  events = [];
  gates = new Set();
  ended = false;
  waiting = new Set();

  static of(token) {
    if (!Record.all.has(token)) Record.all.set(token, new Record());
    return Record.all.get(token);
  }

  changed() {
    for (const waiting of this.waiting) waiting();
  }

  // Until that is so.
  async until(isReached) {
    if (isReached()) return;
    await new Promise((resolve) => {
      const look = () => {
        if (!isReached()) return;
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
    });
  }

  count = (prefix) => this.events.filter(([, text]) => text === prefix || text.startsWith(prefix + " ")).length;
  report = () => this.events.map(([call, text]) => `${call}\tmain\t${text}\n`).join("");
}

function* items(words) {
  for (const word of words) {
    const [kind, ...rest] = word.split(":");
    if (kind === "times") for (let count = Number(rest[0]); count > 0; count--) yield* items([rest.slice(1).join(":")]);
    else if (kind === "forever") for (;;) yield* items([rest.join(":")]);
    else yield [kind, rest.join(":")];
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, Number(milliseconds)));

// One request, and the response that a script puts together.
class Call {
  constructor(request, response, record) {
    Object.assign(this, { request, response, record, number: record.calls++ });
    this.status = 200;
    this.fields = [[MARK, "1"]];
    this.body = Buffer.alloc(0);
    this.trailing = [];
    this.left = null;
    // An error of the request is read by whoever reads; nobody has to.
    request.on("error", () => {});
    response.on("error", () => {});
  }

  tell(...texts) {
    if (!this.record.ended) this.record.events.push(...texts.map((text) => [this.number, text]));
    this.record.changed();
  }

  gate = async (name) => {
    if (name !== null) this.tell(`at ${name}`);
    await this.record.until(() => this.record.ended || this.record.gates.has(name));
  };

  // Pieces until `wanted` octets came, or the end.
  async take(wanted) {
    const seen = new Sum();
    try {
      while (seen.length < wanted) {
        const octets = this.request.read();
        if (octets !== null) seen.add(octets);
        else if (this.request.readableEnded) {
          this.tell(seen.data(), seen.end());
          const trailers = this.request.rawTrailers;
          for (let at = 0; at < trailers.length; at += 2) {
            this.tell(`trailer ${trailers[at].toLowerCase()} ${encode(octetsOf(trailers[at + 1]))}`);
          }
          return;
        } else if (this.request.destroyed) throw this.request.errored ?? new Error("destroyed");
        else await this.readable();
      }
      this.tell(seen.data(), `chunk ${seen.length}`);
    } catch {
      this.tell(seen.data(), "read-error disconnected");
    }
  }

  // Until there is something to read, the end, or an error.
  readable = () =>
    new Promise((resolve) => {
      const names = ["readable", "end", "error", "close"];
      const done = () => {
        for (const name of names) this.request.off(name, done);
        resolve();
      };
      for (const name of names) this.request.on(name, done);
    });

  // Until the client has gone away before its response was complete.
  async gone() {
    if (!this.response.destroyed) await once(this.response, "close");
    if (this.response.writableFinished) await new Promise(() => {});
  }

  // The items of a body, one for each time it is asked.
  async *items(words) {
    let asked = 0;
    try {
      this.tell("asked 0");
      for (const [kind, rest] of items(words)) {
        if (kind === "text") yield decode(rest);
        else if (kind === "size") yield pattern(Number(rest));
        else if (kind === "gate") await this.gate(rest);
        else if (kind === "sleep") await sleep(rest);
        else if (kind === "pending") await this.gate(null);
        else if (kind !== "empty") throw new Error(`an item: ${kind}`);
        if (kind === "text" || kind === "size") this.tell(`asked ${++asked}`);
        if (this.record.ended) return;
      }
      this.tell("body-end");
    } finally {
      this.tell("body-dropped");
    }
  }

  respond() {
    const { response, body } = this;
    const isWhole = Buffer.isBuffer(body);
    const named = this.fields.some(([name]) => name.toLowerCase() === "content-length");
    if (isWhole && !named && this.status >= 200 && ![204, 304].includes(this.status) && this.trailing.length === 0) {
      this.fields.push(["content-length", String(body.length)]);
    }
    response.writeHead(this.status, this.fields.flat());
    if (this.trailing.length > 0) response.addTrailers(this.trailing);
    if (isWhole) return response.end(body);
    // So that a first item that is long in coming does not keep the head back.
    response.flushHeaders();
    // An error of the body destroys the response, and its end the body.
    pipeline(body instanceof Readable ? body : Readable.from(body, { objectMode: true, highWaterMark: 1 }), response, () => {});
  }
}

const nothing = () => {};
const STEPS = {
  bare: nothing,
  blocking: (call) => call.tell("blocking"),
  read: (call) => call.take(Infinity),
  chunk: (call) => call.take(1),
  chunks: (call, count) => call.take(Number(count)),
  length: (call) => {
    const { "content-length": length, "transfer-encoding": coding } = call.request.headers;
    call.tell(`length ${length ?? (coding ? "unknown" : 0)}`);
  },
  "drop-request": nothing,
  gate: (call, name) => call.gate(name),
  pending: (call) => call.gate(null),
  sleep: async (call, milliseconds) => {
    const started = performance.now();
    await sleep(milliseconds);
    call.tell(`slept ${Math.floor(performance.now() - started)}`);
  },
  busy: (call, milliseconds) => {
    call.tell("busy");
    for (const until = performance.now() + Number(milliseconds); performance.now() < until; );
    call.tell("idle");
  },
  record: (call, word) => call.tell(decode(word).toString()),
  threads: (call) => call.tell(`threads ${readdirSync("/proc/self/task").length}`),
  disconnected: async (call) => {
    await call.gone();
    call.tell("disconnected");
  },
  "disconnected?": (call) => call.tell(`flag ${call.response.destroyed}`),
  watch: (call) => void call.gone().then(() => call.tell("saw-disconnect true", "saw-disconnect true")),
  status: (call, code) => void (call.status = Number(code)),
  header: (call, name, value) => void call.fields.push([decode(name).toString("latin1"), decode(value).toString("latin1")]),
  body: (call, octets) => void (call.body = decode(octets)),
  size: (call, length) => void (call.body = pattern(Number(length))),
  stream: (call, ...words) => void (call.body = call.items(words)),
  iter: (call, ...words) => void (call.body = call.items(words)),
  channel: (call, _capacity, _feeder, ...words) => void (call.body = call.items(words)),
  echo: (call) => void (call.body = call.request),
  trailers: (call, ...words) => {
    for (let at = 0; at < words.length; at += 2) call.trailing.push([words[at], decode(words[at + 1]).toString("latin1")]);
  },
};
const ITEMS = ["text", "size", "empty", "gate", "sleep", "pending", "error", "panic", "times", "forever"];
const WORDS = {
  step: [...Object.keys(STEPS), ...ITEMS.map((item) => "item:" + item)],
  fact: ["scheme", "peer", "local"],
  event: ["body-dropped", "handler-returned", "trailer"],
};

// The events of a call.
function told(request) {
  const target = request.url;
  const [path, query] = [target.split("?")[0], target.includes("?") ? target.slice(target.indexOf("?") + 1) : null];
  const path_only = path.includes("://") ? "/" + path.split("://")[1].split("/").slice(1).join("/") : path;
  const texts = [`call ${request.method} ${encode(octetsOf(target))} HTTP/${request.httpVersion}`];
  texts.push(`path ${encode(octetsOf(path_only))}`);
  if (query !== null) texts.push(`query ${encode(octetsOf(query))}`);
  const fields = request.rawHeaders;
  for (let at = 0; at < fields.length; at += 2) {
    texts.push(`header ${encode(fields[at].toLowerCase())} ${encode(octetsOf(fields[at + 1]))}`);
  }
  const { remoteAddress, remotePort, localAddress, localPort } = request.socket;
  const place = (address, port) => (address?.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);
  texts.push("env scheme http", `env peer ${place(remoteAddress, remotePort)}`, `env local ${place(localAddress, localPort)}`);
  return texts;
}

// The answer to a control request, `null` to one nobody knows.
async function control(what, settings) {
  const [name, ...words] = what.split(/\s+/);
  const record = Record.of(words[0] ?? "");
  switch (name) {
    case "about": {
      const capabilities = ["asynchronous", "trailers"].map((capability) => `capability ${capability} true`);
      const ports = Object.entries(settings).map(([setting, port]) => `setting ${setting} :${port}`);
      const known = Object.entries(WORDS).flatMap(([kind, words]) => words.map((word) => `${kind} ${word}`));
      const server = process.env.CONFORMANCE_SERVER ?? "node";
      return ["contract 1", `server ${server}`, `version ${process.version}`, ...capabilities, ...ports, ...known, ""].join("\n");
    }
    case "report":
      return record.report();
    case "wait": {
      const prefix = decode(words[2]).toString();
      const reached = record.until(() => record.ended || record.count(prefix) >= Number(words[1]));
      await Promise.race([reached, sleep(Math.min(Number(words[3] ?? 60_000), 60_000))]);
      return record.report();
    }
    case "open":
      record.gates.add(words[1]);
      record.changed();
      return "";
    case "end":
      for (const token of words) {
        const ended = Record.of(token);
        Object.assign(ended, { ended: true, events: [] });
        ended.changed();
      }
      return "";
    case "violations":
      return "";
    default:
      return null;
  }
}

async function application(request, response, settings) {
  const field = (name) => request.headers[PREFIX + name] ?? "";
  if (field("control")) {
    const answer = await control(field("control"), settings);
    return response.writeHead(answer === null ? 501 : 200, { "content-type": "text/plain" }).end(answer ?? "");
  }
  const call = new Call(request, response, Record.of(field("token")));
  call.tell(...told(request));
  for (const step of field("do").split(";").map((step) => step.trim().split(/\s+/))) {
    if (step[0] === "") continue;
    if (!(step[0] in STEPS)) return response.writeHead(501, { [MARK]: "1" }).end();
    await STEPS[step[0]](call, ...step.slice(1));
  }
  call.tell("handler-returned");
  call.respond();
}

// The same server with other limits, each at a port of its own.
const SETTINGS = {
  "short-header": [{ headersTimeout: 400, connectionsCheckingInterval: 100 }],
  "short-idle": [{ keepAliveTimeout: 400 }],
  "two-requests": [{}, { maxRequestsPerSocket: 2 }],
};

const ports = {};
async function listen(host, port, options = {}, more = {}) {
  const server = http.createServer(options, (request, response) => {
    // What a script asks for that node:http refuses, such as a status of 1000, ends the process as any listener's error does.
    application(request, response, ports);
  });
  Object.assign(server, more).listen(port, host);
  await once(server, "listening");
  return server.address().port;
}

const [host, port] = (process.argv[2] ?? "127.0.0.1:8000").split(/:(?=\d+$)/);
for (const [name, options] of Object.entries(SETTINGS)) ports[name] = await listen(host, 0, ...options);
console.log(`listening on ${host}:${await listen(host, Number(port))}`);
