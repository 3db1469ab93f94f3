// The server renders every page and draws every chart; this adds crosshair, tooltip, zoom, legend toggles, navigation
// in place, a drawer and the live refresh. No library, no build, and with scripts off nothing is missing but these.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const WIDTH = 1000;
const POLL_MS = 5000;
const root = document.documentElement;
const tip = $("#tip");
export const drawer = $("#drawer");

// ---------- numbers, by the rules of services/dashboard/charts/formats.py

const grouped = (value, digits) =>
  value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function count(value) {
  for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (Math.abs(value) >= size) return +(value / size).toFixed(1) + letter;
  }
  return Number.isInteger(value) || Math.abs(value) >= 100 ? value.toFixed(0) : String(+value.toPrecision(2));
}

function money(value, sign) {
  if (value === 0) return sign + "0";
  if (Math.abs(value) < 0.0001) return "<" + sign + "0.0001";
  if (Math.abs(value) < 0.005) return sign + value.toFixed(4);
  return sign + grouped(value, Math.abs(value) < 10000 ? 2 : 0);
}

function duration(value) {
  if (value < 1000) return value.toFixed(0) + " ms";
  if (value >= 600000) return +(value / 60000).toPrecision(3) + " min";
  return (value / 1000).toFixed(value < 10000 ? 2 : 1) + " s";
}

const FORMATS = { count, money, duration, percent: (value) => value.toFixed(1) + "%" };
const written = (kind, value, sign) => FORMATS[kind](value, sign);

const zone = () => root.dataset.tz || "UTC";
const at = (seconds, options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone(), ...options }).format(seconds * 1000);
const DAY_AND_TIME = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const DAY = { weekday: "short", day: "numeric", month: "short", year: "numeric" };

function bucketName(data, index) {
  const [from, to] = [data.times[index], data.ends[index]];
  if (to - from < 82800) return [at(from, DAY_AND_TIME), "to " + at(to, { hour: "2-digit", minute: "2-digit" })];
  return to - from <= 90000 ? [at(from, DAY), ""] : [at(from, DAY), "to " + at(to - 1, DAY)];
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// ---------- charts: the server draws them; here are what is read off them and which series the address hides

const SEPARATOR = "\t"; // as services/dashboard/page_params.py has it
let charts = [];
let brushing = null;

function tell(chart, index) {
  const { data } = chart;
  const shown = data.series.filter(([, , values]) => values[index]);
  if (data.kind !== "line") shown.sort((one, other) => other[2][index] - one[2][index]);
  const [from, to] = bucketName(data, index);
  const line = (colour, name, value, kind = "") =>
    element("div", { style: `--c:${colour}`, class: kind }, element("i"), element("span", {}, name),
      element("em", {}, written(data.format, value, data.sign)));
  tip.replaceChildren(element("b", {}, from), element("small", {}, to),
    ...shown.map(([name, colour, values]) => line(colour, name, values[index])));
  if (!shown.length) tip.append(element("div", {}, "nothing"));
  if (shown.length > 1 && data.kind !== "line") {
    tip.append(line("transparent", "Total", shown.reduce((sum, [, , values]) => sum + values[index], 0), "tot"));
  }
}

function show(chart, index, x, height) {
  chart.index = index;
  for (const other of charts) other.point(other.data.times.length === chart.data.times.length ? index : null);
  tell(chart, index);
  tip.classList.add("on");
  const box = tip.getBoundingClientRect();
  const left = x + box.width + 28 > innerWidth ? x - box.width - 16 : x + 16;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = Math.max(8, Math.min(innerHeight - box.height - 8, height - box.height / 2)) + "px";
}

function hide() {
  tip.classList.remove("on");
  for (const chart of charts) { chart.point(null); chart.index = null; }
}

function zoom(data, one, other) {
  const [from, to] = [one, other].sort((a, b) => a - b);
  const url = new URL(location);
  for (const name of ["period", "after", "before", "page"]) url.searchParams.delete(name);
  url.searchParams.set("from", Math.round(data.times[from]));
  url.searchParams.set("to", Math.round(data.kind === "bar" ? data.ends[to] : data.times[to]));
  go(url);
}

function keys(chart, event) {
  const last = chart.data.times.length - 1;
  const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  if (event.key === "Escape") { hide(); return; }
  if (!(event.key in moves)) return;
  event.preventDefault();
  const from = chart.index ?? (moves[event.key] > 0 ? -1 : last + 1);
  const index = Math.min(last, Math.max(0, from + moves[event.key]));
  const box = chart.box.getBoundingClientRect();
  show(chart, index, box.left + (box.width * chart.across(index)) / 100, box.top + box.height / 2);
}

function wire(figure) {
  const data = JSON.parse($("script", figure).textContent);
  const box = $(".box", figure);
  const last = data.times.length - 1;
  const cursor = element("div", { class: "cur" });
  const brush = element("div", { class: "brush" });
  cursor.hidden = brush.hidden = true;
  box.append(cursor, brush);
  const across = (index) => data.kind === "bar" ? ((index + 0.5) / (last + 1)) * 100 : (index / Math.max(last, 1)) * 100;
  const under = (x) => {
    const { left, width } = box.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (x - left) / width));
    return data.kind === "bar" ? Math.min(last, Math.floor(part * (last + 1))) : Math.round(part * last);
  };
  const chart = { data, figure, box, across, index: null };
  chart.point = (index) => {
    cursor.hidden = index === null;
    if (index !== null) cursor.style.left = across(index) + "%";
  };
  charts.push(chart);
  box.addEventListener("pointermove", (event) => {
    const index = under(event.clientX);
    if (brushing) {
      const [from, to] = [across(brushing.from), across(index)].sort((one, other) => one - other);
      brush.hidden = false;
      brush.style.left = from + "%";
      brush.style.width = to - from + "%";
    }
    show(chart, index, event.clientX, event.clientY);
  });
  box.addEventListener("pointerleave", hide);
  box.addEventListener("blur", hide);
  box.addEventListener("keydown", (event) => keys(chart, event));
  box.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch") return;
    brushing = { from: under(event.clientX) };
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointercancel", () => { brushing = null; brush.hidden = true; });
  box.addEventListener("pointerup", (event) => {
    const [from, to] = [brushing?.from, under(event.clientX)];
    brushing = null;
    brush.hidden = true;
    if (from !== undefined && from !== to) zoom(data, from, to);
  });
  for (const button of $$(".legend button", figure)) {
    button.addEventListener("click", (event) => toggle(button, event.altKey));
  }
}

