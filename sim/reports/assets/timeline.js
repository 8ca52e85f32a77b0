/* A timeline on a canvas, without dependencies: ShardSimTimeline(element, data).
 *
 * data = {duration, end, tracks: [{rank, stream, ranks_folded}], labels: [{name, title, parts: [[title, share]]}],
 *         kinds: [{key, letter, color, ink, title}], columns: {track, label, kind, stage, microbatch, start, end}}
 * with times in seconds, -1 where there is no stage or microbatch; `end` bounds the slices, `duration` is the step's.
 * Each track keeps its slices sorted in typed arrays, so a view costs two binary searches and what it shows. Slices
 * too narrow to be told apart are added up per pixel and drawn as a stack of their shares: nothing is left out.
 */
(function () {
  "use strict";

  const THEMES = {
    light: { ink: "#24292f", dim: "#6a737d", row: "#f1f2f4", grid: "#00000014", bubble: "#dde1e6", focus: "#0072b2" },
    dark: { ink: "#e6e6e6", dim: "#9aa4af", row: "#20262d", grid: "#ffffff1c", bubble: "#343c46", focus: "#56b4e9" },
  };
  const STYLE = `
    .sst { position: relative; font: 12px/1.4 system-ui, sans-serif; }
    .sst-head { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; margin-bottom: 6px; }
    .sst-key b { display: inline-block; min-width: 16px; margin-right: 5px; border-radius: 3px; text-align: center; }
    .sst-tools { margin-left: auto; white-space: nowrap; }
    .sst-tools button { font: inherit; min-width: 30px; padding: 2px 8px; margin-left: 4px; cursor: pointer;
      color: inherit; background: transparent; border: 1px solid #8888; border-radius: 5px; }
    .sst-tools button[aria-pressed=true] { background: #8884; }
    .sst-scroll { overflow-x: hidden; overflow-y: auto; }
    .sst-scroll canvas { position: sticky; top: 0; display: block; width: 100%; touch-action: pan-y; cursor: grab; }
    .sst-scroll canvas:focus-visible { outline: 2px solid #56b4e9; outline-offset: -2px; }
    .sst-tip { position: absolute; z-index: 1; pointer-events: none; white-space: pre-line; max-width: 240px;
      padding: 6px 9px; border-radius: 6px; background: #1b1f24; color: #fff; box-shadow: 0 2px 8px #0006; }
    .sst-hint { margin-top: 4px; opacity: .75; }
    @media print { .sst-tools, .sst-hint { display: none; } }`;
  const AXIS = 24, TALLEST = 720, NARROW = 1.5, FONT = "system-ui, sans-serif";
  const UNITS = [[1, "s"], [1e-3, "ms"], [1e-6, "\u00b5s"], [1e-9, "ns"]];
  const HINT = "Click, then wheel or + and \u2212 to zoom (Ctrl + wheel at any time); drag or arrow keys to move; " +
    "0 for the whole step. Where slices are narrower than a pixel or two, a column shows their shares, stacked.";

  function ShardSimTimeline(element, data) {
    const kinds = data.kinds;
    const tracks = indexTracks(data);
    let rows = layOut(data.tracks, false);
    const parts = build(element, data, kinds, tracks);
    const { canvas, scroller, tip } = parts;
    const full = data.end || data.duration || 1;
    const view = { from: 0, to: full };
    const size = { width: 0, height: 0, gutter: 0 };
    let printing = false, pending = 0, drag = null, tall = false;

    const plot = () => Math.max(size.width - size.gutter, 1);
    const timeAt = (x) => view.from + ((x - size.gutter) / plot()) * (view.to - view.from);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const theme = () => (dark.matches && !printing ? THEMES.dark : THEMES.light);

    const colorOf = (kind) => (kind.key === "bubble" ? theme().bubble : kind.color);

    function schedule() {
      pending = pending || requestAnimationFrame(draw);
    }

    function show(from, to) {
      const span = Math.min(Math.max(to - from, full * 1e-7), full);
      view.from = Math.min(Math.max(from, 0), full - span);
      view.to = view.from + span;
      tip.hidden = true;
      schedule();
    }

    function zoom(factor, time = (view.from + view.to) / 2) {
      show(time - (time - view.from) * factor, time + (view.to - time) * factor);
    }

    function pan(share) {
      const step = share * (view.to - view.from);
      show(view.from + step, view.to + step);
    }

    function resize() {
      size.width = Math.max(scroller.clientWidth, 1);
      size.height = Math.min(rows.height + AXIS, TALLEST);
      size.gutter = size.width < 560 ? 58 : 118;
      scroller.style.height = size.height + "px";
      parts.space.style.height = rows.height + AXIS + "px";
      canvas.style.height = size.height + "px";
      canvas.width = Math.round(size.width * devicePixelRatio);
      canvas.height = Math.round(size.height * devicePixelRatio);
    }

    /* The whole picture for the present view; returns the milliseconds it took. */
    function draw() {
      const began = performance.now();
      pending = 0;
      resize();
      const paint = canvas.getContext("2d");
      paint.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      paint.clearRect(0, 0, size.width, size.height);
      const top = AXIS - scroller.scrollTop;
      const shares = new Float32Array(kinds.length * (Math.ceil(plot()) + 1));
      for (const row of rows.list) {
        if (top + row.y + row.height < AXIS || top + row.y > size.height) continue;
        paint.fillStyle = theme().row;
        paint.fillRect(size.gutter, top + row.y, plot(), row.height);
        drawTrack(paint, tracks[row.track], { y: top + row.y, height: row.height, least: row.first ? 0 : 3 }, shares);
      }
      drawNames(paint, top);
      drawAxis(paint);
      return performance.now() - began;
    }

    function drawTrack(paint, track, row, shares) {
      const scale = plot() / (view.to - view.from), columns = Math.ceil(plot()) + 1;
      const last = after(track.start, view.to);
      let narrow = false;
      paint.save();
      paint.beginPath();
      paint.rect(size.gutter, AXIS, plot(), size.height - AXIS);
      paint.clip();
      for (let i = after(track.reach, view.from); i < last; i++) {
        const left = (track.start[i] - view.from) * scale, right = (track.end[i] - view.from) * scale;
        if (right - left < NARROW) {
          addShare(shares, track.kind[i] * columns, columns, left, right);
          narrow = true;
        } else drawSlice(paint, track, i, Math.max(left, -9), Math.min(right, plot() + 9), row);
      }
      if (narrow) drawShares(paint, shares, columns, row);
      paint.restore();
    }

    function drawSlice(paint, track, i, left, right, row) {
      const kind = kinds[track.kind[i]], x = size.gutter + left, width = right - left - (right - left > 5 ? 1 : 0);
      paint.fillStyle = colorOf(kind);
      paint.fillRect(x, row.y, width, row.height);
      if (width < 10 || row.height < 9 || kind.key === "bubble") return;
      const microbatch = data.columns.microbatch[track.source[i]];
      const long = microbatch < 0 ? kind.letter : kind.letter + microbatch;
      paint.font = `${Math.min(row.height - 1, 11)}px ${FONT}`;
      paint.fillStyle = kind.ink;
      paint.textAlign = "center";
      paint.textBaseline = "middle";
      paint.fillText(width > 7 * long.length + 4 ? long : kind.letter, x + width / 2, row.y + row.height / 2 + 0.5);
    }

    function drawShares(paint, shares, columns, row) {
      const below = new Float32Array(columns);
      for (let k = 0; k < kinds.length; k++) {
        paint.fillStyle = colorOf(kinds[k]);
        for (let c = 0; c < columns; c++) {
          const share = shares[k * columns + c];
          if (share === 0) continue;
          const height = Math.max(Math.min(share, 1 - below[c]) * row.height, row.least);
          paint.fillRect(size.gutter + c, row.y + below[c] * row.height, 1, height);
          below[c] += share;
          shares[k * columns + c] = 0;
        }
      }
    }

    function drawNames(paint, top) {
      let free = AXIS - 8;
      paint.textAlign = "right";
      paint.textBaseline = "middle";
      for (const row of rows.list) {
        const middle = top + row.y + row.height / 2, track = data.tracks[row.track];
        if (middle < AXIS || middle > size.height || (!row.first && row.height < 9) || middle - 5 < free) continue;
        const folded = track.ranks_folded > 1 && size.gutter > 80 ? ` \u00d7${track.ranks_folded}` : "";
        paint.font = `${row.first ? 11 : 10}px ${FONT}`;
        paint.fillStyle = row.first ? theme().ink : theme().dim;
        paint.fillText(row.first ? `rank ${track.rank}${folded}` : track.stream, size.gutter - 6, middle + 0.5);
        free = middle + 6;
      }
    }

    function drawAxis(paint) {
      const step = niceStep(((view.to - view.from) * (size.width < 560 ? 70 : 95)) / plot());
      const [unit, name] = UNITS.find(([one]) => step >= 0.1 * one) || UNITS[3];
      const decimals = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9));
      paint.font = `11px ${FONT}`;
      paint.textBaseline = "middle";
      for (let n = Math.ceil(view.from / step - 1e-9); n * step <= view.to * (1 + 1e-12); n++) {
        const x = size.gutter + (n * step - view.from) * plot() / (view.to - view.from);
        paint.fillStyle = theme().grid;
        paint.fillRect(x, AXIS - 5, 1, size.height - AXIS + 5);
        paint.fillStyle = theme().dim;
        const text = `${((n * step) / unit).toFixed(decimals)} ${name}`, half = paint.measureText(text).width / 2;
        paint.textAlign = x + half > size.width ? "right" : "center";
        paint.fillText(text, x + half > size.width ? size.width - 1 : x, AXIS / 2 - 2);
      }
    }

    /* The slice under the pointer, or null; a slice narrower than a pixel is found from a pixel away. */
    function sliceAt(x, y) {
      const at = y + scroller.scrollTop - AXIS, time = timeAt(x), near = (view.to - view.from) / plot();
      const row = rows.list.find((one) => at >= one.y && at < one.y + one.height);
      if (!row || x < size.gutter || y < AXIS) return null;
      const track = tracks[row.track], i = after(track.start, time + near / 2) - 1;
      return i >= 0 && track.end[i] >= time - near ? { track: data.tracks[row.track], index: track.source[i] } : null;
    }

    function hover(event) {
      const found = sliceAt(event.offsetX, event.offsetY);
      tip.hidden = !found;
      if (!found) return;
      tip.textContent = describe(data, found);
      const box = element.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      tip.style.left = Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth)) + "px";
      tip.style.top = (y + tip.offsetHeight + 18 > box.height ? y - tip.offsetHeight - 10 : y + 16) + "px";
    }

    function onWheel(event) {
      if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / plot());
      else zoom(Math.exp(event.deltaY * 0.002), timeAt(event.offsetX));
    }

    function onMove(event) {
      if (!drag) return hover(event);
      const moved = event.clientX - drag.x;
      scroller.scrollTop -= event.clientY - drag.y;
      drag = { x: event.clientX, y: event.clientY };
      if (moved) pan(-moved / plot());
    }

    function onKey(event) {
      const act = {
        "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7), "0": () => show(0, full),
        ArrowLeft: () => pan(-0.1), ArrowRight: () => pan(0.1),
        ArrowUp: () => (scroller.scrollTop -= 60), ArrowDown: () => (scroller.scrollTop += 60),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    }

    canvas.addEventListener("wheel", onWheel, { passive: false });
    canvas.addEventListener("keydown", onKey);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      drag = { x: event.clientX, y: event.clientY };
    });
    canvas.addEventListener("pointermove", onMove);
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (drag = null));
    canvas.addEventListener("pointerleave", () => (tip.hidden = true));
    parts.nearer.onclick = () => zoom(0.5);
    parts.farther.onclick = () => zoom(2);
    parts.taller.hidden = rows.height >= layOut(data.tracks, true).height;
    parts.taller.onclick = () => {
      tall = !tall;
      parts.taller.setAttribute("aria-pressed", tall);
      rows = layOut(data.tracks, tall);
      schedule();
    };
    parts.whole.onclick = () => show(0, full);
    scroller.addEventListener("scroll", schedule);
    dark.addEventListener("change", schedule);
    addEventListener("beforeprint", () => { printing = true; draw(); });
    addEventListener("afterprint", () => { printing = false; schedule(); });
    new ResizeObserver(schedule).observe(element);
    draw();
    return { draw, show, zoom, sliceAt, view };
  }

  /* Per track: its slices in the order of their starts; `reach` is the latest end so far, which can be searched. */
  function indexTracks(data) {
    const { track, kind, start, end } = data.columns;
    const sources = data.tracks.map(() => []);
    for (let i = 0; i < track.length; i++) sources[track[i]].push(i);
    return sources.map((list) => {
      const source = Int32Array.from(list).sort((a, b) => start[a] - start[b]);
      const sorted = { source, start: new Float64Array(list.length), end: new Float64Array(list.length),
        reach: new Float64Array(list.length), kind: new Uint8Array(list.length) };
      source.forEach((from, i) => {
        sorted.start[i] = start[from];
        sorted.end[i] = end[from];
        sorted.reach[i] = Math.max(end[from], i ? sorted.reach[i - 1] : 0);
        sorted.kind[i] = kind[from];
      });
      return sorted;
    });
  }

  /* A rank's first stream is a full row, its others are half rows below it: as tall as fits, or tall enough to read. */
  function layOut(tracks, tall) {
    const firsts = tracks.map((one, i) => i === 0 || tracks[i - 1].rank !== one.rank);
    const ranks = firsts.filter(Boolean).length, gap = ranks > 24 ? 1 : 3;
    const weight = ranks + (tracks.length - ranks) / 2;
    const fitting = Math.floor((TALLEST - AXIS - gap * ranks) / weight);
    const height = tall ? 28 : Math.min(Math.max(fitting, 6), 28);
    let y = 0;
    const list = tracks.map((_, track) => {
      const first = firsts[track], apart = first ? gap : firsts[track - 1] ? gap - 1 : 0;
      const row = { track, first, y: y + apart, height: first ? height : height / 2 };
      y = row.y + row.height;
      return row;
    });
    return { list, height: y + 2 };
  }

  /* Index of the first element of a sorted array that is greater than the value. */
  function after(sorted, value) {
    let low = 0, high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] > value) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  function addShare(shares, offset, columns, left, right) {
    const from = Math.max(left, 0), to = Math.min(right, columns - 1);
    for (let c = Math.floor(from); c < to; c++) shares[offset + c] += Math.min(to, c + 1) - Math.max(from, c);
  }

  function niceStep(least) {
    const power = 10 ** Math.floor(Math.log10(least));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= least * (1 - 1e-9));
  }

  function describe(data, { track, index }) {
    const column = data.columns, label = data.labels[column.label[index]];
    const took = column.end[index] - column.start[index], kind = data.kinds[column.kind[index]];
    const lines = [label.name, label.title || kind.title];
    const folded = track.ranks_folded > 1 ? ` (as on ${track.ranks_folded} ranks)` : "";
    lines.push(`rank ${track.rank}, ${track.stream}${folded}`);
    if (column.stage[index] >= 0) lines.push(`stage ${column.stage[index]}`);
    if (column.microbatch[index] >= 0) lines.push(`microbatch ${column.microbatch[index]}`);
    lines.push(`starts at ${seconds(column.start[index])}`, `takes ${seconds(took)}`);
    if (data.duration > 0) lines.push(`${((100 * took) / data.duration).toPrecision(2)} % of the step`);
    for (const [title, share] of label.parts) lines.push(`${(100 * share).toPrecision(2)} % of it ${title}`);
    return [...new Set(lines)].join("\n");
  }

  function seconds(time) {
    const [unit, name] = UNITS.find(([one]) => time >= one) || UNITS[3];
    return `${(time / unit).toPrecision(4)} ${name}`;
  }

  function build(element, data, kinds, tracks) {
    const add = (parent, tag, name, text) => {
      const made = document.createElement(tag);
      if (name) made.className = name;
      if (text) made.textContent = text;
      return parent.appendChild(made);
    };
    const button = (parent, text, words) => {
      const made = add(parent, "button", "", text);
      made.type = "button";
      made.setAttribute("aria-label", words);
      return made;
    };
    element.replaceChildren();
    element.classList.add("sst");
    add(element, "style", "", STYLE);
    const head = add(element, "div", "sst-head"), used = new Set();
    for (const track of tracks) for (const kind of track.kind) used.add(kind);
    kinds.forEach((kind, k) => {
      if (!used.has(k)) return;
      const key = add(head, "span", "sst-key"), swatch = add(key, "b", "", kind.letter);
      swatch.style.cssText = `background:${kind.color};color:${kind.ink}`;
      key.append(kind.title);
    });
    const tools = add(head, "span", "sst-tools");
    const nearer = button(tools, "+", "Zoom in"), farther = button(tools, "\u2212", "Zoom out");
    const taller = button(tools, "tall rows", "Tall rows, with letters");
    const whole = button(tools, "whole step", "Show the whole step");
    const scroller = add(element, "div", "sst-scroll"), space = add(scroller, "div"), canvas = add(space, "canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `Timeline: ${data.columns.start.length} slices on ${data.tracks.length} streams ` +
      `over ${seconds(data.duration)}. Plus and minus zoom, arrow keys move, 0 shows the whole step.`);
    const tip = add(element, "div", "sst-tip");
    tip.hidden = true;
    tip.setAttribute("role", "tooltip");
    add(element, "div", "sst-hint", HINT);
    return { canvas, scroller, space, tip, nearer, farther, taller, whole };
  }

  window.ShardSimTimeline = ShardSimTimeline;
})();
