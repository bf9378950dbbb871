// What must hold after an unattended run, found from plain facts: slots, proofs, retention, space, messages and series.
import type { EventRow } from '../../gateway/catalog/events.ts'
import type { RunRow } from '../../gateway/catalog/runs.ts'
import type { Message } from '../../protocol/notify.ts'
import type { Mail } from './mailbox.ts'
import type { Proof } from './proofs.ts'

export const MINUTE_MS = 60_000

/** A time during which somebody was away, in milliseconds since 1970. */
export interface Away {
  readonly fromMs: number
  readonly toMs: number
}

export interface Facts {
  readonly machines: readonly string[]
  /** From when on slots are expected, and until when. */
  readonly fromMs: number
  readonly toMs: number
  readonly gatewayAway: readonly Away[]
  readonly runs: readonly RunRow[]
  readonly events: readonly EventRow[]
  readonly proofs: readonly Proof[]
  /** Points that retention took before they were proven. */
  readonly gone: number
  /** Points that are there at the end, and how many the plan's rules would still remove of them. */
  readonly points: number
  readonly removable: number
  readonly mails: readonly Mail[]
  readonly messages: readonly Message[]
  readonly wrongHooks: readonly string[]
  /** Bytes of the tenant's pack files: the most that was seen, and at the end. */
  readonly mostBytes: number
  readonly bytes: number
}

/** One thing that must hold. */
export interface Check {
  readonly what: string
  readonly ok: boolean
  /** What was seen. */
  readonly seen: string
}

const check = (what: string, wrong: readonly string[], seen: string): Check => ({
  what,
  ok: wrong.length === 0,
  seen: wrong.length === 0 ? seen : `${wrong.slice(0, 5).join('; ')}${wrong.length > 5 ? '; ...' : ''}`,
})

const timeOf = (ms: number): string => new Date(ms).toISOString().slice(11, 19)

export const backupsOf = ({ runs }: Facts, machine: string | null = null): RunRow[] =>
  runs.filter(
    ({ kind, plan, machine: of }) => kind === 'backup' && plan !== null && (machine === null || of === machine),
  )

/** Whether the gateway was away when a slot came, or began to be before the slot could be noted. */
const wasAway = ({ gatewayAway }: Facts, slotMs: number): boolean =>
  gatewayAway.some(({ fromMs, toMs }) => slotMs > fromMs - MINUTE_MS && slotMs < toMs + MINUTE_MS)

/** Each minute of each machine has its run; what came while the gateway was away may be stood for by a newer one. */
export const slotCheck = (facts: Facts): Check => {
  const wrong: string[] = []
  let slots = 0
  for (const machine of facts.machines) {
    const due = backupsOf(facts, machine).map(({ dueMs }) => dueMs)
    if (new Set(due).size !== due.length) wrong.push(`${machine} has a slot twice`)
    for (const dueMs of due) if (dueMs % MINUTE_MS !== 0) wrong.push(`${machine} has a run at ${timeOf(dueMs)}`)
    const first = Math.ceil(facts.fromMs / MINUTE_MS) * MINUTE_MS
    for (let slotMs = first; slotMs < facts.toMs; slotMs += MINUTE_MS) {
      slots++
      if (!due.includes(slotMs) && !wasAway(facts, slotMs)) wrong.push(`${machine} has no run at ${timeOf(slotMs)}`)
    }
  }
  return check('every slot has a run, none twice', wrong, `${slots} slots of ${facts.machines.length} machines`)
}

/** Every run is over, with the reason where it did not do its work. */
export const stateCheck = ({ runs }: Facts): Check => {
  const wrong = runs.flatMap(({ kind, machine, dueMs, state, skipped, error }) => {
    const name = `${kind} ${machine ?? ''} ${timeOf(dueMs)}`
    if (state === 'due' || state === 'running') return [`${name} is ${state}`]
    if (state === 'failed' && error === null) return [`${name} failed without an error`]
    return state === 'skipped' && skipped === null ? [`${name} was skipped without a reason`] : []
  })
  const count = (state: string): number => runs.filter((one) => one.state === state).length
  const seen = `${count('done')} done, ${count('failed')} failed, ${count('skipped')} skipped`
  return check('every run is over and says why', wrong, seen)
}

/** No job stands for two runs, and each point is of a run that is done. */
export const jobCheck = (facts: Facts): Check => {
  const backups = facts.runs.filter(({ kind }) => kind === 'backup')
  const done = backups.filter(({ state }) => state === 'done')
  const jobs = backups.flatMap(({ job }) => (job === null ? [] : [job]))
  const known = new Set(done.map(({ job }) => job))
  const strange = facts.proofs.filter(({ point }) => !known.has(point)).map(({ point }) => `point ${point} has no run`)
  const twice = new Set(jobs).size === jobs.length ? [] : ['a job stands for two runs']
  return check('every point is of one run', [...twice, ...strange], `${done.length} backups done`)
}

