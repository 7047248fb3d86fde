/* On every page: ask before forms marked data-confirm, send a form once, theme, experiment switcher, the viewer's
   own time in titles, a link that is copied, pages that renew themselves. Everything here also works without it,
   with fewer comforts. */
(() => {
  "use strict";

  const agreed = new WeakSet();
  const sent = new WeakSet();

  /* A dialog with the question; resolves to true when the person agrees. */
  function ask(words, button) {
    const dialog = document.createElement("dialog");
    if (typeof dialog.showModal !== "function") return Promise.resolve(window.confirm(words));
    dialog.className = "ask";
    dialog.setAttribute("aria-label", "Please confirm");
    const text = document.createElement("p");
    text.textContent = words;
    const choices = document.createElement("div");
    choices.className = "actions";
    const no = document.createElement("button");
    no.className = "button";
    no.type = "button";
    no.textContent = "Cancel";
    const yes = document.createElement("button");
    yes.className = "button primary";
    yes.type = "button";
    yes.textContent = button;
    choices.append(no, yes);
    dialog.append(text, choices);
    document.body.append(dialog);
    return new Promise((resolve) => {
      no.addEventListener("click", () => dialog.close(""));
      yes.addEventListener("click", () => dialog.close("yes"));
      dialog.addEventListener("close", () => {
        const isYes = dialog.returnValue === "yes";
        dialog.remove();
        resolve(isYes);
      });
      dialog.showModal();
    });
  }

  /* In the capture phase, so that it comes before everything else that listens for a submit. */
  document.addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      const submitter = event.submitter;
      const question = (submitter && submitter.dataset.confirm) || form.dataset.confirm;
      if (question && !agreed.has(form)) {
        event.preventDefault();
        event.stopImmediatePropagation();
        const button = form.dataset.confirmButton || (submitter && submitter.textContent.trim()) || "OK";
        ask(question, button).then((isYes) => {
          if (!isYes) return;
          agreed.add(form);
          form.requestSubmit(submitter);
        });
        return;
      }
      agreed.delete(form);
      if (form.method !== "post") return;
      if (sent.has(form)) {
        event.preventDefault();
        event.stopImmediatePropagation();
        return;
      }
      setTimeout(() => {
        if (event.defaultPrevented) return;
        sent.add(form);
        if (submitter) submitter.setAttribute("aria-disabled", "true");
        setTimeout(() => free(form), 8000);
      });
    },
    true,
  );

  function free(form) {
    sent.delete(form);
    for (const button of form.querySelectorAll('button[aria-disabled="true"]')) button.removeAttribute("aria-disabled");
  }

  /* Back from another page: the buttons of this one work again. */
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("form").forEach(free);
  });

  /* Theme: kept with the account, in a cookie for the sign-in page, data-theme for now. */
  for (const themes of document.querySelectorAll("[data-themes]")) {
    themes.hidden = false;
    themes.addEventListener("submit", (event) => {
      if (!event.submitter) return;
      event.preventDefault();
      const theme = event.submitter.value;
      const days = theme ? 365 : 0;
      const secure = location.protocol === "https:" ? "; Secure" : "";
      fetch(themes.action, { method: "POST", body: new FormData(themes, event.submitter), redirect: "manual", keepalive: true }).catch(() => {});
      document.cookie = `theme=${theme}; Path=${themes.dataset.themes}; SameSite=Lax; Max-Age=${days * 86400}${secure}`;
      if (theme) document.documentElement.dataset.theme = theme;
      else delete document.documentElement.dataset.theme;
      for (const button of themes.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button === event.submitter));
      }
    });
  }

  /* Switcher: a choice by mouse or touch is taken at once; by keyboard only with the button, since each arrow key chooses. */
  for (const form of document.querySelectorAll("[data-switcher]")) {
    const select = form.querySelector("select");
    const button = form.querySelector("button");
    let isByKeyboard = false;
    button.hidden = true;
    select.addEventListener("keydown", () => {
      isByKeyboard = true;
      button.hidden = false;
    });
    select.addEventListener("pointerdown", () => {
      isByKeyboard = false;
    });
    select.addEventListener("change", () => {
      if (!isByKeyboard) form.requestSubmit();
    });
  }

  /* The viewer's own time, added to the title of a time when it is looked at. */
  function addOwnTime(event) {
    const element = event.target.closest && event.target.closest("time[datetime]");
    if (!element || element.dataset.own) return;
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    element.dataset.own = "1";
    const words = new Intl.DateTimeFormat("en-GB", {
      weekday: "short", day: "numeric", month: "short", year: "numeric",
      hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
      timeZone: document.documentElement.dataset.zone || undefined,
    }).format(at);
    element.title = `${element.title}\nyour time: ${words}`;
  }
  document.addEventListener("pointerover", addOwnTime);
  document.addEventListener("focusin", addOwnTime);

  /* Copies what a field holds; where the browser does not let it, the text is marked to be copied by hand. */
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const field = document.getElementById(button.dataset.copy);
      field.select();
      try {
        await navigator.clipboard.writeText(field.value);
        button.textContent = "Copied";
      } catch {
        field.focus();
      }
    });
  }

  /* After a refused form, begin with what has to be mended. */
  const summary = document.getElementById("error-summary");
  if (summary) summary.focus();

  /* Menus over rows and over the page close when one leaves them. */
  document.addEventListener("click", (event) => {
    if (event.target.closest("dialog")) return;
    for (const menu of document.querySelectorAll("details.more[open], details.pausing[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.activeElement.closest("details.more[open], details.areas[open], details.pausing[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  /* Whether a part's data-cursor no longer holds; asks data-check-url, which answers 204 as long as it does. */
  async function hasChanged(part) {
    if (!part.dataset.checkUrl) return true;
    const address = new URL(part.dataset.checkUrl, location.href);
    address.searchParams.set("since", part.dataset.cursor);
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (answer.status >= 500) throw new Error(String(answer.status));
    return answer.status !== 204;
  }

  /* Why asking again is of no use, "" while it may be. */
  function endOf(answer) {
    if (answer.redirected || answer.status === 401 || answer.status === 403) return "You are signed out. Reload the page to sign in again.";
    if (answer.status === 404 || answer.status === 400) return "What this showed is gone: it was deleted. Go back to a list.";
    return "";
  }

  /* A line at the top of a part that is not renewed, and why; "" takes it away. */
  function warn(part, words) {
    let line = part.firstElementChild;
    if (!line || !line.matches(".not-renewed")) {
      if (!words) return;
      line = document.createElement("div");
      line.className = "attention bad not-renewed";
      line.setAttribute("role", "status");
      part.prepend(line);
    }
    if (!words) line.remove();
    else if (line.textContent !== words) line.textContent = words;
  }

  /* A part of a page that says data-renew="seconds" is fetched again until it no longer says so: by itself from
     data-renew-url, or with its whole page. */
  async function renew(part) {
    const isBusy = document.hidden || part.contains(document.activeElement) || document.querySelector("dialog[open]");
    if (!isBusy) {
      try {
        const isNew = await hasChanged(part);
        const answer = isNew && (await fetch(part.dataset.renewUrl || location.href, { headers: { Accept: "text/html" } }));
        const end = answer ? endOf(answer) : "";
        if (end) {
          warn(part, end);
          return;
        }
        if (answer && !answer.ok) throw new Error(String(answer.status));
        if (answer) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const fresh = page.getElementById(part.id);
          if (!fresh) return;
          part.replaceWith(fresh);
          if (!part.dataset.renewUrl) document.title = page.title;
          part = fresh;
        }
        warn(part, "");
      } catch {
        warn(part, "The server does not answer, so this may be old. Trying again.");
      }
    }
    if (part.dataset.renew) setTimeout(renew, Number(part.dataset.renew) * 1000, part);
  }
  for (const part of document.querySelectorAll("[data-renew]")) {
    setTimeout(renew, Number(part.dataset.renew) * 1000, part);
  }
})();
