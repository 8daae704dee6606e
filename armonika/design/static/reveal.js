// A shown value hides itself again after 60 seconds.
for (const details of document.querySelectorAll("details[data-reveal]")) {
  let timer;
  details.addEventListener("toggle", () => {
    clearTimeout(timer);
    if (details.open) timer = setTimeout(() => { details.open = false; }, 60000);
  });
}
