// Says what a passkey's dialog came to where it came to nothing. allauth's script tells of it by an event.
document.addEventListener("allauth.error", (event) => {
  const place = document.getElementById("passkey-problem");
  if (!place) return;
  const error = event.detail.exception;
  const ended = error && (error.name === "NotAllowedError" || error.name === "AbortError");
  const say = globalThis.lastgood.say;
  const reasons = {
    SecurityError: say("This address can't use passkeys: they need a name such as localhost or a domain with https, not a number."),
    InvalidStateError: say("This key is registered already."),
  };
  place.textContent = ended
    ? say("Nothing was confirmed: the dialog was closed, timed out, or knew no passkey for this place.")
    : reasons[error && error.name] || say("The passkey did not work. Try again, or use another way.");
  place.hidden = false;
  event.preventDefault();
});
