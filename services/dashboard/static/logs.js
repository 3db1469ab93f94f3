// The list of requests, live: what has been booked since the last look is put where it belongs, by time. The server makes
// the rows; a request that was booked again (interrupted, then answered) takes its own place.

import { drawer, pointing, redrawn } from "./app.js";

const POLL_MS = 2500;
const REDRAW_MS = 10000; // between two pictures of what has come
const LONGEST = 200; // rows; older ones are a page away

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

// what new rows would disturb
const reading = () => drawer.open || String(getSelection()) || document.querySelector("details[open]");

let drawn = 0;
let due = false;

// the histogram and the sums above the list: new rows make them old
async function redraw() {
  if (!due || Date.now() - drawn < REDRAW_MS) return;
  [drawn, due] = [Date.now(), false];
  const table = list();
  const response = await fetch(location.href);
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (list() === table && !reading() && !pointing()) redrawn(page, "#histogram", "#sums");
  else due = true;
}

async function look() {
  const table = list();
  const live = document.querySelector("#live");
  if (!table || document.hidden || live?.getAttribute("aria-pressed") !== "true" || reading()) return;
  const url = new URL(table.dataset.tail, location);
  url.searchParams.set("arrived", table.dataset.arrived);
  const response = await fetch(url);
  if (!response.ok || response.redirected) throw new Error(response.status);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const found = page.querySelector("table");
  if (!found || list() !== table) return;
  const body = table.tBodies[0];
  for (const row of [...found.tBodies[0].rows].reverse()) due = put(body, document.adoptNode(row)) || due;
  while (body.rows.length > LONGEST) body.rows[body.rows.length - 1].remove();
  table.dataset.arrived = found.dataset.arrived;
  document.querySelector("#log-empty")?.toggleAttribute("hidden", body.rows.length > 0);
  live.dataset.state = "on";
  await redraw();
}

async function tail() {
  try {
    await look();
  } catch {
    const live = document.querySelector("#live");
    if (live) live.dataset.state = "stale";
  }
  setTimeout(tail, POLL_MS);
}

setTimeout(tail, POLL_MS);
