"use strict";
// Shows /status and waits for its next revision. It uses no framework and loads nothing from elsewhere.

const WORDS = {
  ready: "Ready: hold a card to the reader",
  busy: "Busy with a card",
  offline: "The print server cannot be reached",
  fault: "The reader is not connected",
};
const DEVICE = {
  registering: "; this box registers there",
  "waiting-for-approval": "; an administrator there has to approve this box",
  refused: "; it refuses this box as a device",
};
const FEEDBACK = {
  reading: "reading the card", done: "everything was released", "no-documents": "nothing was waiting",
  "unknown-card": "the card is not known", refused: "refused", "server-unreachable": "the server did not answer",
  partly: "only some documents were released", "read-error": "the card was not read, hold it again", ready: "",
};

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function list(target, rows) {
  target.replaceChildren(...rows.flatMap(([term, value]) => [element("dt", term), element("dd", value)]));
}

function station(name, status) {
  const box = element("section", "", "station " + status.phase);
  box.dataset.phase = status.phase;
  box.append(element("h2", name), element("p", WORDS[status.phase] || status.phase, "phase"));
  const feedback = FEEDBACK[status.feedback] ?? status.feedback;
  box.append(element("p", feedback ? "Last: " + feedback : "", "feedback"));
  const facts = document.createElement("dl");
  list(facts, [["Taps", status.taps], ["Documents released", status.released], ["Not released", status.failed],
    ["Reader", status.reader], ["Printer", status.printer]]);
  box.append(facts);
  if (status.last) {
    const { event, reason, documents, pages, duration_ms: took, time } = status.last;
    const story = `${new Date(time).toLocaleTimeString()}: ${event}${reason ? " (" + reason + ")" : ""}, ` +
      `${documents} documents, ${pages} pages in ${took} ms`;
    box.append(element("p", story, "last"));
  }
  return box;
}

function show(status) {
  document.getElementById("agent").textContent = status.agent;
  const since = new Date(status.server.since).toLocaleString();
  const server = document.getElementById("server");
  server.textContent = (status.server.reachable ? "Server reachable" : "Server not reachable") + " since " + since;
  // The server chooses this text, so it stands apart: it must not turn the reading order of what is around it.
  if (status.server.version) server.append(", version ", element("bdi", status.server.version));
  server.append(DEVICE[status.server.device] || "");
  server.className = status.server.reachable ? "good" : "bad";
  document.getElementById("stations").replaceChildren(
    ...Object.entries(status.stations).map(([name, it]) => station(name, it)));
  const { pending, in_doubt: doubt, dead, oldest_s: oldest, lost } = status.outbox;
  list(document.getElementById("outbox"), [["Waiting", pending], ["In doubt", doubt], ["Refused for good", dead],
    ["Oldest", oldest + " s"], ["Lost", lost]]);
  document.getElementById("waiting").replaceChildren(...status.outbox.waiting.map((it) => element("li",
    `${it.station}: record ${it.id} of ${new Date(it.time).toLocaleString()} waits (${it.last_error}); ` +
    `next attempt ${new Date(it.next_attempt).toLocaleTimeString()}`)));
  const { full, set_aside: aside, unreadable } = status.journal;
  const trouble = [full && "The disk is full: nothing is released until there is room.",
    aside && `${aside} damaged database(s) were set aside in the state directory; remove them when they were looked at.`,
    unreadable && `${unreadable} entries cannot be read; see "queue verify".`];
  document.getElementById("journal").textContent = trouble.filter(Boolean).join(" ");
  document.getElementById("footer").textContent = `print-release-agent ${status.version}, up ${status.uptime_s} s`;
}

async function follow() {
  let revision = null;
  for (;;) {
    try {
      const answer = await fetch("/status" + (revision === null ? "" : "?after=" + revision));
      revision = answer.headers.get("revision");
      show(await answer.json());
    } catch {
      const server = document.getElementById("server");
      server.textContent = "This box does not answer; trying again …";
      server.className = "bad";
      revision = null;
      await new Promise((again) => setTimeout(again, 1000));
    }
  }
}

follow();
