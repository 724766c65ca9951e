"use strict";
(function () {
  const settings = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };
  function draw(plot) {
    if (plot.dataset.drawn) return;
    plot.dataset.drawn = "yes";
    const source = document.getElementById(plot.dataset.source);
    const figure = JSON.parse(source.textContent);
    Plotly.newPlot(plot, figure.data, figure.layout, settings);
  }
  const plots = Array.from(document.querySelectorAll(".plot"));
  if ("IntersectionObserver" in window) {
    const watcher = new IntersectionObserver(
      (entries) => entries.filter((e) => e.isIntersecting).forEach((e) => draw(e.target)),
      { rootMargin: "600px" }
    );
    plots.forEach((plot) => watcher.observe(plot));
  } else {
    plots.forEach(draw);
  }
  window.addEventListener("beforeprint", () => plots.forEach(draw));
  const links = new Map(
    Array.from(document.querySelectorAll("nav a")).map((a) => [a.getAttribute("href").slice(1), a])
  );
  const sections = Array.from(document.querySelectorAll("main section"));
  function mark() {
    const passed = sections.filter((s) => s.getBoundingClientRect().top < 140);
    const here = (passed[passed.length - 1] || sections[0] || {}).id;
    links.forEach((a, id) => a.classList.toggle("here", id === here));
  }
  document.addEventListener("scroll", mark, { passive: true });
  mark();
})();
