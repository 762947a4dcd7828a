// The page of duplistatus-cron. It shows what the service answers, and keeps a token for its tab and the choice of a zone.
const $ = id => document.getElementById(id)
const SIGNS = {
  success: ["✓", "good"], failed: ["✕", "bad"], timed_out: ["⧖", "bad"], interrupted: ["!", "warn"], skipped: ["–", "warn"],
  running: ["▶", ""], queued: ["…", ""],
}
const OFTEN = 2000, SELDOM = 10000, RARELY = 30000, PATIENCE = 8000, LONG_PATIENCE = 25000
let overview = null, refusal = "", etag = "", loaded = "", planned = "", ahead = 0, answeredAt = 0, asked = 0, shown = 0, timer = 0, failures = 0
const UNKNOWN = "This can only be told when it runs."
const watched = new Map() // Runs that were begun here, with their jobs.

// --- Elements. What is shown already is changed only where it differs, so that focus, selection and scrolling stay.

const make = (tag, properties = {}, ...children) => {
  const { data = {}, ...rest } = properties
  const element = Object.assign(document.createElement(tag), rest)
  Object.assign(element.dataset, data)
  element.append(...children)
  return element
}
const text = (element, value) => { if (element.textContent !== value) element.textContent = value }
const attribute = (element, name, value) => {
  if (value === null) element.removeAttribute(name)
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value)
}
const keyed = (parent, items, key, create, update) => {
  const old = new Map([...parent.children].map(child => [child.dataset.key, child]))
  const focused = document.activeElement
  let at = parent.firstElementChild
  for (const item of items) {
    const name = String(key(item))
    const element = old.get(name) ?? create(item)
    old.delete(name)
    element.dataset.key = name
    if (element === at) at = at.nextElementSibling
    else parent.insertBefore(element, at)
    update(element, item)
  }
  for (const element of old.values()) element.remove()
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true })
}
const cells = (row, values) => {
  values.forEach((value, index) => {
    const cell = row.cells[index] ?? row.appendChild(make(index ? "td" : "th", index ? {} : { scope: "row" }))
    text(cell, value ?? "")
  })
  const heads = row.closest("table")?.tHead.rows[0].cells ?? []
  values.forEach((_, index) => { if (index && heads[index]) attribute(row.cells[index], "data-name", heads[index].textContent) })
}
const lines = (list, values) => keyed(list, values.map((value, index) => ({ value, index })), item => item.index,
  () => make("li"), (element, item) => text(element, item.value))
const say = words => text($("said"), words)
const inWords = word => word.replace("_", " ")
const jobOf = id => overview?.jobs.find(job => job.id === id)

// --- Times. They are reckoned from the server's clock; the zone is always named.