export const proofCheck = ({ proofs, gone, machines }: Facts): Check => {
  const wrong = proofs.flatMap(({ machine, timeMs, wrong: why }) =>
    why === null ? [] : [`${machine} ${timeOf(timeMs)}: ${why}`],
  )
  const without = machines.filter((name) => !proofs.some(({ machine }) => machine === name))
  const seen = `${proofs.length} points exact, ${gone} gone before they were read`
  return check('every point is exact', [...wrong, ...without.map((name) => `no point of ${name} was proven`)], seen)
}

export const retentionCheck = ({ points, removable, proofs, gone, runs }: Facts): Check =>
  check(
    'retention holds',
    [
      ...(runs.some(({ kind, state, by }) => kind === 'prune' && state === 'done' && by === null)
        ? []
        : ['no prune came by itself']),
      ...(removable === 0 ? [] : [`${removable} points would still be removed`]),
      ...(points < proofs.length + gone ? [] : ['nothing was removed']),
    ],
    `${points} points kept of ${proofs.length + gone}`,
  )

export const spaceCheck = ({ runs, mostBytes, bytes }: Facts): Check => {
  const collected = runs.filter(({ kind, state }) => kind === 'collect' && state === 'done')
  const mib = (value: number): string => `${(value / 2 ** 20).toFixed(1)} MiB`
  const wrong = [
    ...(collected.length === 0 ? ['no collection ran'] : []),
    ...(bytes < mostBytes ? [] : ['nothing was reclaimed']),
  ]
  return check('space is reclaimed', wrong, `${mib(mostBytes)} at most, ${mib(bytes)} at the end`)
}

const itemKey = (tenant: string | null, kind: string, machine: string | null, state: string): string =>
  `${tenant ?? 'platform'} ${kind}${machine === null ? '' : ` ${machine}`} ${state}`

/** What is to be said of conditions, in any order: each begin, each change, and each end. */
const expectedItems = (events: readonly EventRow[]): string[] => {
  const held = new Set<string>()
  return events.flatMap(({ tenantName, kind, key, machine, severity, active }) => {
    if (active === null || key === null) return []
    const place = `${tenantName ?? ''} ${key}`
    const known = held.has(place)
    // milder ones than a warning are told to nobody, unless they were told when they were worse
    if (!known && severity === 'info') return []
    if (active) held.add(place)
    else held.delete(place)
    return [itemKey(tenantName, kind, machine, active ? (known ? 'changed' : 'active') : 'resolved')]
  })
}

const isCondition = (state: string): boolean => state !== 'happened'

const difference = (expected: readonly string[], found: readonly string[]): string[] => {
  const left = [...found]
  const missing = expected.filter((one) => {
    const at = left.indexOf(one)
    if (at >= 0) left.splice(at, 1)
    return at < 0
  })
  return [...missing.map((one) => `not told: ${one}`), ...left.map((one) => `told once too often: ${one}`)]
}

/** One message for each change of state, and one where it is good again. */
export const toldCheck = ({ events, messages }: Facts): Check => {
  const expected = expectedItems(events)
  const found = messages.flatMap(({ tenant, items }) =>
    items.filter(({ state }) => isCondition(state)).map((item) => itemKey(tenant, item.kind, item.machine, item.state)),
  )
  const good = found.filter((one) => one.endsWith(' resolved')).length
  // each attempt of a machine that fails is no news: its state is
  const single = messages.flatMap(({ items }) =>
    items.filter(({ kind }) => kind === 'job.failed').map(({ text }) => text),
  )
  return check(
    'one message for each change of state, one when it is good',
    [...difference(expected, found), ...single, ...(found.length === 0 ? ['nothing was told'] : [])],
    `${found.length} told, ${good} of them good again`,
  )
}

/** Mails say what the webhooks say, came over TLS with the password, and to the one who was named. */
export const mailCheck = ({ mails, messages }: Facts): Check => {
  const differs = difference(
    messages.map(({ subject }) => subject),
    mails.map(({ subject }) => subject),
  )
  const open = mails.filter(({ secure }) => !secure).map(({ subject }) => `in the clear: ${subject}`)
  const strange = mails.filter(({ to }) => to.join() !== 'ops@example.org').map(({ to }) => `to ${to.join()}`)
  return check('mail says the same, over TLS', [...differs, ...open, ...strange], `${mails.length} mails`)
}

export const hookCheck = ({ wrongHooks, messages }: Facts): Check =>
  check('webhooks are signed right', wrongHooks, `${messages.length} messages`)

export const crashCheck = ({ events, gatewayAway }: Facts): Check => {
  const crashes = events.filter(({ kind }) => kind === 'gateway.crashed').length
  const wrong = crashes === gatewayAway.length ? [] : [`told ${crashes} times, killed ${gatewayAway.length} times`]
  return check('each crash is told once', wrong, `${crashes} told`)
}

/** All that can be seen from the facts alone. */
export const allChecks = (facts: Facts): Check[] =>
  [
    slotCheck,
    stateCheck,
    jobCheck,
    proofCheck,
    retentionCheck,
    spaceCheck,
    toldCheck,
    mailCheck,
    hookCheck,
    crashCheck,
  ].map((one) => one(facts))
