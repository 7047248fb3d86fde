/* The live stream: asks for what is new or changed since a cursor while the tab is visible, puts changed rows in place,
   and holds new ones back behind a button while somebody is reading further down or has the pointer in the list. */
(() => {
  "use strict";

  const MOST_ROWS = 200;
  const STORED = "activity-interval";

  const bar = document.querySelector("[data-live]");
  if (!bar) return;
  const list = document.getElementById(bar.dataset.body);
  const interval = bar.querySelector("[data-live-interval]");
  const words = bar.querySelector("[data-live-words]");
  const show = bar.querySelector("[data-live-show]");
  const status = bar.querySelector("[data-live-status]");
  let cursor = bar.dataset.cursor;
  let held = [];
  let timer = 0;
  let failures = 0;
  let isAsking = false;
  let isOver = false;

  const seconds = () => Number(interval.value);

  function isReading() {
    const top = list.closest("table").getBoundingClientRect().top;
    return top < 0 || list.matches(":hover") || list.contains(document.activeElement);
  }

  function say(text, isLost = false) {
    words.textContent = text;
    bar.classList.toggle("lost", isLost);
  }

  function release() {
    for (const row of held) {
      row.classList.add("arrived");
      list.prepend(row);
    }
    if (held.length) {
      status.textContent = held.length === 1 ? "1 new attempt" : `${held.length} new attempts`;
      const nothing = document.querySelector("[data-live-empty]");
      if (nothing) nothing.remove();
    }
    held = [];
    show.hidden = true;
    while (list.rows.length > MOST_ROWS) list.rows[list.rows.length - 1].remove();
  }

  /* Rows come newest first; they are taken oldest first, so that the newest ends on top. */
  function take(rows) {
    for (const row of rows.reverse()) {
      const shown = document.getElementById(row.id);
      if ("gone" in row.dataset) {
        held = held.filter((each) => each.id !== row.id);
        if (shown && !shown.contains(document.activeElement)) shown.remove();
        continue;
      }
      const waiting = held.findIndex((each) => each.id === row.id);
      if (shown && !shown.contains(document.activeElement)) shown.replaceWith(row);
      else if (waiting >= 0) held[waiting] = row;
      else if (!shown) held.push(row);
    }
    if (!held.length) {
      show.hidden = true;
      return;
    }
    if (!isReading()) {
      release();
      return;
    }
    show.textContent = held.length === 1 ? "Show 1 new attempt" : `Show ${held.length} new attempts`;
    show.hidden = false;
  }

  async function ask() {
    if (isAsking || isOver) return;
    isAsking = true;
    const address = new URL(bar.dataset.pollUrl, location.href);
    address.searchParams.set("since", cursor);
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" } });
      if (answer.redirected || answer.status === 401 || answer.status === 403) {
        isOver = true;
        say("You are signed out. Reload the page to sign in again.", true);
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      if (answer.status === 200) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        take([...page.querySelectorAll("tbody > tr[id]")]);
        cursor = answer.headers.get("X-Cursor") || cursor;
      }
      failures = 0;
      say("Up to date.");
    } catch {
      failures += 1;
      say("The server does not answer. Trying again.", true);
    } finally {
      isAsking = false;
      plan();
    }
  }

  function plan() {
    clearTimeout(timer);
    if (isOver || document.hidden || !seconds()) return;
    timer = setTimeout(ask, Math.max(seconds(), failures ? Math.min(60, 2 ** failures) : 0) * 1000);
  }

  try {
    const stored = localStorage.getItem(STORED);
    if (stored !== null && [...interval.options].some((option) => option.value === stored)) interval.value = stored;
  } catch {
    /* no storage: the server's choice stands */
  }
  interval.addEventListener("change", () => {
    try {
      localStorage.setItem(STORED, interval.value);
    } catch {
      /* no storage: the choice holds for this page */
    }
    if (seconds()) ask();
    else say("Not refreshing.");
    plan();
  });
  show.addEventListener("click", () => {
    release();
    bar.scrollIntoView({ block: "nearest" });
  });
  list.addEventListener("pointerleave", () => {
    if (held.length) setTimeout(() => isReading() || release(), 400);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (seconds()) ask();
  });

  bar.hidden = false;
  say(seconds() ? "Up to date." : "Not refreshing.");
  plan();
})();