const now = () => Date.now() + ahead
const browserZone = Intl.DateTimeFormat().resolvedOptions().timeZone
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`
const length = ms => {
  const seconds = Math.round(Math.abs(ms) / 1000)
  if (Math.abs(ms) < 1000) return `${Math.round(Math.abs(ms))} ms`
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60 ? `${seconds % 60} s` : ""}`.trim()
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`
  return `${Math.floor(seconds / 86400)} days`
}
const relative = at => {
  const away = at - now()
  if (Math.abs(away) < 1000) return "now"
  const coarse = Math.abs(away) > 120000 ? Math.round(away / 60000) * 60000 : away
  return away > 0 ? `in ${length(coarse)}` : `${length(coarse)} ago`
}
const formats = new Map()
const absolute = (at, zone) => {
  if (!formats.has(zone)) {
    const how = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }
    try { formats.set(zone, [new Intl.DateTimeFormat("sv-SE", { ...how, timeZone: zone }), zone]) }
    catch { formats.set(zone, [new Intl.DateTimeFormat("sv-SE", { ...how, timeZone: "UTC" }), "UTC"]) }
  }
  const [format, name] = formats.get(zone)
  return `${format.format(at)} ${name}`
}
const zoneOf = job => {
  const choice = $("zone").value
  return choice === "job" ? jobOf(job)?.time_zone ?? "UTC" : choice || browserZone
}
const moment = (element, at, job, isAlone) => {
  if (!at) return text(element, "")
  let time = element.querySelector("time")
  if (!time) element.replaceChildren(time = make("time"))
  const when = absolute(new Date(at), zoneOf(job))
  attribute(time, "datetime", new Date(at).toISOString())
  attribute(time, "title", when)
  if (isAlone) return text(time, when)
  if (!time.firstChild) time.append(make("span", { className: "relative" }), make("small"))
  text(time.firstChild, relative(new Date(at)))
  text(time.lastChild, when)
}
const tick = () => {
  for (const time of document.querySelectorAll("main section:not([hidden]) time .relative")) text(time, relative(new Date(time.parentNode.dateTime)))
  if (failures && answeredAt) lost()
}

// --- Asking the service. Every address is relative, so that the page works below any path.

const token = () => sessionStorage.getItem("token")
const ask = async (path, method = "GET", headers = {}, patience = PATIENCE) => {
  if (token()) headers.Authorization = `Bearer ${token()}`
  const answer = await fetch(path, { method, headers, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(patience) })
  if (answer.status === 401) {
    if (headers.Authorization === `Bearer ${token()}`) { sessionStorage.removeItem("token"); text($("rejected"), "The token was rejected.") }
    failures = 0
    $("lost").hidden = true
    if ($("ask").hidden) { $("ask").hidden = false; $("main").hidden = true; $("token").focus() }
    throw new Error("a token is needed")
  }
  const date = Date.parse(answer.headers.get("Date"))
  // The header has whole seconds.
  if (date && Math.abs(date + 500 - now()) > 1500) ahead = date + 500 - Date.now()
  return answer
}
const read = async (path, patience) => {
  const answer = await ask(path, "GET", {}, patience)
  const body = await answer.json()
  if (!answer.ok) throw new Error(body.error ?? body.message ?? `the service answered ${answer.status}`)
  return body
}
const lost = () => {
  $("lost").hidden = false
  $("main").classList.add("stale")
  text($("trouble"), refusal ? `The service answers: ${refusal}.` : "The service does not answer.")
  // It is told anew each second, which nobody wants to hear.
  text($("since"), answeredAt ? `What is shown is from ${absolute(new Date(answeredAt + ahead), zoneOf())}, ${length(Date.now() - answeredAt)} ago.` : "")
}
const refresh = async () => {
  clearTimeout(timer)
  if (document.hidden) return
  const turn = ++asked
  let isNew = false
  try {
    const answer = await ask("api/overview", "GET", etag ? { "If-None-Match": etag } : {})
    refusal = answer.ok || answer.status === 304 ? "" : (await answer.json()).error ?? String(answer.status)
    if (refusal) throw new Error(refusal)
    const fresh = answer.status === 200 ? await answer.json() : overview
    if (!Array.isArray(fresh?.jobs)) throw new TypeError("what answers is not the service")
    if (turn < shown) return
    ;[shown, failures, answeredAt] = [turn, 0, Date.now()]
    if (fresh !== overview) { overview = fresh; etag = answer.headers.get("ETag") ?? "" }
    $("lost").hidden = $("ask").hidden = true
    $("main").classList.remove("stale")
    $("main").hidden = false
    isNew = true
  } catch (error) {
    if (turn < asked) return
    if (error.name !== "Error") refusal = ""
    if ($("ask").hidden) { failures += 1; lost() }
  }
  if (isNew) show()
  clearTimeout(timer)
  const isBusy = overview?.jobs.some(job => job.running || job.waiting) || watched.size
  if ($("ask").hidden) timer = setTimeout(refresh, failures ? Math.min(RARELY, OFTEN * 2 ** failures) : isBusy ? OFTEN : SELDOM)
}

// --- The overview

const STATES = {
  running: ["▶", ""], queued: ["…", ""], failing: ["✕", "bad"], overdue: ["✕", "bad"], stopped: ["◼", "quiet"], disabled: ["◼", "quiet"],
  warning: ["!", "warn"], ok: ["✓", "good"], "not run yet": ["○", "quiet"],
}
const rank = job => job.error || job.overdue ? 0 : job.running || job.waiting ? 1 : job.active ? 2 : 3
const byUrgency = (a, b) => rank(a) - rank(b) || (a.next_run ?? "~").localeCompare(b.next_run ?? "~") || a.id.localeCompare(b.id)
const usual = job => {
  const took = job.runs.filter(run => run[1] === "success").map(run => run[3]).sort((a, b) => a - b)
  return took[took.length >> 1] ?? 0
}
const inUse = element => element.matches(":hover, :focus-within") || (!getSelection().isCollapsed && element.contains(getSelection().anchorNode))

const act = (job, verb, run) => make("button", { type: "button", textContent: verb, onclick: event => run(job, event.currentTarget) })
const createJob = job => {
  const note = make("small", { className: "note" })
  const row = make("tr", { data: { job: job.id } })
  const strip = make("div", { className: "strip" })
  row.append(make("th", { scope: "row" }, make("a", { href: `#/jobs/${job.id}`, textContent: job.id }), make("small")),
    make("td", {}, make("span", { className: "state" }), make("small"), make("progress", { hidden: true })),
    make("td", {}, make("span"), make("small", {}, make("code"))),
    make("td"), make("td", {}, make("span"), make("small")), make("td", {}, strip),
    make("td", {}, make("div", { className: "acts" }, act(job.id, "Run", run), act(job.id, "Stop", stop), act(job.id, "Start", start), act(job.id, "End run", endNewest)), note))
  const heads = $("jobs").tHead.rows[0].cells
  for (const at of [2, 3, 4]) row.cells[at].dataset.name = heads[at].textContent
  seen.observe(row)
  return row
}
const updateJob = (row, job) => {
  // A row whose job is as it was needs nothing; its times are told anew each second.
  const toShow = JSON.stringify(job) + $("zone").value
  if (row.shown === toShow && !job.running) return
  row.shown = toShow
  const [name, state, schedule, next, last, , acts] = row.cells
  text(name.lastChild, job.description ?? "")
  const [sign, style] = STATES[job.state]
  text(state.children[0], `${sign} ${job.state}`)
  state.children[0].className = `state ${style}`
  const took = job.running && job.last_run ? Math.max(0, now() - Date.parse(job.last_run)) : 0
  const far = job.progress ? `${plural(job.progress, "row")} so far, ` : ""
  const underWay = job.running ? `${far}${length(took)}${usual(job) ? `; it usually takes ${length(usual(job))}` : ""}` : ""
  text(state.children[1], [underWay, job.error ?? job.overdue ?? job.warnings.join("; ")].filter(Boolean).join("; "))
  const bar = state.children[2]
  bar.hidden = !job.running
  if (job.running) {
    const whole = watched.get(job.run)?.rows
    attribute(bar, "aria-label", `progress of ${job.id}`)
    if (whole) [bar.max, bar.value] = [whole, Math.min(job.progress, whole)]
    else if (usual(job)) [bar.max, bar.value] = [usual(job), Math.min(took, usual(job))]
    else bar.removeAttribute("value")
  }
  text(schedule.firstChild, job.words)
  text(schedule.lastChild.firstChild, `${job.schedule} (${job.time_zone})`)
  moment(next, job.next_run, job.id)
  if (!job.next_run) text(next, job.active ? "never" : "")
  const newest = job.runs.find(run => run[1] !== "running" && run[1] !== "queued")
  text(last.firstChild, newest ? `${SIGNS[newest[1]][0]} ${inWords(newest[1])}${newest[3] === null ? "" : `, ${length(newest[3])}`}` : "")
  last.firstChild.className = newest ? SIGNS[newest[1]][1] : ""
  moment(last.lastChild, newest?.[2], job.id, true)
  if (row.dataset.seen) updateStrip(row, job)
  const [runIt, stopIt, startIt, endIt] = acts.querySelectorAll("button")
  // Whoever has just pressed one of them goes on with the one in its place.
  const pressed = document.activeElement
  const heir = new Map([[stopIt, startIt], [startIt, stopIt], [endIt, runIt]]).get(pressed)
  stopIt.hidden = !job.active
  startIt.hidden = job.active
  // One that was given up on and goes on cannot be ended.
  endIt.hidden = !job.run
  if (heir && pressed.hidden) heir.focus({ preventScroll: true })
  for (const button of [runIt, stopIt, startIt, endIt]) attribute(button, "aria-label", `${button.textContent} ${job.id}`)
}
// Only rows that were seen have their strips: a thousand jobs would have twenty thousand.
const seen = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    const job = isIntersecting && jobOf(target.dataset.job)
    if (job) { target.dataset.seen = "yes"; updateStrip(target, job) }
  }
})
const updateStrip = (row, job) => {
  const strip = row.cells[5].firstChild
  attribute(strip, "role", job.runs.length ? "group" : null)
  attribute(strip, "aria-label", job.runs.length ? `runs of ${job.id}, oldest first; use the arrow keys` : null)
  keyed(strip, [...job.runs].reverse(), run => run[0], run => make("a", { href: `#/runs/${run[0]}`, tabIndex: -1 }), (link, run) => {
    const [sign, style] = SIGNS[run[1]]
    text(link, sign)
    link.className = style
    const name = `${absolute(new Date(run[2]), zoneOf(job.id))}: ${inWords(run[1])}${run[3] === null ? "" : ` after ${length(run[3])}`}`
    attribute(link, "aria-label", name)
    attribute(link, "title", name)
  })
  if (strip.lastChild && !strip.querySelector("[tabindex='0']")) strip.lastChild.tabIndex = 0
}
$("jobs").addEventListener("keydown", event => {
  const step = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key]
  const next = step && event.target.closest(".strip a")?.[step]
  if (!next) return
  event.preventDefault()
  event.target.tabIndex = -1
  next.tabIndex = 0
  next.focus()
})

