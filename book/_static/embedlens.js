// The theme takes the focus from the theme switch once it is pressed. Who pressed it by keyboard
// (detail is 0) gets it back, to press again or to go on from there.
document.addEventListener("click", (event) => {
  const button = event.target.closest(".theme-switch-button");
  if (button && event.detail === 0) button.focus();
});
