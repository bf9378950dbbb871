// The hooks of a lease's instant, as the agent sees them: started before it, ended after it, and what came of them.
import * as v from 'valibot'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { within } from '../../protocol/host/within.ts'
import type { LeaseRequest } from '../drivers/driver.ts'
import { guardEnvironment } from '../guard-environment.ts'
import { hookReportSchema, type HookOrder } from './hook-messages.ts'
import { HookNotes } from './hook-notes.ts'
import { runLeftHooks } from './left-hooks.ts'
import type { HookOutcome } from './run-hook.ts'
import type { Hook, Hooks } from './settings.ts'

/** Where the hooks of a lease belong. */
export interface HookedLease {
  readonly stateFolder: string
  readonly machine: string
  readonly lease: string
  readonly hooks: Hooks
}

/** How long the process may take beside its commands, in milliseconds. */
const SLACK_MS = 30_000

type Runner = ChildProcessByStdio<Writable, Readable, null>

const start = (): Runner => {
  const program = fileURLToPath(new URL('./hook-process.ts', import.meta.url))
  const env = guardEnvironment()
  const child = spawn(process.execPath, [program], { detached: true, stdio: ['pipe', 'pipe', 'ignore'], env })
  child.on('error', () => child.stdout.destroy())
  child.stdin.on('error', () => undefined)
  child.unref()
  return child
}

type NextOutcome = (hook: Hook | null) => Promise<HookOutcome | null>

/** The outcomes that a process reports, one at a time; one that ends instead has a fault. */
const outcomes = (child: Runner): NextOutcome => {
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return async (hook) => {
    const line = await within(lines.next(), (hook?.limitMs ?? 0) + SLACK_MS)
    if (line !== null && line.done !== true)
      return v.parse(v.pipe(v.string(), v.parseJson(), hookReportSchema), line.value).outcome
    // one that was stopped ends here
    child.kill('SIGKILL')
    return hook === null ? null : { tookMs: 0, fault: 'the process that runs it was killed' }
  }
}

/** What a point's note says of a hook. */
const wordsOf = (when: 'before' | 'after', { fault, tookMs }: HookOutcome): string =>
  fault === null
    ? `the hook ${when} the instant took ${(tookMs / 1000).toFixed(1)} s`
    : `the hook ${when} the instant failed: ${fault}`

/** The hooks of a lease that is about to begin; null where its machine has none. */
export const hookedLease = (
  stateFolder: string,
  { machine: { name: machine, hooks }, leaseId: lease }: Pick<LeaseRequest, 'machine' | 'leaseId'>,
): HookedLease | null => (hooks === undefined ? null : { stateFolder, machine, lease, hooks })

/** The hooks of one lease, whose first command has run. */
export class StartedHooks {
  /** Why the command before the instant failed; null where it did not, or there is none. */
  readonly fault: string | null
  readonly #child: Runner
  readonly #next: NextOutcome
  readonly #lease: HookedLease
  readonly #before: HookOutcome | null

  private constructor(lease: HookedLease, child: Runner, next: NextOutcome, before: HookOutcome | null) {
    this.#lease = lease
    this.#child = child
    this.#next = next
    this.#before = before
    this.fault = before?.fault ?? null
  }

  /** Runs what an earlier lease of the machine still owes, then the command before the instant. */
  static async begin(lease: HookedLease): Promise<StartedHooks> {
    const { hooks, stateFolder, machine, lease: id } = lease
    await runLeftHooks(HookNotes.in(stateFolder), machine)
    const child = start()
    const next = outcomes(child)
    const variables = { VARVE_MACHINE: machine, VARVE_LEASE: id }
    const notes = HookNotes.in(stateFolder).folder
    const order: HookOrder = { notes, id: randomUUID(), machine, lease: id, ...hooks, variables }
    child.stdin.write(`${JSON.stringify(order)}\n`)
    return new StartedHooks(lease, child, next, await next(hooks.before))
  }

  /** Runs the command after the instant, also where that failed; resolves with what the point's note says of both. */
  async end(result: string): Promise<string> {
    const { hooks, stateFolder, machine } = this.#lease
    this.#child.stdin.end(`${JSON.stringify({ result })}\n`)
    let after = await this.#next(hooks.after)
    // where its process was killed the command is still owed
    await runLeftHooks(HookNotes.in(stateFolder), machine, (_, outcome) => (after = outcome))
    return [this.#before && wordsOf('before', this.#before), after && wordsOf('after', after)]
      .filter((words) => words !== null)
      .join('; ')
  }
}