// --- Acts. What came of one is told where its button is.

const noteOf = job => document.querySelector(`tr[data-job="${CSS.escape(job)}"] .note`)
const tell = (job, words) => { const note = noteOf(job); if (note) text(note, words); say(words) }
const sure = (question, meaning, verb, plan) => new Promise(resolve => {
  // A question is answered before another one is asked.
  if ($("sure").open) return resolve(false)
  text($("question"), question)
  text($("meaning"), meaning)
  text($("verb"), verb)
  $("planned").hidden = !plan
  text($("planned"), plan ?? "")
  $("sure").returnValue = ""
  $("sure").onclose = () => resolve($("sure").returnValue === "yes")
  $("sure").showModal()
})
const post = async (path, job, button) => {
  button.disabled = true
  try {
    const answer = await ask(path, "POST", {}, LONG_PATIENCE)
    const body = await answer.json()
    const words = body.message ?? body.error ?? `the service answered ${answer.status}`
    if (job) tell(job, words)
    return { body, ok: answer.ok, words }
  } catch (error) {
    const words = `No answer came, though it may have been done: ${error.message}`
    if (job) tell(job, words)
    return { ok: false, words }
  } finally {
    button.disabled = false
    button.focus({ preventScroll: true })
    refresh()
  }
}
const run = async (id, button) => {
  const job = jobOf(id)
  let rows = 0
  if (job.asks) {
    button.disabled = true
    // What the service refuses is told in the dialog; where there is no answer, there is nothing to decide.
    const plan = await read(`api/schedules/${id}/plan`, LONG_PATIENCE).catch(error => error.name === "Error" && { lines: [error.message] })
    button.disabled = false
    button.focus({ preventScroll: true })
    if (!plan) return tell(id, "The service does not answer.")
    rows = plan.rows ?? 0
    const words = plan.lines?.join("\n") ?? UNKNOWN
    if (!await sure(`Run ${id} now?`, "What a run would do now:", "Run", words)) return
  }
  const { ok, body } = await post(`trigger/${id}?wait=false`, id, button)
  if (ok) { tell(id, `Run ${body.runId} has begun.`); watched.set(body.runId, { id, rows }) }
}
const stop = async (id, button) => {
  const meaning = "It will not run by its schedule until you start it again or reload the configuration. A run in progress goes on."
  if (await sure(`Stop ${id}?`, meaning, "Stop")) await post(`stop/${id}`, id, button)
}
const start = (id, button) => post(`start/${id}`, id, button)
const end = async (id, run, button) => {
  const isSure = await sure(`End run ${run} of ${id}?`, "The run is stopped now, and does not count as a failure.", "End run")
  return isSure && post(`api/schedules/executions/${run}/cancel`, id, button)
}
const endNewest = (id, button) => end(id, jobOf(id).run, button)
const announceEnds = () => {
  for (const [number, { id }] of watched) {
    const job = jobOf(id)
    const ended = job?.runs.find(run => run[0] === number && run[3] !== null)
    // Of one that is gone with its job, or is no longer among the newest, nothing more is heard.
    if (ended || !(job?.running || job?.waiting)) watched.delete(number)
    if (!ended) continue
    tell(id, `Run ${number}: ${inWords(ended[1])} after ${length(ended[3])}.`)
  }
}

