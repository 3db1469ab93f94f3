// Live tail of the request list: rows stored since the last poll are inserted by time. The server renders the rows; a new
// version of a request (interrupted, then completed) replaces its row. While the list is paused, or being read below its
// top, nothing moves: a button counts what is new and shows it.

import { drawer, pointing, replaceParts } from "./app.js";

const POLL_MS = 2500;
const REDRAW_MS = 10000; // between updates of histogram and sums
const MAX_ROWS = 200; // older rows are on the next page
const LONGEST = 50; // rows of one answer
const PAUSED_POLLS = 4; // a list that does not move is polled every so many times

const list = () => document.querySelector("#log[data-tail]");

function put(body, row) {
  const known = document.getElementById(row.id);
  if (known?.innerHTML === row.innerHTML) return false;
  known?.remove();
  const next = [...body.rows].find((one) => one.dataset.at < row.dataset.at);
  body.insertBefore(row, next ?? null);
  row.classList.add("new");
  return true;
}

// whether new rows would disturb the user
const reading = () => drawer.open || String(getSelection()) || document.querySelector("details[open]");

let drawn = 0;
let due = false;

// refresh the histogram and the sums above the list
async function redraw() {
  if (!due || Date.now() - drawn < REDRAW_MS) return;
  [drawn, due] = [Date.now(), false];
  const table = list();
  const response = await fetch(location.href);
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (list() === table && !reading() && !pointing()) replaceParts(page, "#histogram", "#sums");
  else due = true;
}

const isLive = () => document.querySelector("#live")?.getAttribute("aria-pressed") === "true" && !reading();
const isAtTop = () => list().getBoundingClientRect().top >= 0;

const newer = Object.assign(document.createElement("button"), { type: "button", className: "btn newer", hidden: true });
newer.setAttribute("aria-live", "polite");
newer.addEventListener("click", () => {
  scrollTo(0, 0);
  poll({ asked: true }).catch(() => {}); // the next one tries again
});
document.body.append(newer);

function announce(count) {
  newer.hidden = !count;
  newer.textContent = `${count}${count >= LONGEST ? " or more" : ""} new ${count === 1 ? "request" : "requests"}`;
}

let polls = 0;

async function poll({ asked = false } = {}) {
  const table = list();
  const live = document.querySelector("#live");
  if (!table) announce(0);
  if (!table || document.hidden || drawer.open) return;
  const moves = () => asked || (isLive() && isAtTop());
  if (!moves() && polls++ % PAUSED_POLLS) return;
  const url = new URL(table.dataset.tail, location);
  url.searchParams.set("arrived", table.dataset.arrived);
  const response = await fetch(url);
  if (!response.ok || response.redirected) throw new Error(response.status);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector("table");
  if (!fresh || list() !== table) return;
  if (!moves()) { // the next poll asks for these rows again
    announce([...fresh.tBodies[0].rows].filter((row) => !document.getElementById(row.id)).length);
    return;
  }
  announce(0);
  const body = table.tBodies[0];
  for (const row of [...fresh.tBodies[0].rows].reverse()) due = put(body, document.adoptNode(row)) || due;
  while (body.rows.length > MAX_ROWS) body.rows[body.rows.length - 1].remove();
  table.dataset.arrived = fresh.dataset.arrived;
  document.querySelector("#log-empty")?.toggleAttribute("hidden", body.rows.length > 0);
  if (isLive()) live.dataset.state = "on";
  await redraw();
}

async function tail() {
  try {
    await poll();
  } catch {
    const live = document.querySelector("#live");
    if (live) live.dataset.state = "stale";
  }
  setTimeout(tail, POLL_MS);
}

setTimeout(tail, POLL_MS);
