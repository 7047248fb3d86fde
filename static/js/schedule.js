/* The form of a schedule shows the fields of the chosen way to say when; without this all three are shown. */
(() => {
  "use strict";

  for (const ways of document.querySelectorAll(".ways")) {
    const show = () => {
      for (const way of ways.querySelectorAll(".way")) {
        way.querySelector(".way-fields").hidden = !way.querySelector('input[type="radio"]').checked;
      }
    };
    ways.addEventListener("change", show);
    window.addEventListener("pageshow", show);
    show();
  }
})();
