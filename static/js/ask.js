/* Links to the question before a twin is asked open it as a dialog. Whatever goes wrong, the link is followed. */
(() => {
  "use strict";

  const isPlain = (event) => event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);

  function show(html, opener) {
    const dialog = document.createElement("dialog");
    dialog.className = "ask wide";
    dialog.setAttribute("aria-label", "Ask this twin");
    dialog.innerHTML = html;
    dialog.addEventListener("click", (event) => {
      if (!event.target.closest("[data-close]")) return;
      event.preventDefault();
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (opener.isConnected) opener.focus();
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("click", async (event) => {
    const link = event.target.closest('a[href*="/digitaltwin/ask/"]');
    if (!link || !isPlain(event) || typeof HTMLDialogElement === "undefined") return;
    event.preventDefault();
    if (document.querySelector("dialog[open]") || link.hasAttribute("aria-busy")) return;
    link.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(link.href, { headers: { "X-Part": "dialog", Accept: "text/html" } });
      const html = answer.ok && !answer.redirected ? await answer.text() : "";
      if (html.includes("data-ask")) show(html, link);
      else location.assign(link.href);
    } catch {
      location.assign(link.href);
    }
    link.removeAttribute("aria-busy");
  });
})();