// --- A job

const clearJob = () => {
  text($("plan"), "")
  for (const place of [$("times"), $("settings").tBodies[0]]) place.replaceChildren()
}
const showJob = async id => {
  const turn = location.hash
  // A plan may have much to count: it is made when the view is opened.
  if (planned !== turn) {
    planned = turn
    text($("plan"), "…")
    read(`api/schedules/${id}/plan`, LONG_PATIENCE).catch(error => ({ lines: [error.message] })).then(plan => {
      if (planned === turn) text($("plan"), plan.lines?.join("\n") ?? UNKNOWN)
    })
  }
  const details = await read(`api/jobs/${id}`).catch(error => { clearJob(); throw error })
  if (location.hash !== turn) return
  keyed($("times"), details.next, at => at, () => make("li"), (element, at) => {
    const zones = [...new Set([browserZone, details.time_zone, "UTC"])]
    text(element, zones.map(zone => absolute(new Date(at), zone)).join(" = "))
  })
  text($("why"), details.why)
  keyed($("settings").tBodies[0], details.settings, setting => setting.path.join("."), () => make("tr"), (row, setting) =>
    cells(row, [setting.path.slice(2).join("."), typeof setting.value === "string" ? setting.value : JSON.stringify(setting.value), setting.origin]))
}

