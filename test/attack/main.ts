// Attacks a real gateway over loopback and shows what it costs everybody else: its memory and another tenant's times
// before, during and after.
//
//   node test/attack/main.ts [SCENARIO...] [--json] [--heap MB] [--help]
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { tempFolder } from '../support/temp.ts'
import { listings } from './listings.ts'
import { memory } from './memory.ts'
import { Neighbour, type Times } from './neighbour.ts'
import type { Scenario } from './scenario.ts'
import { AttackedGateway, residentBytes } from './stage.ts'
import { wrongBytes } from './wrong-bytes.ts'

const SCENARIOS: readonly Scenario[] = [...memory, ...listings, ...wrongBytes]

/** The gateway's JavaScript heap unless told otherwise, in MiB. */
const HEAP_MB = 512

/** Backups of the other tenant that are timed before and after, and the longest wait for them, in milliseconds. */
const BACKUPS_TIMED = 5
const BACKUPS_LIMIT_MS = 15_000

/** How much longer than its time an attack may take to end, in milliseconds. */
const ENDING_LIMIT_MS = 5000

/** Pause between two looks at the gateway's memory, in milliseconds. */
const LOOK_MS = 50

const MB = 1e6

/** How long a phase must last for a backup to end in it, in milliseconds. */
const BACKUP_EXPECTED_MS = 4000

interface Phase {
  readonly lastedMs: number
  /** The most memory that was seen, in bytes. */
  readonly peakBytes: number
  readonly calls: Times
  readonly backups: Times
}

interface Outcome {
  readonly name: string
  readonly title: string
  readonly before: Phase
  readonly during: Phase | null
  readonly after: Phase | null
  /** What the attacker met. */
  readonly attacker: string
  /** Why it counts as failed, or null. */
  readonly failure: string | null
}

/** Looks at the gateway's memory while work goes on. */
const peakDuring = async (pid: number, work: Promise<unknown>): Promise<number> => {
  let peak = 0
  let over = false
  const ended = work.then(
    () => (over = true),
    () => (over = true),
  )
  while (!over) {
    peak = Math.max(peak, (await residentBytes(pid)) ?? 0)
    await Promise.race([ended, sleep(LOOK_MS)])
  }
  return peak
}

class Attacked {
  readonly #gateway: AttackedGateway
  readonly #neighbour: Neighbour

  constructor(gateway: AttackedGateway, neighbour: Neighbour) {
    this.#gateway = gateway
    this.#neighbour = neighbour
  }

  async #phase(work: () => Promise<unknown>): Promise<Phase> {
    this.#neighbour.take()
    const startMs = performance.now()
    const peakBytes = await peakDuring(this.#gateway.pid, work())
    return { lastedMs: performance.now() - startMs, peakBytes, ...this.#neighbour.take() }
  }

  #quiet(): Promise<Phase> {
    return this.#phase(() => this.#neighbour.backups(BACKUPS_TIMED, BACKUPS_LIMIT_MS))
  }

