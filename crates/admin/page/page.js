"use strict";
// The page: takes one snapshot a second and shows it. It computes nothing but differences of counts.
// What a client said is only ever put in as text.

const KEPT_SECONDS = 600;
const RATE_SECONDS = 60;
const STALE_SECONDS = 5;
const AGAIN_SECONDS = 10;

const past = [];
let paused = false;
let lastHeard = 0;
let lastNews = 0;
let source = null;

const at = (id) => document.getElementById(id);
const REASONS = {
  unknown_recipient: "unknown recipient", recipient_refused: "recipient refused", sender_refused: "sender refused",
  relay_denied: "relaying denied", failed_auth: "failed AUTH", auth_mistake: "mistake in AUTH",
  message_refused: "message refused", protocol: "protocol error", debt: "debt from before", no_room: "waits to be looked at",
};
const words = (word) => REASONS[word] || String(word).replaceAll("_", " ");
const number = (value) => value.toLocaleString("en-US");
const clockTime = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour12: false });

/** 0.5 s, 42 s, 3 min 5 s, 2 h 10 min, 3 d 4 h */
function span(seconds) {
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 60) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  const [days, hours] = [Math.floor(whole / 86400), Math.floor((whole % 86400) / 3600)];
  const [minutes, rest] = [Math.floor((whole % 3600) / 60), whole % 60];
  if (days) return `${number(days)} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return `${minutes} min ${rest} s`;
}

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** A figure: exact in `value`, readable as text. */
function put(id, value, shown) {
  const element = at(id);
  const exact = value === null ? "" : String(value);
  if (element.value !== exact) element.value = exact;
  text(element, value === null ? "–" : shown === undefined ? number(value) : shown);
}

function make(name, content, className) {
  const element = document.createElement(name);
  if (content !== undefined) element.textContent = content;
  if (className) element.className = className;
  return element;
}

/**
 * Brings a table's body to these rows. A row is kept while its key is there, so that whoever has the
 * focus on a button in it keeps it. A cell is a text, `{text, good|bad}`, `{part, of}` or `{ask}`.
 */
function fill(id, rows, ifNone) {
  const body = at(id);
  const list = rows.length ? rows : [{ key: "none", cells: [{ text: ifNone, wide: true }] }];
  const kept = new Set(list.map((row) => row.key));
  // First, so that those that stay need not move: a row that moves loses the focus.
  [...body.rows].filter((row) => !kept.has(row.dataset.key)).forEach((row) => row.remove());
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  list.forEach(({ key, cells }, place) => {
    let row = old.get(key);
    if (!row) {
      row = make("tr");
      row.dataset.key = key;
      cells.forEach((cell) => row.append(newCell(cell, body)));
    }
    cells.forEach((cell, column) => setCell(row.cells[column], cell));
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] || null);
  });
}

function newCell(cell, body) {
  const made = make("td");
  if (cell.ask) {
    const button = make("button", "");
    button.type = "button";
    button.addEventListener("click", () => explain(button.textContent));
    made.append(button);
  } else if (cell.of !== undefined) {
    made.append(make("meter"));
    made.setAttribute("aria-hidden", "true");
  } else if (cell.wide) {
    made.colSpan = body.parentElement.querySelectorAll("thead th").length;
  }
  return made;
}

function setCell(made, cell) {
  if (cell.ask) {
    text(made.firstChild, cell.ask);
  } else if (cell.of !== undefined) {
    made.firstChild.max = Math.max(1, cell.of);
    made.firstChild.value = cell.part;
  } else {
    text(made, String(cell.text ?? cell));
    made.className = cell.bad ? "bad" : cell.good ? "good" : "";
  }
}

/** The bound within which a share of those between two snapshots was done; `null` if there were none. */
function within(now, before, share) {
  const counts = now.map(([bound, count], place) => [bound, count - (before ? before[place][1] : 0)]);
  const all = counts.length ? counts[counts.length - 1][1] : 0;
  if (!all) return null;
  return counts.find(([, count]) => count >= all * share)[0] ?? Infinity;
}

function show(now) {
  const newest = past[0];
  if (newest && (newest.clock > now.clock || newest.started !== now.started)) past.length = 0;
  // Ten minutes of all of it would be tens of megabytes.
  const { clock, started, mail, latency, upstream_failures, effect, pit } = now;
  past.unshift({ clock, started, mail, latency, upstream_failures, effect, pit });
  while (past.length && now.clock - past[past.length - 1].clock > KEPT_SECONDS) past.pop();
  if (paused) return;
  const before = past.findLast((one) => now.clock - one.clock <= RATE_SECONDS) || now;
  showMail(now, before);
  showPit(now);
  showEffect(now, before);
  showHarm(now);
  showSources(now);
  showSessions(now);
  const modes = [...new Set(now.listeners.map((one) => one.mode))];
  const mode = modes.length === 1 ? `mode ${modes[0]}` : now.listeners.map((one) => `${one.name}: ${one.mode}`).join(", ");
  text(at("modes"), now.trial ? `${mode}, on trial` : mode);
}

/** So many more in a minute as between the two. */
function perMinute(count, before, now) {
  const seconds = now.clock - before.clock;
  return seconds < 0.5 ? null : Math.round((count / Math.max(seconds, RATE_SECONDS)) * 60 * 10) / 10;
}

function showMail(now, before) {
  const servers = now.upstreams.flatMap((upstream) => upstream.servers.map((server) => ({ upstream, server })));
  const isUp = ({ server }) => server.health === "up" && !server.passed_over;
  const down = servers.filter((one) => !isUp(one));
  const trouble = now.upstream_failures.trouble - before.upstream_failures.trouble;
  const busy = now.upstream_failures.busy - before.upstream_failures.busy;
  let verdict = "Mail is well";
  if (now.unready) verdict = `New clients get no service: ${now.unready}`;
  else if (down.length) verdict = `${down.map((one) => one.server.address).join(", ")}: not well`;
  else if (trouble) verdict = `Upstreams failed to answer ${number(trouble)} times in the last minute`;
  else if (busy) verdict = `No upstream connection was free ${number(busy)} times in the last minute`;
  text(at("verdict"), verdict);
  at("verdict").className = `verdict ${verdict === "Mail is well" ? "good" : "bad"}`;

  const { mail } = now;
  put("accepted-minute", perMinute(mail.accepted - before.mail.accepted, before, now));
  put("deferred-minute", perMinute(mail.recipients_deferred - before.mail.recipients_deferred, before, now));
  put("sessions-now", mail.sessions);
  let [half, base] = [within(now.latency.message, before.latency.message, 0.5), before.latency.message];
  if (half === null) [half, base] = [within(now.latency.message, null, 0.5), null];
  const most = within(now.latency.message, base, 0.95);
  const bound = (value) => (value === Infinity ? "over 10 min" : span(value));
  put("latency-half", half, half === null ? undefined : bound(half));
  put("latency-most", most, most === null ? undefined : bound(most));
  text(at("latency-span"), half === null ? "No message yet." :
    `From the first recipient to the upstream's last word, holds included; ${base ? "of the last minute" : "none in the last minute: since the start"}.`);
  put("messages-accepted", mail.accepted);
  put("messages-refused", mail.refused);
  put("messages-aborted", mail.aborted);
  put("recipients-accepted", mail.recipients_accepted);
  put("recipients-refused", mail.recipients_refused);
  put("recipients-deferred", mail.recipients_deferred);
  fill("upstreams", servers.map(({ upstream, server }) => ({
    key: `${upstream.name} ${server.address}`,
    cells: [
      `${upstream.name}: ${server.address}`,
      { text: [server.health, server.why, server.passed_over ? "traffic found it dead" : ""].filter(Boolean).join(": "),
        good: isUp({ server }), bad: !isUp({ server }) },
      number(server.open - server.idle), number(server.idle), number(upstream.waiting),
    ],
  })), "none: mail goes to the built-in maildir");
}

