/* Boxes to tick that depend on another field: fetched when an experiment is chosen or a twin is looked for.
   What is ticked stays ticked: the form sends it along. */
(() => {
  "use strict";

  for (const form of document.querySelectorAll("form.schedule")) {
    const places = [...form.querySelectorAll("[data-choices]")];
    const button = form.querySelector('button[name="find"]');
    if (!places.length) continue;
    let timer = 0;
    let asked = 0;
    if (button) button.hidden = true;

    const ticked = () => places.map((place) => [...place.querySelectorAll(":checked")].map((each) => each.value).join(" ")).join("|");

    async function show() {
      const mine = ++asked;
      const before = ticked();
      const data = new FormData(form);
      data.set("preview", "1");
      try {
        const answer = await fetch(form.getAttribute("action") || location.href, {
          method: "POST",
          body: data,
          headers: { "X-Part": "choices", Accept: "text/html" },
        });
        if (mine !== asked || !answer.ok || answer.redirected) return;
        const part = document.createElement("div");
        part.innerHTML = await answer.text();
        if (mine !== asked) return;
        if (ticked() !== before) return soon(); /* ticked meanwhile: ask again, nothing is lost */
        for (const place of places) {
          place.innerHTML = part.querySelector(`[data-choices="${place.dataset.choices}"]`).innerHTML;
        }
      } catch {
        if (button) button.hidden = false; /* the server is away for a moment: ask by hand */
      }
    }

    function soon() {
      clearTimeout(timer);
      timer = setTimeout(show, 300);
    }

    form.addEventListener("input", (event) => {
      if (event.target.name === "experiment" || event.target.name === "find_twins") soon();
    });

    /* Enter in the search looks; it does not save. */
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.name === "find_twins") {
        event.preventDefault();
        clearTimeout(timer);
        show();
      }
    });
  }
})();