  async run(scenario: Scenario, say: (line: string) => void): Promise<Outcome> {
    const { name, title, attackMs } = scenario
    await using stage = await this.#gateway.stage(name, say)
    const attack = await scenario.prepare(stage)
    const before = await this.#quiet()
    let attacker = ''
    const during = await this.#phase(async () => {
      const attacking = attack(AbortSignal.timeout(attackMs))
      const late = sleep(attackMs + ENDING_LIMIT_MS, 'did not end in time')
      attacker = await Promise.race([attacking, late]).catch((error: unknown) => `failed: ${String(error)}`)
    })
    await stage[Symbol.asyncDispose]()
    const after = await this.#quiet()
    const outcome = { name, title, before, during, after, attacker }
    return { ...outcome, failure: await this.#failure(outcome) }
  }

  async #failure({ attacker, before, during, after }: Omit<Outcome, 'failure'>): Promise<string | null> {
    if ((await residentBytes(this.#gateway.pid)) === null) return 'the gateway died'
    if (!this.#neighbour.alive) return 'the other tenant lost its connection'
    if (attacker.startsWith('failed: ')) return attacker
    const failed = [before, during, after].flatMap((phase) => [
      ...(phase?.calls.failures ?? []),
      ...(phase?.backups.failures ?? []),
    ])
    if (failed.length > 0) return `calls of the other tenant failed: ${[...new Set(failed)].join(', ')}`
    const without = Object.entries({ before, during, after }).flatMap(([name, phase]) =>
      phase !== null && phase.backups.count === 0 && phase.lastedMs >= BACKUP_EXPECTED_MS ? [name] : [],
    )
    if (without.length > 0) return `no backup of the other tenant ended: ${without.join(', ')}`
    return null
  }
}

const megabytes = (phase: Phase | null): string => (phase === null ? '-' : (phase.peakBytes / MB).toFixed(0))
const milliseconds = (times: Times | undefined): string =>
  times === undefined || times.count === 0 ? 'none' : `${times.p50.toFixed(0)} / ${times.max.toFixed(0)}`

const table = (outcomes: readonly Outcome[]): string => {
  const phases = ({ before, during, after }: Outcome) => [before, during, after]
  const rows = outcomes.map((outcome) => [
    outcome.name,
    phases(outcome).map(megabytes).join(' > '),
    phases(outcome)
      .map((phase) => milliseconds(phase?.calls))
      .join(' > '),
    phases(outcome)
      .map((phase) => milliseconds(phase?.backups))
      .join(' > '),
    outcome.failure ?? 'ok',
  ])
  const heading = ['attack', 'gateway, MB', 'calls, ms (p50 / max)', 'backups, ms (p50 / max)', 'the others']
  const widths = heading.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]!.length)))
  const line = (cells: readonly string[]): string => cells.map((cell, at) => cell.padEnd(widths[at]!)).join('  ')
  const titles = outcomes.map(({ name, title, attacker }) => `${name}: ${title}; ${attacker}`)
  return [line(heading), ...rows.map(line), '', 'Each: before > during > after.', ...titles].join('\n')
}

const USAGE = `Attacks a gateway over loopback; shows its memory and another tenant's times before, during and after.

  node test/attack/main.ts [SCENARIO...] [--json] [--heap MB]

${SCENARIOS.map(({ name, title }) => `  ${name.padEnd(14)} ${title}`).join('\n')}

Ends with 1 where the gateway died or a call of the other tenant failed.`

const parse = () =>
  parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      heap: { type: 'string', default: String(HEAP_MB) },
      help: { type: 'boolean', default: false },
    },
  })

const main = async (): Promise<number> => {
  const { values, positionals } = parse()
  if (values.help) {
    console.log(USAGE)
    return 0
  }
  const unknown = positionals.find((name) => !SCENARIOS.some((scenario) => scenario.name === name))
  if (unknown !== undefined) {
    console.error(`there is no scenario "${unknown}"; --help names them`)
    return 2
  }
  const chosen = SCENARIOS.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
  const outcomes: Outcome[] = []
  for (const scenario of chosen) {
    // a gateway of its own, so that what one attack leaves is not taken for another's
    await using folder = await tempFolder('varve-attack')
    await using gateway = await AttackedGateway.start(folder.path, { heapMb: Number(values.heap) })
    const state = path.join(folder.path, 'neighbour')
    await gateway.enrol(await gateway.addTenant('neighbour'), state)
    await using neighbour = new Neighbour(gateway.url, state)
    // what first calls warm up is not measured
    await neighbour.backups(BACKUPS_TIMED, BACKUPS_LIMIT_MS)
    const say = (line: string): void => console.error(`${scenario.name}: ${line}`)
    say(scenario.title)
    outcomes.push(await new Attacked(gateway, neighbour).run(scenario, say))
    if (outcomes.at(-1)!.failure !== null) say(`${outcomes.at(-1)!.failure}\n${await gateway.log()}`)
  }
  console.log(values.json ? JSON.stringify({ outcomes }, null, 2) : table(outcomes))
  return outcomes.every(({ failure }) => failure === null) ? 0 : 1
}

process.exitCode = await main()
