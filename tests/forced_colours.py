"""What a page in forced colours has lost: state, buttons, drawings and the focus are seen without backgrounds."""

from playwright.sync_api import Page

LOST = """() => {
  const lost = [], said = (one) => one.outerHTML.slice(0, 120);
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.forcedColorAdjust = "none";
  const system = new Set(["CanvasText", "Canvas", "LinkText", "Highlight", "HighlightText", "GrayText", "ButtonText",
    "ButtonFace", "VisitedText", "FieldText", "Field", "Mark", "MarkText"].map((name) => {
      probe.style.color = name; return getComputedStyle(probe).color;
  }));
  probe.remove();
  const own = (colour) => colour.startsWith("rgb(") && !system.has(colour);
  const seen = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  for (const one of seen(".chip, .btn, input:not([type=hidden]), select, textarea")) {
    const style = getComputedStyle(one);
    if (style.appearance === "none" && (style.borderTopStyle === "none" || parseFloat(style.borderTopWidth) < 1))
      lost.push(`no border: ${said(one)}`);
  }
  for (const one of seen("input[type=checkbox], input[type=radio]"))
    if (getComputedStyle(one).appearance === "none") lost.push(`its tick is a background: ${said(one)}`);
  const quiet = seen(".btn:not(.btn-primary)")[0], first = seen(".btn-primary")[0];
  if (quiet && first && getComputedStyle(quiet).backgroundColor === getComputedStyle(first).backgroundColor)
    lost.push(`not told from a quiet one: ${said(first)}`);
  for (const one of seen("nav [aria-current]")) {
    const other = [...one.closest("nav").querySelectorAll("a:not([aria-current])")].find((a) => a.checkVisibility());
    const look = (a) => {
      const s = getComputedStyle(a);
      return s.borderBottomColor + s.outlineStyle + s.textDecorationLine + s.fontWeight;
    };
    if (other && look(one) === look(other)) lost.push(`not told from the rest: ${said(one)}`);
  }
  for (const one of seen("svg :is(text, path, polyline, line, circle, rect)")) {
    const style = getComputedStyle(one), room = one.getBoundingClientRect();
    if (room.width + room.height === 0) continue;
    const stroked = Math.min(style.strokeOpacity, parseFloat(style.strokeWidth)) > 0;
    const paints = [[style.fill, style.fillOpacity > 0], [style.stroke, stroked]];
    const wrong = style.opacity === "0" ? undefined : paints.find(([paint, visible]) => visible && own(paint));
    if (wrong) lost.push(`drawn in ${wrong[0]}: ${said(one)}`);
  }
  for (const one of seen(".uptime-days li[data-tone]"))
    if (parseFloat(getComputedStyle(one).borderTopWidth) < 1) lost.push(`a day without an edge: ${said(one)}`);
  const looks = new Map();
  for (const one of seen(".uptime-days li[data-tone], .sev[data-severity]")) {
    const s = getComputedStyle(one), kind = one.dataset.tone || `severity ${one.dataset.severity}`;
    looks.set(kind, s.backgroundColor + s.backgroundImage + s.borderTopStyle + s.borderTopWidth + one.innerText);
  }
  for (const [kind, look] of looks)
    for (const [other, same] of looks)
      if (kind < other && look === same && ![kind, other].every((one) => ["quiet", "unknown"].includes(one)))
        lost.push(`${kind} looks like ${other}`);
  return lost;
}"""


def lost_in(page: Page, stops: int = 3) -> list[str]:
    """What cannot be told on the open page, which was asked for with `forced_colors="active"`: state without an edge,
    drawings in colours that are not the reader's, and, of the first `stops` places of the keyboard, those without an
    outline."""
    assert page.evaluate("matchMedia('(forced-colors: active)').matches")
    found: list[str] = page.evaluate(LOST)
    for _ in range(stops):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement);"
            " return [s.outlineStyle, parseFloat(s.outlineWidth), document.activeElement.outerHTML.slice(0, 120)]; })()"
        )
        if not outline[2].startswith("<body") and (outline[0] == "none" or outline[1] < 2):
            found.append(f"the focus is not seen on {outline[2]}")
    return found
