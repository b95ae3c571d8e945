"use strict";
// The strip chart: a line of the last minutes, newest at the right. Nothing here knows what it shows.

const SVG = "http://www.w3.org/2000/svg";

/** Draws points `[seconds ago, value]`, newest first, over `span` seconds into an SVG of 600 by 120. */
function drawStrip(svg, points, span) {
  const top = Math.max(1, ...points.map((point) => point[1]));
  const x = (ago) => (600 - (ago / span) * 600).toFixed(1);
  const y = (value) => (116 - (value / top) * 108).toFixed(1);
  const line = points.map(([ago, value]) => `${x(ago)},${y(value)}`);
  const first = points.length ? x(points[0][0]) : "600";
  const last = points.length ? x(points[points.length - 1][0]) : "600";
  shape(svg, "area", "polygon").setAttribute("points", [`${first},120`, ...line, `${last},120`].join(" "));
  shape(svg, "line", "polyline").setAttribute("points", line.join(" "));
  return top;
}

function shape(svg, name, kind) {
  let found = svg.querySelector(`.${name}`);
  if (!found) {
    found = document.createElementNS(SVG, kind);
    found.setAttribute("class", name);
    svg.append(found);
  }
  return found;
}
