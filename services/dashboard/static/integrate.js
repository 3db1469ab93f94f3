// Says when a fresh token's first request has arrived: asks every two seconds while the page is looked at.
const watch = document.querySelector("[data-watch]");
const said = watch?.querySelector("[data-said]");

async function look() {
  if (document.visibilityState === "visible") {
    try {
      const answer = await fetch(watch.dataset.watch, { cache: "no-store" });
      if (answer.status === 401 || answer.status === 403) return; // signed out: reloading says so
      const found = answer.ok ? await answer.json() : {};
      if (found.requests) {
        watch.dataset.state = "on";
        said.textContent = `First request received: ${found.model || "no model"}, status ${found.status}.`;
        return;
      }
    } catch {
      // the network is away for a moment
    }
  }
  setTimeout(look, 2000);
}

if (watch && watch.dataset.state !== "on") look();
