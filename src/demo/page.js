"use strict";
// Shows the played world and lets a person hold cards.

const byId = (id) => document.getElementById(id);

function button(text, path) {
  const made = document.createElement("button");
  made.textContent = text;
  made.dataset.post = path;
  return made;
}

document.addEventListener("click", async ({ target }) => {
  if (!target.dataset.post) return;
  const answer = await fetch(target.dataset.post, { method: "POST" });
  byId("trouble").textContent = answer.ok ? "" : await answer.text();
  look();
});

function row(item) {
  const made = document.createElement("tr");
  made.className = item.status;
  for (const text of [item.user, item.title, item.pages, item.status]) {
    made.append(Object.assign(document.createElement("td"), { textContent: text }));
  }
  return made;
}

async function look() {
  const world = await (await fetch("/world")).json();
  if (!byId("cards").children.length) {
    byId("agent").src = world.agent;
    for (const user of world.users) {
      byId("cards").append(button(`Card of ${user.full_name}`, `/hold/${user.cards[0]}`),
        button(`Print as ${user.name}`, `/submit/${user.name}`));
    }
    byId("cards").append(button("Unknown card", "/hold/9999999999"));
  }
  byId("documents").replaceChildren(...world.documents.map(row));
  byId("records").textContent = `${world.records} job records have arrived`;
}

look();
setInterval(look, 500);
