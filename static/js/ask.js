/* Asking a twin: links to the question open it as a dialog, and what was asked is followed there to its end. Whatever
   goes wrong, the link is followed or the form is sent as it is; a request that was sent twice asks once. */
(() => {
  "use strict";

  const OFTEN_MS = 500;
  const SELDOM_MS = 2000;
  const NO_ANSWER =
    "No answer about this attempt; trying again. It goes on by itself. If this stays, reload the page: perhaps you have " +
    "to sign in again.";
  const isPlain = (event) => event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);

  function fragmentOf(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content;
  }

  // By its mark, not its words: somebody may be called like one.
  const isPart = (html, mark) => fragmentOf(html).querySelector(mark) !== null;

  async function part(url, name, more = {}) {
    const answer = await fetch(url, { ...more, headers: { "X-Part": name, Accept: "text/html" } });
    return answer.ok ? answer.text() : "";
  }

  /* The part that tells how far it is; with an `end` where asking again is of no use. */
  async function progress(url) {
    const answer = await fetch(url, { headers: { "X-Part": "progress", Accept: "text/html" } });
    if (answer.redirected || answer.status === 401 || answer.status === 403) return { html: "", end: "You are signed out. Reload the page to sign in again." };
    if (answer.status === 404 || answer.status === 400) return { html: "", end: "This attempt is gone: its experiment was deleted." };
    return { html: answer.ok ? await answer.text() : "", end: "" };
  }

  class Asking {
    constructor(opener) {
      this.opener = opener;
      this.timer = 0;
      this.dialog = document.createElement("dialog");
      this.dialog.className = "ask wide";
      this.dialog.setAttribute("aria-label", "Ask this twin");
      this.body = document.createElement("div");
      this.said = document.createElement("p");
      this.said.className = "only-heard";
      this.said.setAttribute("role", "status");
      this.dialog.append(this.body, this.said);
      this.dialog.addEventListener("click", (event) => this.click(event));
      this.dialog.addEventListener("submit", (event) => this.submit(event));
      this.dialog.addEventListener("close", () => this.leave());
    }

    open(html) {
      this.body.replaceChildren(fragmentOf(html));
      document.body.append(this.dialog);
      this.dialog.showModal();
    }

    leave() {
      clearTimeout(this.timer);
      this.dialog.remove();
      if (this.opener.isConnected) this.opener.focus();
    }

    say(words) {
      if (this.said.textContent !== words) this.said.textContent = words;
    }

    click(event) {
      const watched = event.target.closest("[data-watch]");
      if (watched) this.follow(watched.dataset.watch, true);
      if (!event.target.closest("[data-close]")) return;
      event.preventDefault();
      this.dialog.close();
    }

    /* The form as it stands, so that pressing again after a lost connection is the same request. */
    async submit(event) {
      const form = event.target;
      if (event.defaultPrevented || !form.matches("[data-ask]")) return;
      event.preventDefault();
      if (form.hasAttribute("aria-busy")) return;
      form.setAttribute("aria-busy", "true");
      const action = (event.submitter && event.submitter.getAttribute("formaction")) || form.action;
      this.warn(form, "");
      this.say("Asking …");
      let html;
      try {
        html = await part(action, "progress", { method: "POST", body: new FormData(form) });
      } catch {
        form.removeAttribute("aria-busy");
        this.warn(form, "The connection was lost. Press again: however often it is sent, this asks once.");
        return;
      }
      if (isPart(html, "[data-progress]")) this.show(html, true);
      else {
        form.removeAttribute("aria-busy"); // who comes back to this page can press again
        form.action = action;
        form.submit(); // what it answers is a page of its own
      }
    }

    warn(place, words) {
      const last = place.querySelector(".lost");
      if (words && last && last.textContent === words) return;
      if (last) last.remove();
      if (!words) return;
      const line = document.createElement("div");
      line.className = "attention bad lost";
      line.textContent = words;
      const actions = place.querySelector(".actions");
      if (actions) actions.before(line);
      else place.append(line);
      this.say(words);
    }

    show(html, isFirst) {
      const before = this.body.querySelector("[data-progress]");
      const fresh = fragmentOf(html).querySelector("[data-progress]");
      const isOver = fresh.hasAttribute("data-over");
      const isFocused = this.body.contains(document.activeElement);
      if (isFirst || !before || before.outerHTML !== fresh.outerHTML) {
        this.body.replaceChildren(fresh);
        if (isFirst || (isFocused && !isOver)) fresh.querySelector("[data-close]").focus();
        else if (isOver) fresh.querySelector("h2").focus();
      }
      this.say(fresh.dataset.words);
      if (!isOver) this.timer = setTimeout(() => this.follow(fresh.dataset.progress, false), OFTEN_MS);
    }

    async follow(url, isFirst) {
      clearTimeout(this.timer);
      let found = { html: "", end: "" };
      try {
        found = await progress(url);
      } catch {
        /* said below */
      }
      if (!this.dialog.open) return;
      if (isPart(found.html, "[data-progress]")) {
        this.warn(this.body, "");
        this.show(found.html, isFirst);
        return;
      }
      if (found.end) {
        for (const old of this.body.querySelectorAll("[data-progress] :is(.stages, p)")) old.remove();
        for (const button of this.body.querySelectorAll("[data-progress] [data-close]")) button.textContent = "Close";
      }
      this.warn(this.body, found.end || NO_ANSWER);
      if (!found.end) this.timer = setTimeout(() => this.follow(url, isFirst), SELDOM_MS);
    }
  }

  let asking = null;

  document.addEventListener("click", async (event) => {
    const link = event.target.closest('a[href*="/digitaltwin/ask/"]');
    if (!link || !isPlain(event) || typeof HTMLDialogElement === "undefined") return;
    event.preventDefault();
    const isWithin = asking && asking.dialog.contains(link);
    if ((document.querySelector("dialog[open]") && !isWithin) || link.hasAttribute("aria-busy")) return;
    link.setAttribute("aria-busy", "true");
    let html = "";
    try {
      html = await part(link.href, "dialog");
    } catch {
      /* followed below */
    }
    link.removeAttribute("aria-busy");
    if (!isPart(html, "[data-ask]")) location.assign(link.href);
    else if (isWithin) {
      asking.body.replaceChildren(fragmentOf(html));
      asking.body.querySelector("[autofocus]").focus();
    } else {
      asking = new Asking(link);
      asking.open(html);
    }
  });
})();
