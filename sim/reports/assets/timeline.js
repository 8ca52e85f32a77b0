/* A timeline on a canvas, without dependencies: ShardSimTimeline(element, data, options).
 *
 * data = {duration, end, tracks: [{rank, stream, ranks_folded}],
 *         labels: [{name, title, size, parts: [[title, share]]}],
 *         kinds: [{key, letter, color, ink, title}], columns: {track, label, kind, stage, microbatch, start, end}}
 * with times in seconds, -1 where there is no stage or microbatch; `end` bounds the slices, `duration` is the step's.
 * Each track keeps its slices sorted in typed arrays, so a view costs two binary searches and what it shows. Slices
 * too narrow to be told apart are put together into cells of whole slices and drawn as a stack of their shares: nothing
 * is left out, and a regular schedule looks regular at every zoom.
 * options.isDark() says whether the page around it is dark; by default it is what the reader's system prefers. Columns
 * may be arrays of any kind. Call dispose() of what is returned before another one is put into the same element.
 */
(function () {
  "use strict";

  const THEMES = {
    light: { ink: "#24292f", dim: "#59636e", row: "#f1f2f4", grid: "#00000014", bubble: "#dde1e6", focus: "#000000" },
    dark: { ink: "#e6e6e6", dim: "#9aa4af", row: "#20262d", grid: "#ffffff1c", bubble: "#343c46", focus: "#ffffff" },
  };
  const STYLE = `
    .sst { position: relative; font: 12px/1.4 system-ui, sans-serif; }
    .sst-head { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; margin-bottom: 6px; }
    .sst-key b { display: inline-block; min-width: 16px; margin-right: 5px; border-radius: 3px; text-align: center; }
    .sst-tools { display: flex; flex-wrap: wrap; gap: 4px; margin-left: auto; }
    .sst-tools button { font: inherit; min-width: 30px; min-height: 24px; padding: 2px 8px; cursor: pointer;
      color: inherit; background: transparent; border: 1px solid #8888; border-radius: 5px; }
    .sst-tools button[aria-pressed=true] { background: #8884; }
    .sst-scroll { overflow-x: hidden; overflow-y: auto; }
    .sst-scroll canvas { position: sticky; top: 0; display: block; width: 100%; touch-action: pan-y; cursor: grab; }
    .sst-scroll canvas:focus-visible { outline: 2px solid #56b4e9; outline-offset: -2px; }
    .sst-tip { position: absolute; z-index: 1; pointer-events: none; white-space: pre-line; max-width: 260px;
      padding: 6px 9px; border-radius: 6px; background: #1b1f24; color: #fff;
      box-shadow: 0 0 0 1px #8886, 0 2px 8px #0006; }
    .sst-tip::first-line { font-weight: 650; }
    .sst-hint { margin-top: 4px; opacity: .8; }
    .sst-live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    @media print { .sst-tools, .sst-hint { display: none; } }`;
  const AXIS = 26, TALLEST = 720, NARROW = 4, CELL = 6, LEAST = 3, LEGIBLE = 28, FONT = "system-ui, sans-serif";
  const UNITS = [[1, "s"], [1e-3, "ms"], [1e-6, "\u00b5s"], [1e-9, "ns"]];
  const ACTIONS = ["F", "B", "I", "W"], WITHIN = ["tp", "cp", "ep"];
  const HINT = "Click, then wheel or + and \u2212 to zoom (Ctrl + wheel at any time); drag or arrow keys to move; 0 " +
    "for the whole step; Enter to go from slice to slice.";
  const TOUCH_HINT = "Pinch to zoom, drag to move, tap a slice to read it.";
  const STACK = " Where slices are too narrow to draw, a stack shows their shares of the time.";

  function ShardSimTimeline(element, data, options = {}) {
    const kinds = data.kinds;
    const tracks = indexTracks(data);
    const typical = typicalAction(tracks, kinds);
    let rows = layOut(data.tracks, false);
    const parts = build(element, data, kinds, tracks);
    const { canvas, scroller, tip } = parts;
    const full = data.end || data.duration || 1;
    const view = { from: 0, to: full };
    const size = { width: 0, height: 0, gutter: 0, ratio: 1 };
    const names = Math.max(...data.tracks.map((track) => `rank ${track.rank}`.length));
    const fingers = new Map();
    const shares = new Float64Array(kinds.length), edges = new Float64Array(kinds.length);
    const held = { x: 0, y: 0, width: 0, edges: new Float64Array(kinds.length) };
    let printing = false, pending = 0, tall = false, chosen = null, moved = 0;

    const plot = () => Math.max(size.width - size.gutter, 1);
    const scale = () => plot() / (view.to - view.from);
    const timeAt = (x) => view.from + (x - size.gutter) / scale();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const isDark = options.isDark || (() => dark.matches);
    const over = new AbortController();
    let theme = THEMES.light, colors = [];
    const closeUp = () => Math.min(full, (plot() / LEGIBLE) * typical);

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

    /* A window in which single actions can be read: at the start of the step for 0, at its end for 1. */
    function closeTo(share) {
      const span = closeUp(), from = share * (full - span);
      show(from, from + span);
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
      size.gutter = size.width < 560 ? Math.max(58, names * 6.6 + 12) : 118;
      scroller.style.height = size.height + "px";
      parts.space.style.height = rows.height + AXIS + "px";
      canvas.style.height = size.height + "px";
      size.ratio = devicePixelRatio;
      const width = Math.round(size.width * size.ratio), height = Math.round(size.height * size.ratio);
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
      for (const one of parts.closer) one.hidden = closeUp() > full / 2;
    }

    /* The whole picture for the present view; returns the milliseconds it took. */
    function draw() {
      const began = performance.now();
      pending = 0;
      theme = isDark() && !printing ? THEMES.dark : THEMES.light;
      colors = kinds.map((kind) => (kind.key === "bubble" ? theme.bubble : kind.color));
      for (const [swatch, k] of parts.swatches) {
        swatch.style.background = colors[k];
        swatch.style.color = kinds[k].key === "bubble" ? theme.ink : kinds[k].ink;
      }
      resize();
      const paint = canvas.getContext("2d");
      paint.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
      paint.clearRect(0, 0, size.width, size.height);
      paint.save();
      paint.beginPath();
      paint.rect(size.gutter, AXIS, plot(), size.height - AXIS);
      paint.clip();
      for (const row of rows.list) {
        const y = AXIS - scroller.scrollTop + row.y;
        if (y + row.height < AXIS || y > size.height) continue;
        paint.fillStyle = theme.row;
        paint.fillRect(size.gutter, y, plot(), row.height);
        fillTrack(paint, tracks[row.track], y, row.height);
        if (row.height >= 9) nameTrack(paint, tracks[row.track], row, y);
      }
      drawChosen(paint);
      paint.restore();
      drawNames(paint);
      drawAxis(paint);
      return performance.now() - began;
    }

    const left = (track, i) => size.gutter + (track.start[i] - view.from) * scale();
    const right = (track, i) => size.gutter + (track.end[i] - view.from) * scale();
    const clamp = (x) => Math.round(Math.min(Math.max(x, size.gutter - 9), size.width + 9));

    /* Wide slices one by one, narrow ones in cells; a cell ends with a slice, with its action where that is wide, and
     * with the bubble before the first of many narrow actions. This loop runs once per slice: no closure holds its
     * variables, which would make it slower. */
    function fillTrack(paint, track, y, height) {
      const { start, end, kind, action, lengths } = track, last = after(start, view.to), unit = scale();
      const origin = size.gutter - view.from * unit, bubble = kinds.findIndex((one) => one.key === "bubble");
      let from = 0, to = -Infinity, empty = true, idle = false, dense = false;
      for (let i = after(track.reach, view.from); i < last; i++) {
        const x = origin + start[i] * unit, width = (end[i] - start[i]) * unit;
        if (!empty && (width >= NARROW || x - to > NARROW || (idle && to - from > 0.5))) {
          fillCell(paint, from, to, 0, y, height);
          empty = true;
        }
        if (width >= NARROW) {
          fillSlice(paint, kind[i], x, x + width, y, height);
          dense = false;
          continue;
        }
        idle = kind[i] === bubble && (idle || (empty && !dense));
        if (empty) from = x - to < 1 ? to : x;
        shares[kind[i]] += width;
        to = x + width;
        const next = i + 1 < last ? i + 1 : i, apart = action[i] !== action[next] &&
          Math.max(lengths[action[i]], lengths[action[next]]) * unit > NARROW;
        empty = apart || to - from >= CELL;
        dense = !apart && (dense || empty);
        if (empty) fillCell(paint, from, to, apart && to - from > 2 ? 1 : 0, y, height);
      }
      if (!empty) fillCell(paint, from, to, 0, y, height);
      paintHeld(paint);
    }

    function fillSlice(paint, kind, from, to, y, height) {
      paintHeld(paint);
      paint.fillStyle = colors[kind];
      paint.fillRect(clamp(from), y, clamp(to) - clamp(from) - (to - from > 5 ? 1 : 0), height);
    }

    /* The kinds of a cell above one another, each as high as its share of the cell's time, to a pixel, and together
     * high enough to see. A cell that looks like the one before is painted with it: a steady state costs little. */
    function fillCell(paint, from, to, apart, y, height) {
      const x = clamp(from), width = Math.max(clamp(to) - x - apart, 1);
      const busy = shares.reduce((sum, share) => sum + share);
      const unit = height / Math.max(Math.min(to - from, (busy * height) / LEAST), 1e-9);
      let below = y, alike = x === held.x + held.width && y === held.y;
      for (let k = 0; k < kinds.length; k++) {
        below = Math.min(below + shares[k] * unit, y + height);
        edges[k] = Math.round(below * size.ratio) / size.ratio;
        alike = alike && edges[k] === held.edges[k];
        shares[k] = 0;
      }
      if (alike) return (held.width += width);
      paintHeld(paint);
      Object.assign(held, { x, y, width });
      held.edges.set(edges);
    }

    function paintHeld(paint) {
      let top = held.y;
      for (let k = 0; k < kinds.length && held.width; k++) {
        if (held.edges[k] <= top) continue;
        paint.fillStyle = colors[k];
        paint.fillRect(held.x, top, held.width, held.edges[k] - top);
        top = held.edges[k];
      }
      held.width = 0;
    }

    /* Letter, microbatch and name: of each slice where slices are wide, else of the action that they make up. */
    function nameTrack(paint, track, row, y) {
      const last = after(track.start, view.to), unit = scale(), middle = y + row.height / 2 + 0.5;
      paint.font = `${Math.min(row.height - 1, 11)}px ${FONT}`;
      paint.textAlign = "center";
      paint.textBaseline = "middle";
      for (let i = after(track.reach, view.from); i < last; i++) {
        const action = track.action[i], first = track.firsts[action], count = track.firsts[action + 1] - first;
        const length = unit * track.lengths[action], together = length < 10 || (count > 1 && length / count < LEGIBLE);
        const from = Math.max(left(track, together ? first : i), size.gutter - 9);
        const to = Math.min(right(track, together ? first + count - 1 : i), size.width + 9);
        if (together) i = first + count - 1;
        if (length < 10) continue;
        const kind = kinds[track.kind[together ? first : i]];
        if (to - from < 10 || kind.key === "bubble" || (together && !row.first)) continue;
        const microbatch = data.columns.microbatch[track.source[i]];
        const long = microbatch < 0 ? kind.letter : kind.letter + microbatch;
        const whole = together ? long : `${long} ${data.labels[data.columns.label[track.source[i]]].name}`;
        paint.fillStyle = kind.ink;
        const text = [whole, long].find((one) => to - from > 7 * one.length + 4) || kind.letter;
        paint.fillText(text, (from + to) / 2, middle);
      }
    }

    function drawChosen(paint) {
      if (!chosen) return;
      const row = rows.list[chosen.track], track = tracks[chosen.track];
      const x = clamp(left(track, chosen.at)), y = AXIS - scroller.scrollTop + row.y;
      paint.strokeStyle = theme.focus;
      paint.lineWidth = 2;
      paint.strokeRect(x - 1, y - 1, Math.max(clamp(right(track, chosen.at)) - x, 2) + 1, row.height + 2);
    }

    function drawNames(paint) {
      let free = AXIS - 8;
      paint.textAlign = "right";
      paint.textBaseline = "middle";
      for (const row of rows.list) {
        const middle = AXIS - scroller.scrollTop + row.y + row.height / 2, track = data.tracks[row.track];
        if (middle < AXIS || middle > size.height || (!row.first && row.height < 9) || middle - 5 < free) continue;
        const folded = track.ranks_folded > 1 && size.gutter > 80 ? ` \u00d7${track.ranks_folded}` : "";
        paint.font = `${row.first ? 11 : 10}px ${FONT}`;
        paint.fillStyle = row.first ? theme.ink : theme.dim;
        paint.fillText(row.first ? `rank ${track.rank}${folded}` : track.stream, size.gutter - 6, middle + 0.5);
        free = middle + 6;
      }
    }

    /* Times, and above them, where the view is not the whole step, a bar that says which part of it. */
    function drawAxis(paint) {
      const step = niceStep((size.width < 560 ? 70 : 95) / scale());
      const [unit, name] = UNITS.find(([one]) => step >= 0.1 * one) || UNITS[3];
      const decimals = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9));
      paint.font = `11px ${FONT}`;
      paint.textBaseline = "middle";
      for (let n = Math.ceil(view.from / step - 1e-9); n * step <= view.to * (1 + 1e-12); n++) {
        const x = size.gutter + (n * step - view.from) * scale();
        paint.fillStyle = theme.grid;
        paint.fillRect(x, AXIS - 5, 1, size.height - AXIS + 5);
        paint.fillStyle = theme.dim;
        const text = `${((n * step) / unit).toFixed(decimals)} ${name}`, half = paint.measureText(text).width / 2;
        paint.textAlign = x + half > size.width ? "right" : "center";
        paint.fillText(text, x + half > size.width ? size.width - 1 : x, AXIS / 2 + 1);
      }
      if (view.to - view.from > full * (1 - 1e-9)) return;
      const width = Math.max(((view.to - view.from) / full) * plot(), 12);
      paint.fillStyle = theme.row;
      paint.fillRect(size.gutter, 0, plot(), 5);
      paint.fillStyle = theme.dim;
      paint.fillRect(size.gutter + Math.min((view.from / full) * plot(), plot() - width), 0, width, 5);
    }

    /* The slice under the pointer, or null; a slice narrower than a pixel is found from a pixel away. */
    function sliceAt(x, y) {
      const at = y + scroller.scrollTop - AXIS, time = timeAt(x), near = 1 / scale();
      const row = rows.list.find((one) => at >= one.y && at < one.y + one.height);
      if (!row || x < size.gutter || y < AXIS) return null;
      const track = tracks[row.track], found = after(track.start, time + near / 2) - 1;
      return found >= 0 && track.end[found] >= time - near ? { track: row.track, at: found } : null;
    }

    const told = ({ track, at }) => describe(data, data.tracks[track], tracks[track].source[at]);

    /* Tell what a slice is, beside a point of the page. */
    function tell(found, clientX, clientY) {
      tip.hidden = !found;
      if (!found) return;
      tip.textContent = told(found);
      const box = element.getBoundingClientRect(), x = clientX - box.left, y = clientY - box.top;
      tip.style.left = Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth)) + "px";
      tip.style.top = (y + tip.offsetHeight + 18 > box.height ? y - tip.offsetHeight - 10 : y + 16) + "px";
    }

    function choose(found) {
      chosen = found;
      parts.live.textContent = found ? told(found).replaceAll("\n", ", ") : "";
      schedule();
    }

    /* Choose a slice by key: bring it into view, wide enough to see, and tell what it is. */
    function visit(found) {
      const track = tracks[found.track], start = track.start[found.at], length = track.end[found.at] - start;
      if (length * scale() < 8 && length > 0) zoomTo(start + length / 2, (length * plot()) / LEGIBLE);
      else if (start < view.from || start > view.to) zoomTo(start + length / 2, view.to - view.from);
      const row = rows.list[found.track], shown = size.height - AXIS;
      scroller.scrollTop = Math.min(Math.max(scroller.scrollTop, row.y + row.height - shown), row.y);
      choose(found);
      const box = canvas.getBoundingClientRect(), x = (left(track, found.at) + right(track, found.at)) / 2;
      const y = AXIS - scroller.scrollTop + row.y + row.height;
      tell(found, box.left + Math.min(Math.max(x, size.gutter), size.width), box.top + y);
    }

    const zoomTo = (time, span) => show(time - span / 2, time + span / 2);

    /* From the chosen slice to the one before or after it, or to what another row does at its time. */
    function step(byTime, byRow) {
      const { track, at } = chosen, own = tracks[track], next = track + byRow;
      if (byTime && at + byTime in own.source) visit({ track, at: at + byTime });
      if (byRow && next in tracks) visit(lasting(next, (own.start[at] + own.end[at]) / 2));
    }

    /* The slice of a track that lasts at a time, or the last one before it. */
    function lasting(number, time) {
      return { track: number, at: Math.max(after(tracks[number].start, time) - 1, 0) };
    }

    function enter() {
      const first = rows.list.find((row) => row.y >= scroller.scrollTop - 1).track;
      visit(chosen || lasting(first, (view.from + view.to) / 2));
    }

    function leave() {
      tip.hidden = true;
      choose(null);
    }

    function onWheel(event) {
      if (canvas.getRootNode().activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / plot());
      else zoom(Math.exp(event.deltaY * 0.002), timeAt(event.offsetX));
    }

    function onDown(event) {
      canvas.setPointerCapture(event.pointerId);
      if (!fingers.size) moved = 0;
      fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY, bar: event.offsetY < 8 });
      if (event.offsetY < 8) toBar(event.offsetX);
    }

    function toBar(x) {
      zoomTo(((x - size.gutter) / plot()) * full, view.to - view.from);
    }

    /* One finger, or the mouse, drags; two zoom and drag. */
    function onMove(event) {
      const before = fingers.get(event.pointerId), now = { x: event.offsetX, y: event.offsetY };
      if (!before) return tell(sliceAt(now.x, now.y), event.clientX, event.clientY);
      moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
      fingers.set(event.pointerId, { ...before, ...now });
      if (before.bar) return toBar(now.x);
      const other = [...fingers].find(([id]) => id !== event.pointerId);
      if (other) {
        const apart = (one) => Math.max(Math.hypot(one.x - other[1].x, one.y - other[1].y), 1);
        zoom(apart(before) / apart(now), timeAt((now.x + other[1].x) / 2));
      }
      const share = other ? 0.5 : 1;
      if (!other) scroller.scrollTop -= now.y - before.y;
      if (now.x !== before.x) pan((-(now.x - before.x) * share) / plot());
    }

    /* A click, or a tap, chooses the slice under it. */
    function onUp(event) {
      fingers.delete(event.pointerId);
      if (moved > 6 || fingers.size || event.offsetY < AXIS) return;
      const found = sliceAt(event.offsetX, event.offsetY);
      choose(found);
      tell(found, event.clientX, event.clientY);
    }

    function onKey(event) {
      const moving = {
        ArrowLeft: () => pan(-0.1), ArrowRight: () => pan(0.1),
        ArrowUp: () => (scroller.scrollTop -= 60), ArrowDown: () => (scroller.scrollTop += 60),
      };
      const stepping = {
        ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0),
        ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1), Escape: leave,
      };
      const act = {
        "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7), "0": () => show(0, full),
        Home: () => show(0, view.to - view.from), End: () => show(full - (view.to - view.from), full),
        Enter: enter, ...(chosen ? stepping : moving),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    }

    canvas.addEventListener("wheel", onWheel, { passive: false });
    canvas.addEventListener("keydown", onKey);
    canvas.addEventListener("pointerdown", onDown);
    canvas.addEventListener("pointermove", onMove);
    canvas.addEventListener("pointerup", onUp);
    canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", (event) => (tip.hidden = tip.hidden || event.pointerType === "mouse"));
    parts.nearer.onclick = () => zoom(0.5);
    parts.farther.onclick = () => zoom(2);
    parts.closer.forEach((one, i) => (one.onclick = () => closeTo(i / 2)));
    parts.taller.hidden = rows.height >= layOut(data.tracks, true).height;
    parts.taller.onclick = () => {
      tall = !tall;
      parts.taller.setAttribute("aria-pressed", tall);
      rows = layOut(data.tracks, tall);
      schedule();
    };
    parts.whole.onclick = () => show(0, full);
    scroller.addEventListener("scroll", schedule);
    const untilOver = { signal: over.signal }, observer = new ResizeObserver(schedule);
    dark.addEventListener("change", schedule, untilOver);
    addEventListener("beforeprint", () => { printing = true; draw(); }, untilOver);
    addEventListener("afterprint", () => { printing = false; schedule(); }, untilOver);
    observer.observe(element);
    draw();
    return { draw, show, zoom, sliceAt, view, dispose };

    function dispose() {
      over.abort();
      observer.disconnect();
      cancelAnimationFrame(pending);
    }
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
      return { ...sorted, ...actionsOf(data, sorted) };
    });
  }

  /* The action of each slice, by its number on the track; the first slice and the length of each action. Kernels of one
   * kind, stage and microbatch are one action, with the collectives between them; all else stands for itself. */
  function actionsOf(data, { source, kind, start, end }) {
    const { stage, microbatch } = data.columns, keys = data.kinds.map((one) => one.key);
    const action = new Int32Array(source.length), firsts = [], lengths = [];
    let open = -1;
    for (let i = 0; i < source.length; i++) {
      const key = keys[kind[i]], before = source[i - 1], now = source[i];
      const same = i > 0 && stage[before] === stage[now] && microbatch[before] === microbatch[now] && stage[now] >= 0;
      const goes = same && open >= 0 && (WITHIN.includes(key) || kind[i] === open);
      if (!goes) {
        firsts.push(i);
        lengths.push(0);
        open = ACTIONS.includes(key) || WITHIN.includes(key) ? kind[i] : -1;
      }
      action[i] = firsts.length - 1;
      lengths[firsts.length - 1] = end[i] - start[firsts[firsts.length - 1]];
    }
    return { action, firsts: Int32Array.from([...firsts, source.length]), lengths: Float64Array.from(lengths) };
  }

  /* The mean length of the actions of the first track, in seconds. */
  function typicalAction(tracks, kinds) {
    const { kind, firsts, lengths } = tracks[0] || { kind: [], firsts: [0], lengths: [] };
    const acts = [...lengths].filter((_, action) => ACTIONS.includes(kinds[kind[firsts[action]]].key));
    return acts.reduce((sum, length) => sum + length, 0) / acts.length || Infinity;
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

  function niceStep(least) {
    const power = 10 ** Math.floor(Math.log10(least));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= least * (1 - 1e-9));
  }

  function describe(data, track, index) {
    const column = data.columns, label = data.labels[column.label[index]];
    const took = column.end[index] - column.start[index], kind = data.kinds[column.kind[index]];
    const lines = [label.name, label.title || kind.title];
    const folded = track.ranks_folded > 1 ? ` (as on ${track.ranks_folded} ranks)` : "";
    lines.push(`rank ${track.rank}, ${track.stream}${folded}`);
    if (column.stage[index] >= 0) lines.push(`stage ${column.stage[index]}`);
    if (column.microbatch[index] >= 0) lines.push(`microbatch ${column.microbatch[index]}`);
    if (label.size) lines.push(label.size);
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
    const head = add(element, "div", "sst-head"), used = new Set(), swatches = [];
    for (const track of tracks) for (const kind of track.kind) used.add(kind);
    kinds.forEach((kind, k) => {
      if (!used.has(k)) return;
      const key = add(head, "span", "sst-key");
      swatches.push([add(key, "b", "", kind.letter), k]);
      key.append(kind.title);
    });
    const tools = add(head, "span", "sst-tools");
    const nearer = button(tools, "+", "Zoom in"), farther = button(tools, "\u2212", "Zoom out");
    const closer = ["start", "middle", "end"].map((where) => button(tools, where, `Close up: ${where} of the step`));
    const whole = button(tools, "whole step", "Show the whole step");
    const taller = button(tools, "tall rows", "Tall rows, with letters");
    const scroller = add(element, "div", "sst-scroll"), space = add(scroller, "div"), canvas = add(space, "canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `Timeline: ${data.columns.start.length} slices on ${data.tracks.length} ` +
      `streams over ${seconds(data.duration)}. Plus and minus zoom, arrow keys move, 0 shows the whole step. Enter ` +
      "goes to a slice, then arrow keys go to its neighbours, and Escape leaves it.");
    const tip = add(element, "div", "sst-tip"), live = add(element, "div", "sst-live");
    tip.hidden = true;
    tip.setAttribute("role", "tooltip");
    live.setAttribute("role", "status");
    live.setAttribute("aria-live", "polite");
    add(element, "div", "sst-hint", (matchMedia("(pointer: coarse)").matches ? TOUCH_HINT : HINT) + STACK);
    return { canvas, scroller, space, tip, live, swatches, nearer, farther, closer, taller, whole };
  }

  window.ShardSimTimeline = ShardSimTimeline;
})();