// a click hides or shows one series in all charts; with Alt it alone stays
function toggle(button, alone) {
  const url = new URL(location);
  const name = button.dataset.s;
  let hidden = new Set((url.searchParams.get("hide") ?? "").split(SEPARATOR).filter(Boolean));
  if (alone) {
    const names = $$("button", button.closest(".legend")).map((one) => one.dataset.s);
    const only = names.every((one) => one === name || hidden.has(one));
    hidden = new Set(only ? [] : names.filter((one) => one !== name));
  } else if (!hidden.delete(name)) {
    hidden.add(name);
  }
  url.searchParams.set("hide", [...hidden].join(SEPARATOR));
  if (!hidden.size) url.searchParams.delete("hide");
  for (const one of $$("[data-chart] .legend button")) one.setAttribute("aria-pressed", !hidden.has(one.dataset.s));
  history.replaceState(history.state, "", url);
  go(url, { push: false, still: true });
}

// ---------- focus: where it rests in the page's body, as the nth stop of the nearest part that has an id

const STOPS = "a[href], button, summary, [tabindex]";

function stop() {
  const active = document.activeElement;
  const part = active?.closest("#body [id]") ?? active?.closest("#body");
  return part && { id: part.id, at: [...part.querySelectorAll(STOPS)].indexOf(active) };
}

function stopAt(place) {
  const part = place && document.getElementById(place.id);
  return part && (place.at < 0 ? part : part.querySelectorAll(STOPS)[place.at]);
}

// ---------- navigation: fetch the page, put its <main> in place; the address stays the one place of all state

let loading;

// whether it came; a quiet one does not where somebody has begun to read meanwhile; a still one moves neither page nor focus
async function go(url, { push = true, quiet = false, still = quiet } = {}) {
  loading?.abort();
  loading = new AbortController();
  if (!quiet) document.body.classList.add("busy");
  try {
    const response = await fetch(url, { signal: loading.signal });
    if (response.redirected || (quiet && !response.ok)) throw new Error(response.status);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (quiet && reading()) return false;
    const [focused, resting, scrolled] = [document.activeElement, stop(), scrollY];
    const part = quiet ? "#body" : "#main";
    $(part).replaceWith($(part, page));
    document.title = page.title;
    Object.assign(root.dataset, { live: page.documentElement.dataset.live, tz: page.documentElement.dataset.tz });
    $(".side nav").replaceWith($(".side nav", page));
    if (push) history.pushState({}, "", url);
    if (still) {
      scrollTo(0, scrolled);
      stopAt(resting)?.focus({ preventScroll: true });
    }
    else if (focused?.name) $(`[name="${CSS.escape(focused.name)}"]`)?.focus();
    mount();
    document.dispatchEvent(new CustomEvent("metrion:page"));
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    if (quiet) mark("stale");
    else location.assign(url);
    return false;
  } finally {
    document.body.classList.remove("busy");
  }
}