function showPit(now) {
  const { pit, held } = now;
  put("held", pit.held);
  const points = past.map((one) => [now.clock - one.clock, one.pit.held]);
  const most = drawStrip(at("strip"), points, KEPT_SECONDS);
  const minutes = Math.max(1, Math.round((now.clock - past[past.length - 1].clock) / 60));
  text(at("strip-text"), `In the pit, the last ten minutes as far as this page saw them (${minutes} min): now ${number(pit.held)}, at most ${number(points.length ? Math.max(...points.map((one) => one[1])) : most)}.`);
  const state = [];
  if (pit.strained) state.push(`Over its bound (${pit.strained}): sessions are let go early.`);
  if (pit.shed) state.push(`${number(pit.shed)} let go early so far.`);
  if (pit.keepers) state.push(pit.keepers === 1 ? "A keeper process holds sessions too." : `${number(pit.keepers)} keeper processes hold sessions too.`);
  if (pit.observed_holds) state.push(`Mode observe: ${number(pit.observed_holds)} would have been held.`);
  text(at("pit-state"), state.join(" ") || "As it should be.");
  const sum = held.looked_at;
  fill("reasons", held.reasons.map(([reason, count]) => (
    { key: reason, cells: [words(reason), number(count), { part: count, of: sum }] }
  )), pit.held ? "not told apart yet" : "nobody is held");
  let from = 0;
  const ages = held.ages.map(([end, count]) => {
    const row = { key: String(end), cells: [`${from} to ${end} s`, number(count), { part: count, of: sum }] };
    from = end;
    return row;
  });
  fill("ages", ages, "nobody is held");
  text(at("sampled"), sum >= pit.held ? "" :
    `The two lists are of ${number(sum)} of them: who is idle after a hold, waits in a keeper or keeps an upstream connection is not in them, and of many a sample is.`);
}

