// What moves in a page: figures are drawn when they come into view, tables are searched and sorted.
(async () => {
  document.getElementById("old").hidden = "DecompressionStream" in window;
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (each) => each.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(unpacked).text();
  document.head.append(library);

  const draw = (figure) => {
    const source = figure.querySelector("script");
    if (!source) return;
    source.remove();
    const { data, layout } = JSON.parse(source.textContent);
    Plotly.newPlot(figure, data, layout, { responsive: true, displayModeBar: false });
  };
  const figures = [...document.querySelectorAll(".figure")];
  const seen = new IntersectionObserver(
    (entries) => entries.filter((each) => each.isIntersecting).forEach((each) => draw(each.target)),
    { rootMargin: "600px" },
  );
  figures.forEach((figure) => seen.observe(figure));

  // Paper is as wide as a figure on it: what is folded away is not printed.
  const visible = () => figures.filter((figure) => figure.offsetParent);
  addEventListener("beforeprint", () => {
    visible().forEach(draw);
    visible().forEach((figure) => Plotly.relayout(figure, { width: 660 }));
  });
  addEventListener("afterprint", () => visible().forEach((figure) => Plotly.relayout(figure, { width: null, autosize: true })));
})();

document.querySelectorAll(".table").forEach((of) => {
  const body = of.querySelector("tbody");
  const wanted = of.querySelector("input");
  wanted?.addEventListener("input", () => {
    const text = wanted.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(text);
  });
  of.querySelectorAll("thead th").forEach((header, column) => {
    let down = false;
    header.addEventListener("click", () => {
      down = !down;
      const value = (row) => Number(row.cells[column].dataset.value ?? NaN);
      const text = (row) => row.cells[column].textContent;
      const order = (a, b) => (value(b) || 0) - (value(a) || 0) || text(a).localeCompare(text(b));
      body.append(...[...body.rows].sort((a, b) => (down ? order(a, b) : order(b, a))));
    });
  });
});
