// While something syncs, look again every two seconds, unless a search is being typed.
const box = document.querySelector("input[name=q]");
setInterval(() => {
  if (box.value === box.defaultValue) location.reload();
}, 2000);
