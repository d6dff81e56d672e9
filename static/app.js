// What the dashboard's pages do beyond their HTML: keep regions fresh without disturbing whoever reads or types, count
// times on, follow logs. Every page is complete without it.
"use strict";
(() => {
  const PAUSED = "bgapp-paused"; // in localStorage, so that a pause outlives the page
  const SLOWEST = 30000; // ms between tries while the server does not answer
  const ANNOUNCED_EVERY = 15000; // ms between two summaries for screen readers
  const MOST_OUTPUT = 1 << 20; // characters of a log that stay on the page

  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // The server's clock, as far as the page can tell: people's own clocks are often wrong.
  const rendered = find("[data-freshness] time, .freshness time");
  const ahead = rendered ? Date.parse(rendered.dateTime) - Date.now() : 0;
  const now = () => Date.now() + ahead;

  // Times ------------------------------------------------------------------------------------------------------

  const two = (number) => String(number).padStart(2, "0");
  const duration = (seconds) => {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24, minutes = Math.floor(seconds / 60) % 60;
    if (days) return `${days} d ${hours} h`;
    return hours ? `${hours} h ${two(minutes)} min` : `${minutes} min ${two(Math.floor(seconds % 60))} s`;
  };
  const rough = (seconds) => {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  };
  const ago = (seconds) => {
    if (seconds < -0.5) return `in ${rough(-seconds + 1)}`;
    return seconds < 2 ? "just now" : `${rough(seconds)} ago`;
  };
  const countOn = () => {
    for (const time of all("time[data-ago], time[data-since]")) {
      const seconds = (now() - Date.parse(time.dateTime)) / 1000;
      const words = "since" in time.dataset ? duration(Math.max(seconds, 0)) : ago(seconds);
      if (time.textContent !== words) time.textContent = words;
    }
  };

  // Live regions -----------------------------------------------------------------------------------------------

  const isPausedByPerson = () => {
    try { return localStorage.getItem(PAUSED) === "1"; } catch { return false; }
  };
  const isSelecting = (region) => {
    const selection = getSelection();
    return selection && !selection.isCollapsed && selection.rangeCount > 0 && selection.getRangeAt(0).intersectsNode(region);
  };
  const isTyping = () => document.activeElement?.matches("input:not([type=hidden]), textarea, select") ?? false;
  const mustWait = (region) =>
    document.hidden || isPausedByPerson() || Date.now() < notBefore || isSelecting(region.closest("[data-output]") ?? region) ||
    (region.matches("[data-live]") && (isTyping() || find("details.menu[open], dialog[open]") !== null ||
      find("input[type=checkbox]:checked", region) !== null));

  const tags = new Map(); // the content that each region shows, by its ETag
  let failures = 0, notBefore = 0, freshAt = rendered?.textContent.split(" ").pop() ?? "", announcedAt = 0;

  document.addEventListener("htmx:config:request", (event) => {
    const region = event.target, { ctx } = event.detail;
    if (mustWait(region)) { event.preventDefault(); return; }
    if (tags.has(region.id)) ctx.request.headers["If-None-Match"] = tags.get(region.id);
    // A list stays where it is while somebody points at it or has scrolled into it.
    const rows = find("tbody", region);
    if (region.dataset.top && rows && (rows.matches(":hover") || scrollY > 400)) ctx.request.body.set("upto", region.dataset.top);
  });
  document.addEventListener("htmx:after:request", (event) => {
    const { response } = event.detail.ctx;
    if (response.status >= 400) { failed(); return; }
    const tag = response.headers.get("ETag");
    if (tag && event.target.id) tags.set(event.target.id, tag);
    failures = 0;
    notBefore = 0;
    const at = new Date(now());
    freshAt = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
    showFreshness();
  });
  document.addEventListener("htmx:error", () => failed());
  document.addEventListener("htmx:after:swap", () => { countOn(); announce(); showFreshness(); });

  const failed = () => {
    failures += 1;
    notBefore = Date.now() + Math.min(SLOWEST, 1500 * 2 ** failures);
    showFreshness();
  };
  const announce = () => {
    const words = find("[data-live][data-summary], .live[data-summary]")?.dataset.summary, place = find("[data-announce]");
    if (!words || !place || place.dataset.said === words || Date.now() - announcedAt < ANNOUNCED_EVERY) return;
    if (place.dataset.said) place.textContent = words;
    place.dataset.said = words;
    announcedAt = Date.now();
  };

  const freshness = find("[data-freshness]");
  const showFreshness = () => {
    if (!freshness) return;
    const isLive = find("[data-live], [data-tail]") !== null, isPaused = isPausedByPerson();
    const words = failures > 2 ? "Not updated since" : "Updated";
    find("[data-state]", freshness).textContent = words;
    find("time", freshness).textContent = freshAt;
    freshness.dataset.is = failures > 2 ? "stale" : isPaused || !isLive ? "paused" : "live";
    const button = find("button", freshness);
    button.hidden = !isLive;
    button.textContent = isPaused ? "Resume" : "Pause";
    find(".word", freshness).textContent = !isLive ? "Final" : failures > 2 ? "Retrying" : isPaused ? "Paused" : "Live";
  };
  const refresh = () => { for (const region of all("[data-live], [data-tail]")) htmx.trigger(region, "every", {}, false); };
  if (freshness) {
    const word = document.createElement("strong"), dot = document.createElement("span"), button = document.createElement("button");
    word.className = "word";
    dot.className = "dot";
    button.type = "button";
    button.addEventListener("click", () => {
      try { localStorage.setItem(PAUSED, isPausedByPerson() ? "0" : "1"); } catch { /* then it lasts for no page */ }
      showFreshness();
      if (!isPausedByPerson()) refresh();
    });
    freshness.prepend(dot, word);
    freshness.append(button);
    showFreshness();
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && window.htmx) refresh(); });

  // Logs ---------------------------------------------------------------------------------------------------------

  const isAtEnd = (output) => output.scrollTop + output.clientHeight >= output.scrollHeight - 24;
  const follow = (output) => {
    if (output.dataset.js) return;
    output.dataset.js = "1";
    output.scrollTop = output.scrollHeight;
    output.dataset.jsEnd = "1";
    const jump = document.createElement("button");
    jump.type = "button";
    jump.className = "button jump";
    jump.textContent = "Jump to newest";
    jump.hidden = true;
    jump.addEventListener("click", () => { output.scrollTop = output.scrollHeight; output.focus(); });
    output.after(jump);
    output.addEventListener("scroll", () => {
      output.dataset.jsEnd = isAtEnd(output) ? "1" : "";
      if (output.dataset.jsEnd) jump.hidden = true;
    });
    // What arrives is a change of the text, whoever made it.
    new MutationObserver(() => {
      while (output.textContent.length > MOST_OUTPUT && output.childNodes.length > 2) output.firstChild.remove();
      if (output.dataset.jsEnd) output.scrollTop = output.scrollHeight;
      else jump.hidden = isAtEnd(output);
    }).observe(output, { childList: true });
  };
  const followAll = () => all("[data-output]").forEach(follow);
  document.addEventListener("htmx:after:swap", followAll);

  // Forms and menus ----------------------------------------------------------------------------------------------

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    event.submitter?.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    for (const form of all("form[data-sent]")) delete form.dataset.sent;
    for (const button of all("[aria-busy]")) button.removeAttribute("aria-busy");
  });
  document.addEventListener("keydown", (event) => {
    const menu = find("details.menu[open]");
    if (event.key === "Escape" && menu) { menu.open = false; find("summary", menu).focus(); }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.closest?.("form[method=post]")?.requestSubmit();
  });
  document.addEventListener("click", (event) => {
    const menu = find("details.menu[open]");
    if (menu && !menu.contains(event.target)) menu.open = false;
  });
  for (const input of all("input[type=password]")) {
    const wrapper = document.createElement("div"), button = document.createElement("button");
    wrapper.className = "reveal";
    button.type = "button";
    button.className = "button";
    const say = () => {
      button.textContent = input.type === "password" ? "Show" : "Hide";
      button.setAttribute("aria-label", `${button.textContent} what is typed`);
    };
    button.addEventListener("click", () => { input.type = input.type === "password" ? "text" : "password"; say(); });
    input.form?.addEventListener("submit", () => { input.type = "password"; });
    say();
    input.before(wrapper);
    wrapper.append(input, button);
  }

  find("[data-focus]")?.focus();
  followAll();
  countOn();
  setInterval(countOn, 1000);
})();