// --- Runs

const query = () => new URLSearchParams(location.hash.split("?")[1] ?? "")
const PAGE = 50
const listed = new Map() // The runs that are shown, by number.
let listing = 0 // How often they were shown anew: what was asked for before belongs to another list.
const clearList = () => { listed.clear(); listing += 1 }
const showRuns = async (filter, before) => {
  const turn = location.hash, list = listing
  const wanted = new URLSearchParams([...filter].filter(([, value]) => value))
  wanted.set("limit", PAGE)
  if (before) wanted.set("before", before)
  const { total, executions } = await read(`api/schedules/executions?${wanted}`)
  if (location.hash !== turn || (before && list !== listing)) return
  if (!before) text($("total"), plural(total, "run"))
  // So many are new that some between them and the others would be missing.
  if (!before && !executions.some(run => listed.has(run.id))) clearList()
  if (before || !listed.size) $("older").hidden = executions.length < PAGE
  for (const run of executions) listed.set(run.id, run)
  // One that goes on beyond the first page is looked at alone.
  const old = [...listed.values()].filter(run => isUnderWay(run) && !executions.includes(run))
  for (const run of await Promise.all(old.map(run => read(`api/schedules/executions/${run.id}`)))) listed.set(run.id, run)
  if (location.hash !== turn) return
  const rows = [...listed.values()].sort((a, b) => b.id - a.id)
  $("older").onclick = async ({ currentTarget: button }) => {
    button.disabled = true
    await showRuns(filter, rows.at(-1).id).catch(failed($("total")))
    button.disabled = false
  }
  keyed($("history").tBodies[0], rows, run => run.id, createRun, updateRun)
}
const isUnderWay = run => run.status === "running" || run.status === "queued"
const createRun = run => {
  const output = make("pre", { tabIndex: 0 })
  const copy = make("button", { type: "button", textContent: "Copy", onclick: () => copyOf(output, copy) })
  const details = make("details", {}, make("summary", { textContent: "Output" }), copy, output)
  details.load = async () => {
    const found = await read(`api/schedules/executions/${run.id}`).catch(error => ({ output: error.message }))
    text(output, found.output ?? [found.message, found.error].filter(Boolean).join("\n"))
  }
  details.ontoggle = () => details.open && details.load()
  const stop = make("button", { type: "button", textContent: "End run", hidden: true, onclick: async event => {
    const ended = await end(run.job, run.id, event.currentTarget)
    if (ended) text(note, ended.words)
  } })
  const note = make("small", { className: "note" })
  return make("tr", {}, make("th", { scope: "row" }, make("a", { href: `#/runs/${run.id}`, textContent: run.id })), make("td", {}, make("a")),
    make("td"), make("td"), make("td"), make("td"), make("td", {}, make("span"), details, stop, note))
}
const updateRun = (row, run) => {
  const [, job, status, began, took, trigger, message] = row.cells
  ;[job.firstChild.textContent, job.firstChild.href] = [run.job, `#/jobs/${run.job}`]
  text(status, `${SIGNS[run.status][0]} ${inWords(run.status)}`)
  status.className = SIGNS[run.status][1]
  moment(began, run.started_at ?? run.scheduled_at, run.job)
  text(took, run.duration_ms === null ? "" : length(run.duration_ms))
  text(trigger, inWords(run.trigger))
  const [said, details, stop] = message.children
  text(said, run.error ?? run.message ?? "")
  const hadFocus = document.activeElement === stop
  stop.hidden = !isUnderWay(run)
  if (hadFocus && stop.hidden) details.firstChild.focus({ preventScroll: true })
  if (details.open && row.dataset.status !== run.status) details.load()
  row.dataset.status = run.status
}
const copyOf = async (output, button) => {
  try { await navigator.clipboard.writeText(output.textContent); text(button, "Copied") }
  // Outside HTTPS there is no clipboard: it is selected instead.
  catch { getSelection().selectAllChildren(output); text(button, "Selected: copy it with the keyboard") }
}
const showRun = async id => {
  const turn = location.hash
  const run = await read(`api/schedules/executions/${id}`)
  if (location.hash !== turn) return
  const isFirst = !$("history").tBodies[0].rows.length
  keyed($("history").tBodies[0], [run], run => run.id, createRun, updateRun)
  if (isFirst) $("history").querySelector("details").open = true
  text($("total"), `Run ${id}`)
  $("older").hidden = true
}
$("filter").onsubmit = event => {
  event.preventDefault()
  const wanted = [...new FormData($("filter"))].filter(([, value]) => value)
  location.hash = `#/runs?${new URLSearchParams(wanted)}`
}

