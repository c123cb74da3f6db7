"use strict";
// Everything was computed before: this file draws the figures and shows a trial when it is asked for.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const panel = document.getElementById("panel");
  const config = {
    responsive: true,
    displaylogo: false,
    // No button of this page sends data anywhere.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const drawing = (number) => {
    const source = document.getElementById(`drawing-${number}`);
    const svg = (source.content || source).querySelector("svg");
    return svg.cloneNode(true);
  };

  const decisions = (rows) => {
    const details = element("details");
    details.append(element("summary", `Decisions (${rows.length})`));
    const table = element("table", undefined, "decisions");
    for (const [path, value] of rows) {
      const row = table.insertRow();
      row.append(element("td", path, "text"), element("td", value));
    }
    details.append(table);
    return details;
  };

  const mark = (number) => {
    document.querySelectorAll("tr[data-trial]").forEach((row) => {
      row.classList.toggle("selected", row.dataset.trial === String(number));
    });
    document.querySelectorAll("#front .plot").forEach((plot, i) => {
      const at = data.trials[number].at[i];
      Plotly.restyle(plot, { x: [[at[0]]], y: [[at[1]]] }, [plot.data.length - 1]);
    });
  };

  const show = (number) => {
    const trial = data.trials[number];
    if (!trial) return;
    const facts = element("dl");
    for (const [name, value] of trial.facts) facts.append(element("dt", name), element("dd", value));
    panel.dataset.trial = number;
    panel.replaceChildren(element("h3", trial.title), facts, drawing(number), decisions(trial.decisions));
    mark(number);
  };

  const drawAll = async () => {
    for (const [id, figure] of Object.entries(data.figures)) {
      const plot = document.getElementById(id);
      await Plotly.newPlot(plot, figure.data, figure.layout, config);
      plot.on("plotly_click", (event) => {
        const number = event.points[0].customdata;
        if (number !== undefined) show(number);
      });
    }
    document.querySelectorAll("button.trial").forEach((button) => {
      button.addEventListener("click", () => {
        show(button.dataset.trial);
        panel.scrollIntoView({ block: "nearest" });
      });
    });
    if (data.selected !== null) show(data.selected);
    document.body.dataset.ready = "yes";
  };

  drawAll();
})();
