/* Pipelines side by side under one clock, without dependencies: ShardSimPipelines(element, data, options).
 *
 * data = {duration, kinds: [{key, letter, color, ink, title}],
 *         panels: [{name, idea, seconds, chunks, stages_of, held, facts: [{text, title}]} or {name, idea, why}],
 *         columns: {panel, rank, kind, stage, microbatch, start, end}}
 * with times in seconds; what no span covers is bubble. Each panel is painted once; while the clock runs, as much of
 * that picture is shown as has happened. At rest all of it is. Beside each rank a bar says how many microbatches'
 * activations it holds at the cursor, a mark how many at most.
 * options.isDark() says whether the page around it is dark; options.kept is an object in which speed, scale and clock
 * outlive this call. Call dispose() of what is returned before another one is put into the same element.
 */
(function () {
  "use strict";

  const THEMES = {
    light: { ink: "#24292f", dim: "#59636e", row: "#f1f2f4", bubble: "#d4d9df", hatch: "#a9b1bb", cursor: "#000000",
      bar: "#59636e" },
    dark: { ink: "#e6e6e6", dim: "#9aa4af", row: "#20262d", bubble: "#39424d", hatch: "#56616d", cursor: "#ffffff",
      bar: "#9aa4af" },
  };
  const STYLE = `
    .ssp { position: relative; font: 13px/1.4 system-ui, sans-serif; }
    .ssp-head { position: sticky; top: 0; z-index: 2; padding: 6px 0 8px; background: var(--ssp-page); }
    .ssp-tools, .ssp-keys { display: flex; flex-wrap: wrap; gap: 4px 8px; align-items: center; }
    .ssp-keys { gap: 2px 14px; margin-top: 6px; font-size: 12px; }
    .ssp-keys b { display: inline-block; min-width: 17px; margin-right: 5px; border-radius: 3px; text-align: center; }
    .ssp-tools button, .ssp-tools select { font: inherit; min-width: 32px; min-height: 30px; padding: 2px 9px;
      cursor: pointer; color: inherit; background: transparent; border: 1px solid #8888; border-radius: 6px; }
    .ssp-tools option { color: #000; background: #fff; }
    .ssp-tools button[aria-pressed=true] { background: #8884; }
    .ssp-tools .ssp-play { min-width: 84px; font-weight: 600; }
    .ssp-tools input { flex: 1 1 160px; min-width: 120px; height: 26px; accent-color: currentColor; cursor: pointer; }
    .ssp-time { min-width: 11em; font-variant-numeric: tabular-nums; }
    .ssp-panels { display: grid; gap: 14px 22px; margin-top: 6px; }
    .ssp-panel { min-width: 0; }
    .ssp-name { display: flex; gap: 0 12px; align-items: baseline; margin-bottom: 3px; white-space: nowrap; }
    .ssp-name strong { font-size: 14px; }
    .ssp-idea { flex: 1; overflow: hidden; text-overflow: ellipsis; opacity: .75; font-size: 12px; }
    .ssp-facts { font-variant-numeric: tabular-nums; font-size: 12px; }
    @media (max-width: 560px) { .ssp-name { flex-wrap: wrap; } .ssp-idea { white-space: normal; } }
    .ssp-facts span { cursor: help; }
    .ssp-facts span + span { margin-left: 12px; }
    .ssp-facts span:nth-child(2) { font-weight: 650; }
    .ssp-why { padding: 8px 11px; border: 1px dashed #8888; border-radius: 6px; font-size: 12px; opacity: .9; }
    .ssp canvas { display: block; width: 100%; }
    .ssp button:focus-visible, .ssp select:focus-visible, .ssp input:focus-visible {
      outline: 2px solid #56b4e9; outline-offset: 1px; }
    .ssp-tip { position: absolute; z-index: 3; pointer-events: none; white-space: pre-line; max-width: 250px;
      padding: 6px 9px; border-radius: 6px; background: #1b1f24; color: #fff; font-size: 12px;
      box-shadow: 0 0 0 1px #8886, 0 2px 8px #0006; }
    .ssp-tip::first-line { font-weight: 650; }
    .ssp-hint { margin-top: 8px; font-size: 12px; opacity: .8; }
    .ssp-live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    @media print { .ssp-tools, .ssp-hint { display: none; } }`;
  const FONT = "system-ui, sans-serif", LEFT = 22, RIGHT = 62, WIDE = 860, LEGIBLE = 15, TALLEST = 22, LEAST = 4;
  const ROOM = 176, WHOLE = 10, CALM = 700;
  const UNITS = [[1, "s"], [1e-3, "ms"], [1e-6, "us"]];
  const SPEEDS = [0.25, 0.5, 1, 2, 4];
  const HINT = "Space plays and pauses, the arrow keys go from event to event, Home and End to the ends. The bars " +
    "on the right count the microbatches whose activations a rank holds, the mark is the most. ";
  const SEVERAL = "A line below a pass: of a later chunk, or of dualpipe's other direction.";

  function ShardSimPipelines(element, data, options = {}) {
    const kept = options.kept || {};
    const over = new AbortController(), untilOver = { signal: over.signal };
    const dark = matchMedia("(prefers-color-scheme: dark)"), calm = matchMedia("(prefers-reduced-motion: reduce)");
    const isDark = options.isDark || (() => dark.matches);
    const duration = data.duration || 1;
    const panels = indexPanels(data), parts = build(element, data, panels);
    const moments = momentsOf(data.columns, duration);
    const most = Math.max(1, ...panels.map((panel) => Math.max(...panel.held)));
    const clock = { time: Math.min(kept.share ?? 1, 1) * duration, playing: false, last: 0 };
    let theme = THEMES.light, frame = 0, pending = 0, columns = 0;

    const alike = () => kept.own !== true;
    const spanOf = (panel) => (alike() ? duration : panel.seconds);
    const unit = (panel) => (panel.width - LEFT - RIGHT) / spanOf(panel);
    /* At rest at the end, or not yet started: the whole picture and no cursor. */
    const isWhole = () => !clock.playing && clock.time >= duration;

    function layOut() {
      const width = Math.max(parts.grid.clientWidth, 1);
      const half = (width - 22) / 2, cells = half - LEFT - RIGHT;
      const shortest = Math.min(...panels.map((panel) => panel.shortest));
      const two = !kept.wide && data.panels.length > 1 && width >= WIDE && (cells * shortest) / duration >= 2;
      if (columns !== (two ? 2 : 1)) {
        columns = two ? 2 : 1;
        parts.grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
      }
      for (const panel of panels) {
        panel.width = Math.max(panel.canvas.clientWidth, LEFT + RIGHT + 20);
        panel.row = Math.min(Math.max(Math.floor(ROOM / panel.ranks.length), LEAST), TALLEST);
        panel.height = panel.row * panel.ranks.length + 1;
      }
    }

    /* Every panel anew: after a change of size, theme or scale. */
    function paintAll() {
      pending = 0;
      theme = isDark() ? THEMES.dark : THEMES.light;
      element.style.setProperty("--ssp-page", options.page ? options.page() : isDark() ? "#0e1117" : "#ffffff");
      for (const [swatch, kind] of parts.swatches) {
        swatch.style.background = kind.key === "bubble" ? theme.bubble : kind.color;
        swatch.style.color = kind.key === "bubble" ? theme.ink : kind.ink;
      }
      layOut();
      for (const panel of panels) paintWhole(panel);
      show();
    }

    function fresh(panel, canvas) {
      const ratio = devicePixelRatio || 1;
      canvas.width = Math.round(panel.width * ratio);
      canvas.height = Math.round(panel.height * ratio);
      const paint = canvas.getContext("2d");
      paint.setTransform(ratio, 0, 0, ratio, 0, 0);
      return paint;
    }

    /* The picture of the whole step, off the screen. */
    function paintWhole(panel) {
      panel.canvas.style.height = panel.height + "px";
      fresh(panel, panel.canvas);
      panel.whole = panel.whole || document.createElement("canvas");
      const paint = fresh(panel, panel.whole), scale = unit(panel), gap = panel.row > 8 ? 1.5 : 0.5;
      const hatch = hatching(paint, theme);
      panel.ranks.forEach((spans, rank) => {
        const y = rank * panel.row + gap, height = panel.row - 2 * gap;
        paint.fillStyle = hatch;
        paint.fillRect(LEFT, y, panel.seconds * scale, height);
        for (const i of spans) paintSpan(paint, panel, i, y, height, scale);
      });
    }

    function paintSpan(paint, panel, i, y, height, scale) {
      const { kind, start, end, stage, microbatch } = data.columns, look = data.kinds[kind[i]];
      const x = LEFT + start[i] * scale, width = (end[i] - start[i]) * scale;
      paint.fillStyle = look.color;
      paint.fillRect(x, y, width > 3 ? width - 0.7 : width, height);
      const later = look.key !== "pp" && stage[i] >= panel.stages_of;
      if (later && width > 2 && height > 6) {
        paint.fillStyle = look.ink;
        paint.globalAlpha = 0.55;
        paint.fillRect(x, y + height - 2, width - 0.7, 2);
        paint.globalAlpha = 1;
      }
      if (height < 9 || width < 8 || look.key === "pp") return;
      const number = String(microbatch[i]), whole = look.letter + number;
      const size = Math.min(height - 3, 11);
      const text = width >= size * 0.62 * whole.length + 3 ? whole : width >= size * 0.6 * number.length + 1 ? number : "";
      if (!text) return;
      paint.font = `${size}px ${FONT}`;
      paint.textAlign = "center";
      paint.textBaseline = "middle";
      paint.fillStyle = look.ink;
      paint.fillText(text, x + width / 2, y + height / 2 + (later ? -0.5 : 0.5));
    }

    /* What has happened by now, and what each rank holds. */
    function show() {
      const whole = isWhole(), time = clock.time;
      for (const panel of panels) showPanel(panel, time, whole);
      parts.scrub.value = String(Math.round((1000 * time) / duration));
      const text = whole ? `${told(duration)}, whole step` : `${told(time)} of ${told(duration)}`;
      parts.time.textContent = text;
      parts.scrub.setAttribute("aria-valuetext", text);
      parts.play.textContent = clock.playing ? "\u275a\u275a Pause" : "\u25b6 Play";
      parts.play.setAttribute("aria-label", clock.playing ? "Pause" : "Play");
      kept.share = time / duration;
      kept.playing = clock.playing;
    }

    function showPanel(panel, time, whole) {
      const paint = panel.canvas.getContext("2d"), scale = unit(panel), gap = panel.row > 8 ? 1.5 : 0.5;
      const ratio = panel.canvas.width / panel.width, now = Math.min(time, panel.seconds);
      paint.clearRect(0, 0, panel.width, panel.height);
      paint.fillStyle = theme.row;
      for (let rank = 0; rank < panel.ranks.length; rank++) {
        paint.fillRect(LEFT, rank * panel.row + gap, panel.seconds * scale, panel.row - 2 * gap);
      }
      const upTo = whole || !clock.playing ? panel.width - RIGHT : LEFT + now * scale;
      if (upTo * ratio >= 1) {
        paint.drawImage(panel.whole, 0, 0, upTo * ratio, panel.whole.height, 0, 0, upTo, panel.height);
      }
      if (!whole) {
        paint.fillStyle = theme.cursor;
        paint.fillRect(LEFT + now * scale - 0.75, 0, 1.5, panel.height);
      }
      showRanks(paint, panel, whole ? Infinity : time);
    }

    /* The rank's number on the left; on the right what it holds, or at rest at most, and a mark for the most. */
    function showRanks(paint, panel, time) {
      const every = Math.ceil(10 / panel.row), room = RIGHT - 34, from = panel.width - RIGHT + 8;
      paint.textBaseline = "middle";
      for (let rank = 0; rank < panel.ranks.length; rank++) {
        const top = panel.held[rank], now = time === Infinity ? top : heldAt(panel, rank, time);
        const y = rank * panel.row, middle = y + panel.row / 2 + 0.5, height = Math.max(Math.min(panel.row - 4, 12), 2);
        paint.fillStyle = theme.row;
        paint.fillRect(from, middle - height / 2, room, height);
        paint.fillStyle = theme.bar;
        paint.fillRect(from, middle - height / 2, (room * now) / most, height);
        paint.fillStyle = theme.ink;
        paint.fillRect(from + (room * top) / most - 1.5, y + 1, 1.5, panel.row - 2);
        if (rank % every) continue;
        paint.font = `${Math.min(Math.max(panel.row - 4, 9), 11)}px ${FONT}`;
        paint.fillStyle = theme.dim;
        paint.textAlign = "right";
        paint.fillText(String(rank), LEFT - 6, middle);
        paint.textAlign = "left";
        paint.fillText(String(Math.round(now * 100) / 100), from + room + 4, middle);
      }
    }

    function play() {
      if (clock.time >= duration) clock.time = 0;
      clock.playing = true;
      clock.last = performance.now();
      parts.live.textContent = "playing";
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(tick);
      show();
    }

    function pause() {
      clock.playing = false;
      cancelAnimationFrame(frame);
      show();
      tellTime();
    }

    /* The whole step takes WHOLE seconds at speed 1. Who wants no motion sees event after event. */
    function tick(now) {
      if (!clock.playing) return;
      const passed = (now - clock.last) / 1000, speed = kept.speed || 1;
      if (calm.matches) {
        if (1000 * passed * speed >= CALM) {
          clock.last = now;
          clock.time = next(1);
          show();
        }
      } else {
        clock.last = now;
        clock.time = Math.min(duration, clock.time + (Math.min(passed, 0.25) * speed * duration) / WHOLE);
        show();
      }
      if (clock.time >= duration) return pause();
      frame = requestAnimationFrame(tick);
    }

    const toggle = () => (clock.playing ? pause() : play());

    /* The moment after the cursor, or before it, at which a pass begins or ends anywhere. */
    function next(direction) {
      const after = moments.findIndex((moment) => moment > clock.time + 1e-9 * duration);
      if (direction > 0) return after < 0 ? duration : moments[after];
      const before = moments.findLast((moment) => moment < clock.time - 1e-9 * duration);
      return before === undefined ? 0 : before;
    }

    function goTo(time) {
      clock.playing = false;
      cancelAnimationFrame(frame);
      clock.time = Math.min(Math.max(time, 0), duration);
      show();
      tellTime();
    }

    function tellTime() {
      const states = panels.map((panel) => {
        const busy = panel.ranks.filter((_, rank) => running(panel, rank, clock.time)).length;
        return `${panel.name} ${busy} of ${panel.ranks.length}`;
      });
      parts.live.textContent = isWhole()
        ? `whole step, ${told(duration)}`
        : `at ${told(clock.time)}; ranks at work: ${states.join(", ")}`;
    }

    /* Whether a pass of the rank runs at that time, and which. */
    function running(panel, rank, time) {
      const { start, end, kind } = data.columns;
      return panel.ranks[rank].find((i) => data.kinds[kind[i]].key !== "pp" && start[i] <= time && time < end[i]) >= 0;
    }

    function heldAt(panel, rank, time) {
      const { times, counts } = panel.holding[rank];
      return counts[below(times, time)] / panel.chunks;
    }

    function spanAt(panel, x, y) {
      const rank = Math.floor(y / panel.row), time = (x - LEFT) / unit(panel);
      if (!(rank in panel.ranks) || time < 0 || time > panel.seconds) return null;
      const { start, end } = data.columns, spans = panel.ranks[rank];
      const found = spans.find((i) => start[i] <= time && time < end[i]);
      if (found !== undefined) return { rank, i: found };
      const before = spans.findLast((i) => end[i] <= time), after = spans.find((i) => start[i] > time);
      return { rank, from: before === undefined ? 0 : end[before], to: after === undefined ? panel.seconds : start[after] };
    }

    function tell(panel, event) {
      const found = spanAt(panel, event.offsetX, event.offsetY);
      parts.tip.hidden = !found;
      if (!found) return;
      parts.tip.textContent = described(found);
      const box = element.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      parts.tip.style.left = Math.max(0, Math.min(x + 14, box.width - parts.tip.offsetWidth)) + "px";
      parts.tip.style.top = y + 18 + "px";
    }

    function described({ rank, i, from, to }) {
      if (i === undefined) return `bubble\nrank ${rank} has nothing to do\nfrom ${told(from)}, for ${told(to - from)}`;
      const { kind, stage, microbatch, start, end } = data.columns, look = data.kinds[kind[i]];
      const took = `from ${told(start[i])}, for ${told(end[i] - start[i])}`;
      if (look.key === "pp") return `waits for a message\nrank ${rank}, before microbatch ${microbatch[i]}\n${took}`;
      return `${look.title} of microbatch ${microbatch[i]}\nstage ${stage[i]}, on rank ${rank}\n${took}`;
    }

    function onKey(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const act = {
        ArrowLeft: () => goTo(next(-1)), ArrowRight: () => goTo(next(1)),
        Home: () => goTo(0), End: () => goTo(duration),
        " ": event.target.tagName === "BUTTON" ? undefined : toggle,
      }[event.key];
      if (!act) return;
      event.preventDefault();
      event.stopPropagation();
      act();
    }

    function setSpeed(speed) {
      kept.speed = speed;
    }

    function schedule() {
      pending = pending || requestAnimationFrame(paintAll);
    }

    element.addEventListener("keydown", onKey, untilOver);
    parts.play.onclick = toggle;
    parts.back.onclick = () => goTo(next(-1));
    parts.forth.onclick = () => goTo(next(1));
    parts.scrub.oninput = () => goTo((Number(parts.scrub.value) / 1000) * duration);
    parts.speed.value = String(kept.speed || 1);
    parts.speed.onchange = () => setSpeed(Number(parts.speed.value));
    parts.alike.setAttribute("aria-pressed", alike());
    parts.alike.onclick = () => {
      kept.own = !kept.own;
      parts.alike.setAttribute("aria-pressed", alike());
      schedule();
    };
    parts.wide.setAttribute("aria-pressed", Boolean(kept.wide));
    parts.wide.onclick = () => {
      kept.wide = !kept.wide;
      parts.wide.setAttribute("aria-pressed", kept.wide);
      schedule();
    };
    for (const panel of panels) {
      panel.canvas.addEventListener("pointermove", (event) => tell(panel, event));
      panel.canvas.addEventListener("pointerdown", (event) => tell(panel, event));
      panel.canvas.addEventListener("pointerleave", () => (parts.tip.hidden = true));
    }
    dark.addEventListener("change", schedule, untilOver);
    const observer = new ResizeObserver(schedule);
    observer.observe(parts.grid);
    paintAll();
    if (kept.playing && clock.time < duration) play();
    return { element, play, pause, goTo, clock, paintAll, dispose };

    function dispose() {
      over.abort();
      observer.disconnect();
      cancelAnimationFrame(frame);
      cancelAnimationFrame(pending);
    }
  }

  /* Per panel that was played its spans by rank, in order, and what each rank holds from when on. */
  function indexPanels(data) {
    const { panel, rank, kind, start, end } = data.columns;
    const played = data.panels.map((one, number) => ({ ...one, number })).filter((one) => !one.why);
    for (const one of played) Object.assign(one, { ranks: one.held.map(() => []), shortest: Infinity });
    for (let i = 0; i < panel.length; i++) {
      const one = played[panel[i]];
      one.ranks[rank[i]].push(i);
      if (data.kinds[kind[i]].key !== "pp") one.shortest = Math.min(one.shortest, end[i] - start[i]);
    }
    for (const one of played) {
      for (const spans of one.ranks) spans.sort((a, b) => start[a] - start[b]);
      one.holding = one.ranks.map((spans) => holdingOf(data, spans));
    }
    return played;
  }

  /* Held from the start of a forward to the end of what makes the weight gradient. */
  function holdingOf(data, spans) {
    const { kind, start, end } = data.columns, changes = [];
    for (const i of spans) {
      const key = data.kinds[kind[i]].key;
      if (key === "F") changes.push([start[i], 1]);
      if (key === "B" || key === "W") changes.push([end[i], -1]);
    }
    changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const times = changes.map(([time]) => time), counts = [0];
    for (const [, by] of changes) counts.push(counts[counts.length - 1] + by);
    return { times, counts };
  }

  function momentsOf({ start, end }, duration) {
    const all = Float64Array.from([0, ...start, ...end, duration]).sort();
    return [...all.filter((time, i) => i === 0 || time - all[i - 1] > 1e-9 * duration)];
  }

  /* How many of a sorted list are at most the value. */
  function below(sorted, value) {
    let low = 0, high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] <= value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function hatching(paint, theme) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const inner = tile.getContext("2d");
    inner.fillStyle = theme.bubble;
    inner.fillRect(0, 0, 6, 6);
    inner.strokeStyle = theme.hatch;
    inner.lineWidth = 1;
    for (const shift of [-6, 0, 6]) {
      inner.beginPath();
      inner.moveTo(shift, 6);
      inner.lineTo(shift + 6, 0);
      inner.stroke();
    }
    return paint.createPattern(tile, "repeat");
  }

  function told(time) {
    if (time === 0) return "0 ms";
    const [unit, name] = UNITS.find(([one]) => time >= one * 0.99995) || UNITS[2];
    return `${Number((time / unit).toPrecision(4))} ${name}`;
  }

  function build(element, data, panels) {
    const add = (parent, tag, name, text) => {
      const made = document.createElement(tag);
      if (name) made.className = name;
      if (text) made.textContent = text;
      return parent.appendChild(made);
    };
    const button = (parent, text, words, name) => {
      const made = add(parent, "button", name, text);
      made.type = "button";
      made.title = words;
      made.setAttribute("aria-label", words);
      return made;
    };
    element.replaceChildren();
    element.classList.add("ssp");
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", `Pipeline schedules under one clock, ${told(data.duration)}`);
    add(element, "style", "", STYLE);
    const head = add(element, "div", "ssp-head"), tools = add(head, "div", "ssp-tools");
    const play = button(tools, "", "Play", "ssp-play");
    const back = button(tools, "\u25c2", "To the event before"), forth = button(tools, "\u25b8", "To the next event");
    const scrub = add(tools, "input");
    Object.assign(scrub, { type: "range", min: "0", max: "1000", step: "1" });
    scrub.setAttribute("aria-label", "Time");
    const time = add(tools, "span", "ssp-time"), speed = add(tools, "select");
    speed.setAttribute("aria-label", "Speed");
    for (const each of SPEEDS) add(speed, "option", "", `${each}\u00d7`).value = String(each);
    const alike = button(tools, "one scale", "The same scale of time for all; or each as wide as there is room");
    const wide = button(tools, "wide", "One below the other, as wide as the page");
    wide.hidden = data.panels.length < 2;
    const keys = add(head, "div", "ssp-keys"), swatches = [], used = new Set(data.columns.kind);
    data.kinds.forEach((kind, k) => {
      if (!used.has(k) && kind.key !== "bubble") return;
      const key = add(keys, "span");
      swatches.push([add(key, "b", "", kind.letter), kind]);
      key.append(kind.key === "pp" ? "waits for a message" : kind.title);
    });
    const grid = add(element, "div", "ssp-panels");
    data.panels.forEach((panel, number) => {
      const place = add(grid, "section", "ssp-panel"), name = add(place, "div", "ssp-name");
      add(name, "strong", "", panel.name);
      add(name, "span", "ssp-idea", panel.idea).title = panel.idea;
      if (panel.why) return add(place, "div", "ssp-why", panel.why);
      const facts = add(name, "span", "ssp-facts");
      for (const fact of panel.facts) add(facts, "span", "", fact.text).title = fact.title;
      const canvas = add(place, "canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", [panel.name, panel.idea, ...panel.facts.map((fact) => fact.title)].join(". "));
      panels.find((one) => one.number === number).canvas = canvas;
    });
    const tip = add(element, "div", "ssp-tip"), live = add(element, "div", "ssp-live");
    tip.hidden = true;
    tip.setAttribute("role", "tooltip");
    live.setAttribute("role", "status");
    live.setAttribute("aria-live", "polite");
    add(element, "div", "ssp-hint", HINT + (panels.some((panel) => panel.chunks > 1 || panel.name === "dualpipe") ? SEVERAL : ""));
    return { play, back, forth, scrub, time, speed, alike, wide, grid, swatches, tip, live };
  }

  window.ShardSimPipelines = ShardSimPipelines;
})();
