// What every signed-in page does in the browser: server time, relative times, countdowns, copying, theme, menus, shortcuts.
(() => {
  const meta = document.querySelector('meta[name="server-time"]');
  const arrived = performance.timeOrigin + (performance.getEntriesByType("navigation")[0]?.responseStart || 0);
  let offset = meta ? Number(meta.content) - arrived : 0;
  const now = () => Date.now() + offset;

  // What a script says in the reader's language: the page brings what the catalogue has of audit/scripts.py.
  const said = JSON.parse(document.getElementById("said")?.textContent || "{}");
  const say = (text, values = {}) => (said[text] || text).replace(/%\((\w+)\)s/g, (whole, name) => values[name] ?? whole);

  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];
  const inWords = (seconds) => {
    for (const [size, unit] of UNITS) if (seconds >= size) return `${Math.floor(seconds / size)}\u202f${unit}`;
    return `${Math.floor(seconds)}\u202fs`;
  };
  const relative = (ms) => {
    const seconds = (now() - ms) / 1000;
    if (Math.abs(seconds) < 1) return say("just now");
    return seconds < 0 ? say("in %(time)s", { time: inWords(-seconds) }) : say("%(time)s ago", { time: inWords(seconds) });
  };
  const clock = (seconds) => {
    const h = Math.floor(seconds / 3600), m = Math.floor((seconds % 3600) / 60), s = String(Math.floor(seconds % 60)).padStart(2, "0");
    return h ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
  };
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  function tick() {
    if (document.visibilityState !== "visible") return;
    for (const element of document.querySelectorAll("time.since [data-relative]")) {
      write(element, relative(Date.parse(element.parentElement.dateTime)));
    }
    for (const element of document.querySelectorAll("[data-until]")) {
      const left = Math.max(0, Math.ceil((Date.parse(element.dataset.until) - now()) / 1000));
      write(element.querySelector("[data-left]") || element, clock(left));
      element.toggleAttribute("data-over", left === 0);
    }
    for (const element of document.querySelectorAll("[data-elapsed]")) {
      write(element, clock(Math.max(0, (now() - Date.parse(element.dataset.elapsed)) / 1000)));
    }
  }
  setInterval(tick, 1000);
  tick();
  document.addEventListener("visibilitychange", tick);
  document.addEventListener("htmx:afterSettle", tick);

  // UTC is what everybody talks in; the reader's own clock stands beside it, where the script runs.
  const here = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
  function localTimes() {
    if (new Date().getTimezoneOffset() === 0) return;
    for (const element of document.querySelectorAll("[data-local]:empty")) write(element, `(${here.format(new Date(element.dataset.local))})`);
  }
  localTimes();
  document.addEventListener("htmx:afterSettle", localTimes);

  // What scrolls sideways must be reachable by keyboard; what does not scroll is no tab stop.
  function markScrollers() {
    for (const box of document.querySelectorAll(".table-wrap, .plan-diff")) {
      const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }
  markScrollers();
  addEventListener("resize", markScrollers);
  document.addEventListener("toggle", markScrollers, true);
  document.addEventListener("htmx:afterSettle", markScrollers);

  const announce = (text) => {
    const region = document.getElementById("announce");
    if (region) region.textContent = text;
  };
  globalThis.lastgood = { now, announce, say, setServerTime(ms) { offset = ms - Date.now(); } };

  async function copy(button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.setAttribute("data-copied", "");
    announce(say("Copied."));
    setTimeout(() => button.removeAttribute("data-copied"), 1500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-theme-toggle], [data-show-shortcuts]");
    if (button?.hasAttribute("data-copy")) copy(button).catch(() => announce(say("The browser did not allow copying.")));
    if (button?.hasAttribute("data-theme-toggle")) globalThis.lastgoodTheme.toggle();
    if (button?.hasAttribute("data-show-shortcuts")) document.getElementById("shortcuts").showModal();
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target) || button) menu.open = false;
    }
  });

  // A form is sent once: a second click while the first is on its way does nothing. One that brings a file stays usable.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented || form.hasAttribute("data-download")) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

  // In a form that goes forward on other people's behalf, Enter in a field does not press the button.
  document.addEventListener("keydown", (event) => {
    const form = event.target.closest?.("form[data-no-enter]");
    if (form && event.key === "Enter" && event.target.matches("input")) event.preventDefault();
  });

  const GO = { n: "/", i: "/incidents/", e: "/endpoints/", m: "/models/", a: "/approvals/", l: "/audit/", r: "/runbooks/", s: "/status/" };
  let leader = 0;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details[data-menu][open]")) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
    const afterLeader = event.timeStamp - leader < 1500;
    leader = event.key === "g" ? event.timeStamp : 0;
    if (afterLeader && GO[event.key]) location.assign(GO[event.key]);
    else if (event.key === "n") document.querySelector("#next-step .btn")?.focus();
    else if (event.key === "t" || event.key === "w") document.querySelector(`[data-shortcut="${event.key}"]`)?.click();
    else if (event.key === "?") document.getElementById("shortcuts")?.showModal();
    else if (event.key === "/") {
      const box = document.getElementById("site-search");
      if (box?.offsetParent) { event.preventDefault(); box.focus(); box.select(); }
    }
  });
})();
