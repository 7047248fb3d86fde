/* The live stream: asks for what is new or changed since a cursor while the tab is visible, puts changed rows in place,
   and holds new ones back behind a button while somebody is reading further down or has the pointer in the list.
   A row can be opened in place. While one is open nothing in the list moves or changes; what came meanwhile is put in
   when the last one is closed. */
(() => {
  "use strict";

  const MOST_ROWS = 200;
  const STORED = "activity-interval";

  const table = document.querySelector("table.attempt-rows");
  const list = table.tBodies[0];
  const bar = document.querySelector("[data-live]");
  const opened = new Map();
  let stream = null;

  /* Rows that can be opened: the link to the attempt's page becomes a button. */
  function dress(row) {
    const link = row.querySelector("a.opener");
    if (!link) return row;
    const button = document.createElement("button");
    button.type = "button";
    button.className = link.className;
    button.setAttribute("aria-label", link.getAttribute("aria-label"));
    button.setAttribute("aria-expanded", "false");
    button.dataset.briefUrl = link.dataset.briefUrl;
    button.dataset.url = link.href;
    button.append(...link.childNodes);
    link.replaceWith(button);
    return row;
  }

  function open(row, button) {
    const brief = document.createElement("tr");
    const cell = brief.insertCell();
    brief.id = row.id.replace("attempt-", "brief-");
    brief.className = "opened";
    cell.className = "wide";
    cell.colSpan = row.cells.length;
    cell.textContent = "Fetching …";
    row.after(brief);
    row.classList.add("open");
    button.setAttribute("aria-expanded", "true");
    button.setAttribute("aria-controls", brief.id);
    opened.set(row.id, { row, button, brief });
    fill(cell, button);
    if (stream) stream.stand();
  }

  async function fill(cell, button) {
    try {
      const answer = await fetch(button.dataset.briefUrl, { headers: { Accept: "text/html" } });
      if (answer.redirected || !answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      cell.replaceChildren(...page.body.childNodes);
    } catch {
      const link = document.createElement("a");
      link.href = button.dataset.url;
      link.textContent = "Open its page";
      cell.replaceChildren("It could not be fetched. ", link);
    }
  }

  function close(id) {
    const { row, button, brief } = opened.get(id);
    const hadFocus = brief.contains(document.activeElement);
    opened.delete(id);
    brief.remove();
    row.classList.remove("open");
    button.setAttribute("aria-expanded", "false");
    button.removeAttribute("aria-controls");
    if (hadFocus) button.focus({ preventScroll: true });
    if (stream && !opened.size) stream.goOn();
  }

  /* The opened row the focus is in, else the one that was opened last. */
  function nearest() {
    const place = document.activeElement && document.activeElement.closest("tr");
    const own = [...opened].find(([, each]) => place && (each.row === place || each.brief === place));
    return own ? own[0] : [...opened.keys()].pop();
  }

  for (const row of list.rows) dress(row);
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button.opener");
    if (!button) return;
    const row = button.closest("tr");
    if (!opened.has(row.id)) {
      open(row, button);
      return;
    }
    if (event.detail) button.blur(); // pressed by pointer: the focus need not hold the list any longer
    close(row.id);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !opened.size || document.querySelector("dialog[open]")) return;
    close(nearest());
  });

  if (!bar) return;
  const interval = bar.querySelector("[data-live-interval]");
  const words = bar.querySelector("[data-live-words]");
  const show = bar.querySelector("[data-live-show]");
  const status = bar.querySelector("[data-live-status]");
  const kept = new Map(); // what came while a row is open, by id, the oldest first
  let lost = 0; // new ones among them that would be beyond the list's end
  let cursor = bar.dataset.cursor;
  let held = [];
  let timer = 0;
  let failures = 0;
  let isAsking = false;
  let isOver = false;

  const seconds = () => Number(interval.value);
  const newOnes = (count) => (count === 1 ? "1 new attempt" : `${count} new attempts`);

  function isReading() {
    const top = table.getBoundingClientRect().top;
    return top < 0 || list.matches(":hover") || list.contains(document.activeElement);
  }

  function say(text, isLost = false) {
    words.textContent = text;
    bar.classList.toggle("lost", isLost);
  }

  /* Where the list stands, in words short enough for one line of a phone: a second one would move the list. */
  function tell() {
    bar.classList.toggle("still", opened.size > 0);
    if (isOver || failures) return;
    if (!opened.size) {
      if (!seconds()) say("Not refreshing.");
      else say(held.length ? "Not moved while you read." : "Up to date.");
      return;
    }
    const count = held.length + lost + arriving().length;
    const wait = count ? (count === 1 ? " 1 new one waits." : ` ${count} new ones wait.`) : "";
    say(`Still while ${opened.size === 1 ? "a row is" : `${opened.size} rows are`} open.${wait}`);
  }

  function release() {
    for (const row of held) {
      row.classList.add("arrived");
      list.prepend(row);
    }
    if (held.length) {
      status.textContent = newOnes(held.length);
      const nothing = document.querySelector("[data-live-empty]");
      if (nothing) nothing.remove();
    }
    held = [];
    show.hidden = true;
    while (list.rows.length > MOST_ROWS) list.rows[list.rows.length - 1].remove();
    tell();
  }

  /* The row in its new state; what had the focus in it has it again. */
  function replace(shown, row) {
    const controls = (of) => [...of.querySelectorAll("a, button")];
    const place = controls(shown).indexOf(document.activeElement);
    shown.replaceWith(row);
    if (place >= 0 && controls(row)[place]) controls(row)[place].focus({ preventScroll: true });
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
      if (shown) replace(shown, row);
      else if (waiting >= 0) held[waiting] = row;
      else held.push(row);
    }
    offer();
  }

  /* Puts in what waits, or offers it to whom it would disturb. */
  function offer() {
    if (held.length && !isReading()) release();
    show.textContent = `Show ${newOnes(held.length)}`;
    show.hidden = !held.length;
  }

  /* New ones among what is kept, the oldest first. */
  function arriving() {
    const isNew = (row) => !("gone" in row.dataset) && !held.some((each) => each.id === row.id);
    return [...kept.values()].filter((row) => isNew(row) && !document.getElementById(row.id));
  }

  function keep(rows) {
    for (const row of rows.reverse()) kept.set(row.id, row);
    for (const row of arriving().slice(0, -MOST_ROWS)) {
      kept.delete(row.id);
      lost += 1;
    }
  }

  stream = {
    stand() {
      show.hidden = true;
      if (opened.size === 1) status.textContent = "The list stands still while a row is open.";
      tell();
    },
    goOn() {
      const rows = [...kept.values()].reverse();
      kept.clear();
      lost = 0;
      take(rows);
      tell();
    },
  };

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
      if (answer.status === 404 || answer.status === 400) {
        isOver = true;
        say(answer.status === 404 ? "What is listed here was deleted." : "This list cannot go on. Reload the page.", true);
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      if (answer.status === 200) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const rows = [...page.querySelectorAll("tbody > tr[id]")].map(dress);
        if (opened.size) keep(rows);
        else take(rows);
        cursor = answer.headers.get("X-Cursor") || cursor;
      }
      failures = 0;
      tell();
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

  /* Somebody who has left the list is not disturbed by what comes on top of it. */
  function leave() {
    setTimeout(() => {
      if (held.length && !opened.size && !isReading()) release();
    }, 400);
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
    else tell();
    plan();
  });
  show.addEventListener("click", () => {
    release();
    bar.scrollIntoView({ block: "nearest" });
  });
  list.addEventListener("pointerleave", leave);
  list.addEventListener("focusout", leave);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (seconds()) ask();
  });

  bar.hidden = false;
  tell();
  plan();
})();
