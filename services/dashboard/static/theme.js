// Runs before the first paint, so that the theme does not flash.
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // storage is blocked: use the system's theme
}