function submit(form) {
  const url = new URL(form.action);
  url.search = "";
  for (const [name, value] of new FormData(form)) if (value) url.searchParams.append(name, value);
  go(url);
}

addEventListener("popstate", () => go(location.href, { push: false }));
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-nav-submit]")) return;
  event.preventDefault();
  submit(event.target);
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-nav-submit]");
  if (form && event.target.closest(".bar") === form && form.reportValidity()) submit(form);
});

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* for this page only, then */ }
}

async function openDrawer(url) {
  const response = await fetch(url, { headers: { "X-Partial": "1" } });
  if (!response.ok || response.redirected) { location.assign(url); return; }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  drawer.replaceChildren(...page.body.childNodes);
  drawer.showModal();
}

document.addEventListener("click", (event) => {
  const target = event.target;
  for (const open of $$("details.pop[open]")) if (!open.contains(target)) open.open = false;
  if (target.closest("#live")) { on = !on; paintLive(); return; }
  if (target.closest("#theme")) { switchTheme(); return; }
  if (target.closest("#here")) { const url = new URL(location); url.searchParams.set("tz", browserZone()); go(url); return; }
  if (target === drawer || target.closest("[data-close]")) { drawer.close(); return; }
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const link = target.closest("a");
  const row = target.closest("tr[data-row]");
  const detail = link?.matches("[data-drawer]") ? link
    : row && !target.closest("a, button") && !String(getSelection()) ? $("[data-drawer]", row) : null;
  if (detail) { event.preventDefault(); openDrawer(detail.href); return; }
  if (link?.matches("[data-nav], .tabs a")) { event.preventDefault(); go(link.href); }
});

// ---------- time zones: the browser knows them all

const browserZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

function offerZones() {
  const list = $("#zones");
  if (!list) return;
  list.replaceChildren(...["UTC", ...Intl.supportedValuesOf("timeZone")].map((name) => element("option", { value: name })));
  const here = $("#here");
  here.textContent = browserZone();
  here.hidden = browserZone() === zone();
}

// ---------- live: ask for a few bytes every five seconds while the page is seen; refresh when they changed. No open
// stream: over HTTP/1.1 a browser has six connections a host for all tabs, and the seventh tab would freeze.

let on = true;
let seen;

function mark(state) {
  const button = $("#live");
  if (button) button.dataset.state = state;
}

function paintLive() {
  const button = $("#live");
  if (!button) return;
  const possible = root.dataset.live === "1";
  button.hidden = false;
  button.disabled = !possible;
  button.setAttribute("aria-pressed", String(on && possible));
  mark(on && possible ? "on" : "off");
}

// a chart is being read or zoomed into
export const pointing = () => tip.classList.contains("on") || brushing;

// what a refresh would disturb
function reading() {
  const active = document.activeElement;
  return pointing() || drawer.open || String(getSelection())
    || $("details[open]") || (active && active.matches("input, select, textarea"))
    || /[?&](after|before|page)=/.test(location.search);
}

async function poll() {
  try {
    if (on && !document.hidden && $("#body") && root.dataset.live === "1" && !reading()) {
      const response = await fetch("/poll");
      if (!response.ok || response.redirected) throw new Error(response.status);
      const version = await response.text();
      paintLive();
      const news = seen !== undefined && version !== seen;
      if (!news || await go(location.href, { push: false, quiet: true })) seen = version;
    }
  } catch {
    mark("stale");
  }
  setTimeout(poll, POLL_MS);
}

// what scrolls to the side can be reached with the keyboard
function offerScrolling() {
  for (const box of $$(".scroll")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

function offerCopies() {
  if (!navigator.clipboard) return; // over plain http there is none, except from this machine
  for (const source of $$("pre, [data-secret]")) {
    if (source.closest(".detail") || source.parentElement.querySelector(".copy")) continue;
    const button = element("button", { type: "button", class: "link copy" }, "Copy");
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    source.before(button);
  }
}

// another picture of what has come since, in its old place
export function redrawn(page, ...selectors) {
  for (const selector of selectors) {
    const [old, fresh] = [$(selector), $(selector, page)];
    if (old && fresh) old.replaceWith(fresh);
  }
  mount();
}

function mount() {
  charts = [];
  $$("[data-chart]").forEach(wire);
  offerZones();
  offerScrolling();
  offerCopies();
  paintLive();
}

addEventListener("resize", offerScrolling);
root.classList.add("scripted");
$("#theme").hidden = false;
mount();
setTimeout(poll, POLL_MS);
