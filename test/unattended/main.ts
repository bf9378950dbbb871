// Lets a gateway work by itself for some minutes with real machines, real mail and a real Prometheus, breaks what may break, and
// checks what it did.
//
// Usage: node test/unattended/main.ts [--minutes 10] [--json]   Exit codes: 0 all holds, 1 something does not, 130 interrupted.
import { parseArgs } from 'node:util'
import { backupsOf, type Check, type Facts } from './checks.ts'
import { runUnattended, type Told } from './story.ts'

/** Fewer would leave no time for a machine that is off for longer than its plan allows. */
const MINUTES_MIN = 6

const USAGE = `Three machines with a plan of every minute, for some minutes without a hand: one is shut down for a while, the
gateway and the agent are killed. Then slots, points, retention, space, mails, webhooks and metrics are checked.

  --minutes N  how long (10; at least ${MINUTES_MIN})
  --json       print the checks as one last line of JSON
`

const line = (cells: readonly string[], widths: readonly number[]): string =>
  cells
    .map((cell, index) => cell.padEnd(widths[index] ?? 0))
    .join('  ')
    .trimEnd()

const table = (rows: readonly (readonly string[])[]): string => {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => line(row, widths)).join('\n')
}

/** Of each machine: what became of its slots, and how many points were proven. */
const machineRows = (facts: Facts): string[][] =>
  facts.machines.map((machine) => {
    const runs = backupsOf(facts, machine)
    const count = (state: string): string => String(runs.filter((run) => run.state === state).length)
    const why = [...new Set(runs.flatMap(({ skipped, error }) => skipped ?? error?.code ?? []))].join(', ')
    const exact = facts.proofs.filter((proof) => proof.machine === machine && proof.wrong === null).length
    return [machine, String(runs.length), count('done'), count('failed'), count('skipped'), String(exact), why]
  })

/** Of each kind of run that is not a backup: how many, and what the last one did. */
const upkeepRows = ({ runs }: Facts): string[][] =>
  [...new Set(runs.map(({ kind }) => kind))]
    .filter((kind) => kind !== 'backup')
    .map((kind) => {
      const own = runs.filter((run) => run.kind === kind)
      const count = (state: string): string => String(own.filter((run) => run.state === state).length)
      return [kind, String(own.length), count('done'), count('failed'), count('skipped'), own[0]?.summary ?? '']
    })

const checkRows = (checks: readonly Check[]): string[][] =>
  checks.map(({ what, ok, seen }) => [ok ? 'ok' : 'WRONG', what, seen])

const report = ({ facts, checks }: Told): string =>
  [
    '',
    table([['machine', 'slots', 'done', 'failed', 'skipped', 'exact', 'reasons'], ...machineRows(facts)]),
    '',
    table([['upkeep', 'runs', 'done', 'failed', 'skipped', 'the last one'], ...upkeepRows(facts)]),
    '',
    table(checkRows(checks)),
    '',
  ].join('\n')

const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    return 0
  }
  const minutes = Number(values.minutes)
  if (!(minutes >= MINUTES_MIN)) {
    console.error(`--minutes takes a number from ${MINUTES_MIN} on`)
    return 1
  }
  const stop = new AbortController()
  // what nobody waited for must not leave machines and servers behind
  let broken: unknown = null
  for (const kind of ['uncaughtException', 'unhandledRejection'] as const)
    process.on(kind, (error) => {
      broken ??= error
      stop.abort()
    })
  // a second signal does not cut the cleaning short
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort())
  try {
    const told = await runUnattended({ minutes, say: (text) => console.log(text), signal: stop.signal })
    console.log(report(told))
    if (values.json) console.log(JSON.stringify(told.checks))
    return told.checks.every(({ ok }) => ok) ? 0 : 1
  } catch (error) {
    if (broken === null && stop.signal.aborted) return 130
    if (broken !== null) console.error(broken)
    console.error(error)
    return 1
  }
}

// what an interrupted story still waits for must not hold the end up
process.exit(await main())