// --- The service

const showService = async () => {
  const { config, outbox, databases, replicas } = overview
  const facts = {
    "Version": overview.version, "Started": absolute(new Date(overview.startedAt), zoneOf()), "Status": overview.status,
    "Configuration": config.source, "Loaded": absolute(new Date(config.loadedAt), zoneOf()),
    "Last reload": config.lastReload ? `${config.lastReload.applied ? "applied" : "refused"}, by ${config.lastReload.cause}, ${absolute(new Date(config.lastReload.at), zoneOf())}` : "none",
    "Messages": `${outbox.pending} pending, ${outbox.dead} abandoned`,
  }
  keyed($("facts"), Object.entries(facts).flatMap(([name, value]) => [["dt", name, name], ["dd", `=${name}`, value]]), item => item[1],
    item => make(item[0]), (element, item) => text(element, item[2]))
  const refused = config.lastReload?.applied === false ? config.lastReload.problems : []
  const problems = [...refused, ...config.problems].map(problem => problem.text)
  lines($("problems"), problems.length ? problems : ["None."])
  const found = databases.map(({ name, path, trouble }) => `${name}: ${path} — ${trouble ?? "ok"}`)
  lines($("databases"), found.length ? found : ["No job uses one."])
  const standing = replica => [replica.isThis && "this one", replica.isLeading ? "leads" : "stands by", replica.hasAnotherPlan && "its declaration differs"]
  const seen = (replicas ?? []).map(replica => `${replica.id}: ${standing(replica).filter(Boolean).join(", ")}; ${replica.version}, started ${absolute(new Date(replica.startedAt), zoneOf())}`)
  lines($("replicas"), replicas ? seen : ["There is only this one."])
  const { messages } = await read("api/outbox")
  keyed($("outbox").tBodies[0], messages, message => message.id, () => make("tr"), (row, message) =>
    cells(row, [message.subject, message.channel, message.status, absolute(new Date(message.created_at), zoneOf()), String(message.attempts), message.last_error]))
}
$("reload").onclick = async event => {
  const { words } = await post("reload-config", "", event.currentTarget)
  text($("service").querySelector(".note"), words)
  say(words)
}

// --- Views

