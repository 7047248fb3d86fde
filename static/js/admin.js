/* Lists and forms: choosing rows for a bulk action, and a word before unsaved input is left behind. */
(() => {
  "use strict";

  const bulk = document.getElementById("bulk");
  if (bulk) {
    const all = document.querySelector("[data-pick-all]");
    const boxes = [...document.querySelectorAll('input[form="bulk"]')];
    const action = bulk.querySelector("select");
    const picked = bulk.querySelector("[data-picked]");

    const count = () => boxes.filter((box) => box.checked).length;

    /* The question names the action and how many rows it changes. */
    function refresh() {
      const number = count();
      const option = action.selectedOptions[0];
      picked.textContent = number ? `${number} selected` : "";
      if (all) {
        all.checked = number > 0 && number === boxes.length;
        all.indeterminate = number > 0 && number < boxes.length;
      }
      if (option && option.dataset.confirm && number) {
        bulk.dataset.confirm = `${option.textContent.trim()}: ${number} of the ${bulk.dataset.bulk} on this page. ${option.dataset.confirm}`;
        bulk.dataset.confirmButton = option.textContent.trim();
      } else {
        delete bulk.dataset.confirm;
      }
    }

    if (all) {
      all.hidden = false;
      all.addEventListener("change", () => {
        for (const box of boxes) box.checked = all.checked;
        refresh();
      });
    }
    for (const box of boxes) box.addEventListener("change", refresh);
    action.addEventListener("change", refresh);
    bulk.addEventListener("submit", (event) => {
      if (count()) return;
      event.preventDefault();
      picked.textContent = "Select at least one row first.";
    });
    refresh();
  }

  /* How much of a limited text is used, in characters as the server counts them. */
  for (const area of document.querySelectorAll("textarea[data-count]")) {
    const words = document.createElement("p");
    words.className = "count-words";
    const limit = Number(area.getAttribute("maxlength"));
    const tokens = (used) =>
      "tokens" in area.dataset ? `, about ${Math.ceil(used / 4).toLocaleString("en")} tokens (an estimate: characters ÷ 4)` : "";
    const show = () => {
      const used = [...area.value.normalize("NFC")].length;
      words.textContent = `${used.toLocaleString("en")} of ${limit.toLocaleString("en")} characters${tokens(used)}`;
      words.classList.toggle("over", used > limit);
    };
    area.removeAttribute("maxlength");
    area.after(words);
    area.addEventListener("input", show);
    show();
  }

  for (const form of document.querySelectorAll("[data-guard]")) {
    const note = form.querySelector("[data-unsaved]");
    let isDirty = Boolean(document.getElementById("error-summary")) || form.dataset.guard === "unsaved";
    const show = () => {
      if (note) note.hidden = !isDirty;
    };
    form.addEventListener("input", () => {
      isDirty = true;
      show();
    });
    form.addEventListener("submit", () => {
      isDirty = false;
    });
    window.addEventListener("beforeunload", (event) => {
      if (isDirty) event.preventDefault();
    });
    show();
  }
})();
