// Live parts. An element with data-live="<seconds>" and hx-get (hx-trigger="live") is asked for again while the tab is visible:
//   - never two requests at a time; after errors the pause grows to 30 s, and the notice says how old the page is
//   - an ETag of the last answer is sent back, so an unchanged part costs a 304 and is not redrawn
//   - opened details, typed text, the focus and the scroll of tables survive a redraw
//   - inside [data-hold-new], items with an unseen data-key wait behind "3 new" until the reader asks for them
(() => {
  const etags = new Map();       // address -> ETag of what is on the page
  const waits = new WeakMap();   // element -> {due, failures}
  const notice = document.getElementById("connection");
  const say = globalThis.lastgood.say;
  let lostAt = 0;
  let lastGoodAt = Date.now();

  const time = (ms) => new Date(ms).toISOString().slice(11, 19) + " UTC";
  const serverNow = () => globalThis.lastgood?.now() ?? Date.now();

  function poll() {
    if (document.visibilityState !== "visible" || !globalThis.htmx) return;
    const at = performance.now();
    for (const element of document.querySelectorAll("[data-live]")) {
      const seconds = Number(element.dataset.live);
      if (!(seconds > 0)) continue;
      const wait = waits.get(element) || { due: at + seconds * 1000, failures: 0, busy: false };
      waits.set(element, wait);
      if (wait.busy || at < wait.due) continue;
      wait.busy = true;
      wait.due = at + Math.min(30, seconds * 2 ** wait.failures) * 1000;
      htmx.trigger(element, "live");
    }
  }
  setInterval(poll, 250);
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    for (const element of document.querySelectorAll("[data-live]")) {
      const wait = waits.get(element);
      if (wait) wait.due = 0;
    }
    poll();
  });

  function lost(why) {
    lostAt ||= serverNow();
    const age = Math.round((Date.now() - lastGoodAt) / 1000);
    const old = { why, age, time: time(serverNow() - age * 1000) };
    notice.textContent = say("%(why)s What you see is %(age)s s old (%(time)s). Trying again by itself; what you typed is kept.", old);
    notice.hidden = false;
  }
  function found() {
    lastGoodAt = Date.now();
    if (!lostAt) return;
    lostAt = 0;
    notice.hidden = true;
    notice.textContent = "";
    globalThis.lastgood?.announce(say("The connection is back."));
  }
  function signedOut() {
    notice.textContent = `${say("You have been signed out.")} `;
    const link = document.createElement("a");
    link.href = `${document.body.dataset.signIn}?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = say("Sign in again");
    notice.append(link);
    notice.hidden = false;
    document.querySelectorAll("[data-live]").forEach((element) => element.removeAttribute("data-live"));
  }

  document.addEventListener("htmx:configRequest", (event) => {
    const { elt, path, verb, headers } = event.detail;
    if (verb !== "get" || !elt.hasAttribute("data-live")) return;
    const tag = etags.get(path) || elt.dataset.etag;
    if (tag) headers["If-None-Match"] = tag;
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, xhr, pathInfo, requestConfig } = event.detail;
    const wait = waits.get(elt);
    if (!wait) return;
    wait.busy = false;
    const fine = xhr.status >= 200 && xhr.status < 400;
    wait.failures = fine ? 0 : wait.failures + 1;
    if (!fine) return;
    found();
    const tag = xhr.getResponseHeader("ETag");
    if (tag && requestConfig.verb === "get") etags.set(pathInfo.requestPath, tag);
    const date = Date.parse(xhr.getResponseHeader("X-Server-Time") || "");
    if (date) globalThis.lastgood?.setServerTime(date);
  });
  document.addEventListener("htmx:sendError", (event) => { if (event.detail.elt.hasAttribute("data-live")) lost(say("The connection is lost.")); });
  document.addEventListener("htmx:timeout", (event) => { if (event.detail.elt.hasAttribute("data-live")) lost(say("The server does not answer.")); });
  document.addEventListener("htmx:responseError", (event) => {
    const { elt, xhr } = event.detail;
    if (xhr.status === 401) signedOut();
    else if (elt.hasAttribute("data-live")) lost(say("The server answered with an error (%(status)s).", { status: xhr.status }));
    else {
      notice.textContent = say("That did not work: the server answered with an error (%(status)s). Nothing you typed is lost; try again.", { status: xhr.status });
      notice.hidden = false;
    }
  });

  // Keeping what the reader has done to a part across its redraw.
  function isDirty(element) {
    if (element.tagName === "SELECT") return [...element.options].some((option) => option.selected !== option.defaultSelected);
    if (element.type === "checkbox" || element.type === "radio") return element.checked !== element.defaultChecked;
    return element.value !== element.defaultValue;
  }
  const keyOf = (element) => element.id || element.dataset.keep || element.name;
  function remember(root) {
    const kept = { open: new Map(), typed: new Map(), scroll: new Map(), focus: null, seen: new Set() };
    root.querySelectorAll("details[id]").forEach((element) => kept.open.set(element.id, element.open));
    root.querySelectorAll("input:not([type=hidden]), textarea, select").forEach((element) => {
      const key = keyOf(element);
      if (key && isDirty(element)) kept.typed.set(key, { value: element.value, checked: element.checked });
    });
    root.querySelectorAll(".table-wrap[id]").forEach((element) => kept.scroll.set(element.id, element.scrollLeft));
    root.querySelectorAll("[data-hold-new] [data-key]").forEach((element) => { if (!element.hidden) kept.seen.add(element.dataset.key); });
    const active = document.activeElement;
    if (active && root.contains(active)) kept.focus = { key: keyOf(active), from: active.selectionStart, to: active.selectionEnd };
    return kept;
  }
  const find = (key) => document.getElementById(key) || document.querySelector(`[data-keep="${CSS.escape(key)}"], [name="${CSS.escape(key)}"]`);
  function restore(kept) {
    for (const [id, open] of kept.open) { const element = document.getElementById(id); if (element) element.open = open || element.open; }
    for (const [key, value] of kept.typed) Object.assign(find(key) || {}, value);
    for (const [id, left] of kept.scroll) { const element = document.getElementById(id); if (element) element.scrollLeft = left; }
    const element = kept.focus?.key && find(kept.focus.key);
    if (element) {
      element.focus({ preventScroll: true });
      if (kept.focus.from != null && element.setSelectionRange) element.setSelectionRange(kept.focus.from, kept.focus.to);
    }
    holdNew(kept.seen);
  }

  function holdNew(seen) {
    for (const list of document.querySelectorAll("[data-hold-new]")) {
      const fresh = [...list.querySelectorAll("[data-key]")].filter((item) => !seen.has(item.dataset.key));
      const known = list.querySelectorAll("[data-key]").length - fresh.length;
      if (!fresh.length || !known) continue;
      fresh.forEach((item) => { item.hidden = true; });
      const button = list.querySelector("[data-show-new]");
      button.textContent = say("%(count)s new", { count: fresh.length });
      button.hidden = false;
    }
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-show-new]");
    if (!button) return;
    const list = button.closest("[data-hold-new]");
    const items = list.querySelectorAll("[data-key][hidden]");
    items.forEach((item) => { item.hidden = false; });
    button.hidden = true;
    items[0]?.focus?.();
  });

  let kept = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig } = event.detail;
    const landed = xhr.responseURL ? new URL(xhr.responseURL).pathname : "";
    if (landed.startsWith(document.body.dataset.signIn) && !requestConfig.path.startsWith(document.body.dataset.signIn)) {
      event.detail.shouldSwap = false;
      signedOut();
      return;
    }
    const fromPoll = requestConfig.elt.hasAttribute("data-live");
    kept = event.detail.shouldSwap && fromPoll ? remember(event.detail.target) : null;
  });
  document.addEventListener("htmx:afterSwap", () => { if (kept) restore(kept); kept = null; });
})();