function showEffect(now, before) {
  const { effect } = now;
  put("stolen", effect.stolen_seconds, span(effect.stolen_seconds));
  put("guesses", effect.guesses);
  put("names-learnt", effect.names_learnt);
  put("names-minute", perMinute(effect.names_learnt - before.effect.names_learnt, before, now));
  put("unseen", effect.unseen);
  put("auth-failures", effect.auth_failures);
  text(at("would-steal"), effect.would_steal_seconds ? `In mode observe, ${span(effect.would_steal_seconds)} more would have been.` : "");
}

function showHarm(now) {
  const { harm } = now;
  put("harm-seconds", harm.seconds, span(harm.seconds));
  put("harm-hang-ups", harm.hang_ups);
  put("known-senders", now.known_senders);
  at("harm").className = harm.seconds || harm.hang_ups ? "some" : "";
  text(at("would-harm"), harm.observed_seconds ? `In mode observe, ${span(harm.observed_seconds)} more would have been.` : "");
  const events = [...harm.events].reverse().slice(0, 8);
  // The same for as long as it is listed, wherever: its row keeps the focus. Two may be alike.
  const alike = new Map();
  const nth = (key) => { alike.set(key, (alike.get(key) || 0) + 1); return `${key} ${alike.get(key)}`; };
  fill("harm-events", events.map((event) => ({
    key: nth(`${event.at} ${event.source} ${event.session}`),
    cells: [clockTime(event.at), { ask: event.source }, { ask: event.session }, words(event.reason), span(event.seconds) + (event.hung_up ? ", hung up" : "")],
  })), "nobody");
}

function showSources(now) {
  put("sources-owing", now.sources_owing);
  fill("source-rows", now.sources.map((one) => ({
    key: one.source,
    cells: [
      { ask: one.source }, span(one.owed_seconds), span(one.owed_auth_seconds), one.reason ? words(one.reason) : "not known",
      number(one.sessions), one.accepted_ago_seconds === undefined ? "never" : `${span(one.accepted_ago_seconds)} ago`,
    ],
  })), "nobody owes anything");
}

function showSessions(now) {
  fill("session-rows", now.sessions.map((one) => {
    const { ended } = one;
    const held = one.holds.reduce((sum, hold) => sum + hold.held_seconds, 0);
    return {
      key: one.id,
      cells: [
        clockTime(one.at), { ask: one.id }, one.source,
        ended ? number(ended.accepted) : "", ended ? number(ended.refused) : "", ended ? number(ended.messages_accepted) : "",
        span(ended ? ended.held_seconds : held), ended ? words(ended.end) : "runs",
      ],
    };
  }), "none yet");
}

async function explain(of) {
  const box = at("why-text");
  text(at("why-title"), of);
  box.replaceChildren(make("p", "asking …"));
  at("why").showModal();
  at("why-title").focus();
  try {
    const query = encodeURIComponent(of.split("/")[0]);
    const [told, talk] = await Promise.all([ask(`/v1/explain?of=${query}`), of.startsWith("tp-") ? ask(`/v1/dialogue?of=${query}`) : null]);
    // Somebody may have closed it, and asked for another one.
    if (at("why-title").textContent !== of) return;
    box.replaceChildren();
    if (told.error) box.append(make("p", told.error));
    else describe(box, told);
    if (talk) dialogue(box, talk);
  } catch (error) {
    if (at("why-title").textContent !== of) return;
    box.replaceChildren(make("p", `The gateway gave no answer: ${error.message}`));
  }
}

async function ask(path) {
  const answer = await fetch(path);
  return answer.headers.get("content-type") === "application/json" ? answer.json() : { error: await answer.text() };
}

