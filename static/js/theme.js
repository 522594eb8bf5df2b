// Sets the theme before the first paint: the reader's choice in this browser, else the system's. Loaded without defer for that reason.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const apply = () => { root.dataset.bsTheme = stored() || (system.matches ? "dark" : "light"); };
  apply();
  root.classList.add("js");
  system.addEventListener("change", () => { apply(); document.dispatchEvent(new Event("theme")); });
  globalThis.lastgoodTheme = {
    toggle() {
      const next = root.dataset.bsTheme === "dark" ? "light" : "dark";
      try { localStorage.setItem("theme", next); } catch { /* private windows: the choice lasts for this page */ }
      root.dataset.bsTheme = next;
      document.dispatchEvent(new Event("theme"));
    },
  };
})();
