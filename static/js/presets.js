/* The form of a token: a button beside each well-known endpoint that fills in its base URL. */
(() => {
  "use strict";

  for (const place of document.querySelectorAll("[data-presets]")) {
    const form = place.closest("form");
    const url = form.elements.namedItem("base_url");
    const key = form.elements.namedItem("secret");

    for (const button of place.querySelectorAll("button[data-url]")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        url.value = button.dataset.url;
        url.dispatchEvent(new Event("input", { bubbles: true }));
        (button.dataset.key === "needed" ? key : form.elements.namedItem("default_model")).focus();
      });
    }
  }
})();