function list(box, pairs) {
  const all = make("dl", undefined, "figures");
  for (const [name, value] of pairs.filter((pair) => pair[1] !== undefined && pair[1] !== null && pair[1] !== "")) {
    const pair = make("div");
    pair.append(make("dt", name), make("dd", String(value)));
    all.append(pair);
  }
  box.append(all);
}

function describe(box, told) {
  const { session, source, exemption } = told;
  if (session) {
    const ended = session.ended || {};
    list(box, [["Client", ended.client || session.source], ["Listener", ended.listener], ["EHLO", ended.helo], ["Sender", ended.sender],
      ["Lasted", ended.seconds === undefined ? "runs" : span(ended.seconds)], ["End", ended.end && words(ended.end)],
      ["Refused", (ended.refused_paths || []).join(", ")]]);
    holds(box, session);
  }
  box.append(make("h3", `Source ${source.source} now`));
  list(box, [["Owes", span(source.owed_seconds)], ["Owes for AUTH", span(source.owed_auth_seconds)], ["Sessions", told.sessions],
    ["Mail accepted", source.accepted_ago_seconds === undefined ? "never in 30 days" : `${span(source.accepted_ago_seconds)} ago`],
    ["Exempt", exemption && !exemption.over ? `${exemption.network}: ${exemption.reason}` : "no"]]);
  box.append(make("h3", "What its next RCPT would meet"));
  for (const next of told.next) {
    const isFree = !next.right_seconds && !next.wrong_seconds;
    const ifNot = next.mode === "enforce" || isFree ? "" : ", so it does not; in enforce";
    const wait = isFree ? "no reply of it waits" : next.unseen ? "450 without being looked at" :
      `a right name waits ${span(next.right_seconds)}, a wrong one ${span(next.wrong_seconds)}`;
    box.append(make("p", `${next.listener} (mode ${next.mode}${ifNot}): ${wait}.`));
  }
  if (!exemption || exemption.over) box.append(make("p", `To exempt it: tarpit exempt add ${source.source} --reason "…"`, "small"));
  if (!session) told.recent.forEach((one) => { box.append(make("h3", `${one.id}, ${clockTime(one.at)}`)); holds(box, one); });
}

function holds(box, session) {
  for (const hold of session.holds) {
    const what = hold.code ? `its ${hold.code} waited` : "the command waited to be looked at";
    box.append(make("p", `${clockTime(hold.at)}: ${words(hold.reason)}, owed ${span(hold.owed_seconds)}; ${what} for ${span(hold.held_seconds)} (${words(hold.end)}).`));
  }
  if (!session.holds.length) box.append(make("p", "No hold of it is remembered."));
}

function dialogue(box, talk) {
  box.append(make("h3", "What was said"));
  if (talk.error) { box.append(make("p", talk.error)); return; }
  const all = make("ol", undefined, "talk");
  let last = 0;
  for (const line of talk.lines) {
    const item = make("li", undefined, line.who);
    const waited = line.at_seconds - last;
    last = line.at_seconds;
    const time = make("span", `${line.at_seconds.toFixed(2)} s`, "time");
    item.append(time, make("span", { client: "C:", server: "S:", note: "" }[line.who]), make("span", line.text));
    if (waited >= 1) item.append(make("span"), make("span"), make("span", `after ${span(waited)}`, "wait"));
    all.append(item);
  }
  box.append(all);
  if (talk.cut) box.append(make("p", "It was longer; the rest is not kept.", "small"));
}

function connect() {
  source = new EventSource("/events");
  source.onmessage = (event) => {
    lastHeard = performance.now();
    lastNews = Date.now() / 1000;
    state("live");
    show(JSON.parse(event.data));
  };
  source.onerror = () => {
    // A browser tries again by itself, but not after a refusal.
    if (source.readyState === EventSource.CLOSED) {
      state("refused: others look already, or the gateway is gone; trying again", true);
      setTimeout(connect, AGAIN_SECONDS * 1000);
    } else state("the line is lost; trying again", true);
  };
}

function state(what, isLost) {
  text(at("link"), paused && !isLost ? "paused" : what);
  at("link").className = isLost ? "link lost" : "link";
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  state(paused ? "paused" : "live");
});
// The same text each time: a screen reader says it once.
setInterval(() => {
  const silence = (performance.now() - lastHeard) / 1000;
  if (lastHeard && silence > STALE_SECONDS) state(`no news since ${clockTime(lastNews)}`, true);
}, 1000);
connect();