const VIEWS = { job: ["top", "job", "runs"], overview: ["top"], runs: ["runs"], service: ["service"] }
const route = () => {
  const [, view = "", id = ""] = location.hash.split("?")[0].split("/")
  if (view === "jobs" && id) return { view: "job", id }
  return view === "runs" || view === "service" ? { view, id } : { view: "overview" }
}
// An error of a view that is left already is nobody's concern.
const failed = place => {
  const turn = location.hash
  return error => { if (location.hash === turn) { loaded = ""; text(place, error.message) } }
}
const show = () => {
  const { view, id } = route()
  for (const section of document.querySelectorAll("main > section")) section.hidden = !VIEWS[view].includes(section.id)
  $("filter").hidden = view === "job" || Boolean(id)
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = link.hash === (view === "runs" ? "#/runs" : view === "service" ? "#/service" : "#/")
    attribute(link, "aria-current", isHere && view !== "job" ? "page" : null)
  }
  const failing = overview.jobs.filter(job => job.error || job.overdue)
  const sign = failing.length || overview.status === "failing" ? "failing" : overview.status
  document.title = `${failing.length ? `(${failing.length}) ` : ""}${view === "job" ? id : view} – duplistatus-cron`
  attribute($("icon"), "href", sign === "ok" ? "icon.svg" : "icon.svg?failing")
  text($("title"), view === "job" ? id : "Overview")
  $("sentence").hidden = view === "job"
  text($("sentence"), failing.length ? `${failing.length} of ${plural(overview.jobs.length, "job")} ${failing.length === 1 ? "is" : "are"} failing.`
    : `${plural(overview.jobs.length, "job")}, none failing. The service is ${overview.status}.`)
  lines($("reasons"), view === "job" ? [] : overview.reasons)
  const body = $("jobs").tBodies[0]
  let jobs = overview.jobs.filter(job => view !== "job" || job.id === id)
  const places = new Map([...body.children].map((row, place) => [row.dataset.key, place]))
  // Rows do not move under a pointer, a focus or a selection.
  jobs = inUse(body) ? jobs.sort((a, b) => (places.get(a.id) ?? 1e9) - (places.get(b.id) ?? 1e9)) : jobs.sort(byUrgency)
  if (VIEWS[view].includes("top")) keyed(body, jobs, job => job.id, createJob, updateJob)
  if (view === "overview") keyed($("ids"), overview.jobs, job => job.id, job => make("option", { value: job.id }), () => {})
  announceEnds()
  // What else the view shows is asked for when it is opened, and when something has changed.
  if (loaded === location.hash + etag) return
  loaded = location.hash + etag
  if (view !== "job") planned = ""
  if (view === "job") { showJob(id).catch(failed($("why"))); showRuns([["job", id]]).catch(failed($("total"))) }
  if (view === "runs") (id ? showRun(id) : showRuns(query())).catch(failed($("total")))
  if (view === "service") showService().then(() => text($("unread"), ""), failed($("unread")))
}
addEventListener("hashchange", () => {
  clearList()
  clearJob()
  for (const place of ["why", "total"]) text($(place), "")
  $("history").tBodies[0].replaceChildren()
  const filter = query()
  for (const field of $("filter").elements) if (field.name) field.value = filter.get(field.name) ?? ""
  if (!overview) return
  show()
  document.querySelector("main > section:not([hidden]) h2").focus({ preventScroll: true })
  scrollTo(0, 0)
  refresh()
})
document.querySelector(".skip").onclick = event => { event.preventDefault(); $("main").focus() }
addEventListener("visibilitychange", () => { if (!document.hidden) refresh() })
$("ask").onsubmit = event => {
  event.preventDefault()
  const given = $("token").value.trim()
  $("token").value = ""
  // Nothing else can stand in a header.
  if (!/^[\x20-\x7e]+$/.test(given)) return text($("rejected"), "A token has letters, digits and signs of ASCII only.")
  sessionStorage.setItem("token", given)
  text($("rejected"), "")
  $("ask").hidden = true
  refresh().then(() => { if (!$("main").hidden) $("main").focus() })
}
$("zone").value = localStorage.getItem("zone") ?? ""
$("zone").onchange = () => { localStorage.setItem("zone", $("zone").value); loaded = ""; if (overview) show() }
for (const [name, words] of [["status", Object.keys(SIGNS)], ["trigger", ["schedule", "catch_up", "manual", "webhook"]]]) {
  for (const word of words) $("filter").elements[name].append(make("option", { value: word, textContent: inWords(word) }))
}
for (const field of $("filter").elements) if (field.name) field.value = query().get(field.name) ?? ""
setInterval(tick, 1000)
refresh()
