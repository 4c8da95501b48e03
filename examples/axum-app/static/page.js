"use strict";
// All addresses are relative: the program may be mounted below a prefix.
const element = (id) => document.getElementById(id);
const line = (list, text) => {
  const item = document.createElement("li");
  item.textContent = text;
  element(list).prepend(item);
};
const on = (form, handler) => element(form).addEventListener("submit", async (event) => {
  event.preventDefault();
  await handler(new FormData(event.target));
  event.target.reset();
});

const socket = new URL("chat", location.href);
socket.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const chat = new WebSocket(socket);
chat.onmessage = (message) => line("said", message.data);
on("say", (form) => chat.send(form.get("text")));

const events = new EventSource("events");
events.addEventListener("tick", (event) => { element("tick").textContent = `Open for ${event.data} s.`; });
events.addEventListener("note", (event) => line("notes", event.data));

fetch("api/notes").then((answer) => answer.json())
  .then((notes) => notes.reverse().forEach((note) => line("notes", note.text)));
on("note", (form) => fetch("api/notes", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ text: form.get("text") }),
}));

const me = async () => {
  const answer = await fetch("me");
  element("me").textContent = answer.ok ? `You are ${await answer.text()}.` : "Nobody is logged in.";
};
on("login", async (form) => {
  await fetch("login", { method: "POST", body: new URLSearchParams(form) });
  await me();
});
me();

on("upload", async (form) => {
  const answer = await fetch("upload", { method: "POST", body: form });
  const files = await answer.json();
  element("received").textContent = files.map((file) => `${file.name}: ${file.bytes} bytes`).join(", ");
});
