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
        watch.dataset.state = "on";
        status.textContent = `First request received: ${first.model || "no model"}, status ${first.status}.`;
        return;
      }
    } catch {
      // network error: try again
    }
  }
  setTimeout(poll, 2000);
}

if (watch && watch.dataset.state !== "on") poll();
