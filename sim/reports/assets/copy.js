/* The button that copies the command. A page opened from a file may not be given the clipboard: then the command is
 * selected and copied as by hand, and where even that is refused, it stays selected for Ctrl+C. */
(function () {
  "use strict";
  const button = document.getElementById("copy"), said = document.getElementById("copied");
  const command = document.getElementById("command");

  function select() {
    getSelection().selectAllChildren(command);
    return document.execCommand("copy");
  }

  async function copy() {
    let copied = true;
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      copied = select();
    }
    said.textContent = copied ? "copied" : "selected: press Ctrl+C to copy";
  }

  button.hidden = false;
  button.addEventListener("click", copy);
})();
