// Shows when the first request of a new token arrives: polls every two seconds while the page is visible.
const watch = document.querySelector("[data-watch]");
const status = watch?.querySelector("[data-status]");

async function poll() {
  if (document.visibilityState === "visible") {
    try {
      const response = await fetch(watch.dataset.watch, { cache: "no-store" });
      if (response.status === 401 || response.status === 403) return; // signed out; a reload shows the sign-in page
      const first = response.ok ? await response.json() : {};
      if (first.requests) {
        watch.dataset.state = first.failed ? "bad" : "on";
        status.textContent = first.failed
          ? `The first request failed with status ${first.status}: ${first.reason.slice(0, 200) || "no reason given"} `
          : `First request received: ${first.model || "no model"}, status ${first.status}.`;
        if (first.failed) status.append(Object.assign(document.createElement("a"), { href: `/logs/${first.id}`, textContent: "Open request" }));
        return;
      }
    } catch {
      // network error: try again
    }
  }
  setTimeout(poll, 2000);
}

if (watch && watch.dataset.state === "off") poll();
