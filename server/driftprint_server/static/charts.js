// Two tiny charts as SVG. The figures stand beside them as text, so they are hidden from screen readers.

const SVG = "http://www.w3.org/2000/svg";

export function draw(tag, attributes = {}, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function chart(className, width, height) {
  return draw("svg", {
    class: className,
    viewBox: `0 0 ${width} ${height}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
}

// A share from 0 to 1 as a filled bar.
export function bar() {
  const element = chart("bar", 100, 6);
  const fill = draw("rect", { x: 0, y: 0, width: 0, height: 6 });
  element.append(fill);
  const show = (share, high) => {
    fill.setAttribute("width", String(100 * Math.min(1, Math.max(0, share))));
    element.classList.toggle("high", high);
  };
  return { element, show };
}

// The latest shares, newest on the right, on a fixed scale from 0 to 1.
export function sparkline() {
  const [width, height] = [100, 28];
  const element = chart("spark", width, height);
  const area = draw("path", { class: "area" });
  const line = draw("path");
  const base = draw("line", { x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5 });
  element.append(base, area, line);
  let shown = "";
  const show = (shares, most) => {
    if (shown === String(shares)) return;
    shown = String(shares);
    const step = width / (most - 1);
    const start = width - step * (shares.length - 1);
    const points = shares.map((share, i) => `${(start + i * step).toFixed(2)} ${(1 + (height - 2) * (1 - share)).toFixed(2)}`);
    line.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
    area.setAttribute("d", points.length > 1 ? `M${start.toFixed(2)} ${height}L${points.join("L")}L${width} ${height}Z` : "");
  };
  return { element, show };
}
