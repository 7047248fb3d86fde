/* A form that shows beside itself what it would do: asked of the server half a second after the last key. */
(() => {
  "use strict";

  for (const form of document.querySelectorAll("form[data-effect]")) {
    const place = document.getElementById(form.dataset.effect);
    const button = form.querySelector('button[name="preview"]');
    let timer = 0;
    let asked = 0;
    button.hidden = true;

    async function show() {
      const mine = ++asked;
      const data = new FormData(form);
      data.set("preview", "1");
      place.setAttribute("aria-busy", "true");
      try {
        const answer = await fetch(form.getAttribute("action") || location.href, {
          method: "POST",
          body: data,
          headers: { "X-Part": "effect", Accept: "text/html" },
        });
        if (mine === asked && answer.ok && !answer.redirected) place.innerHTML = await answer.text();
        else if (mine === asked && !answer.ok) button.hidden = false;
      } catch {
        button.hidden = false; /* the server is away for a moment: ask by hand */
      }
      if (mine === asked) place.removeAttribute("aria-busy");
    }

    function soon() {
      clearTimeout(timer);
      timer = setTimeout(show, 500);
    }

    form.addEventListener("input", (event) => {
      if (event.target.name !== "reason" && !place.contains(event.target)) soon();
    });

    /* Typed before this script was there, or kept by the browser on the way back. */
    const isTyped = (each) => each.type !== "hidden" && "defaultValue" in each && each.value !== each.defaultValue;
    if ([...form.elements].some(isTyped)) soon();
  }
})();
