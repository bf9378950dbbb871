// The lease command: runs a command with a read lease of a machine, and ends the lease by how that ends.
import * as v from 'valibot'
import { spawn, type ChildProcess } from 'node:child_process'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { utcText } from '../../protocol/host/instant.ts'
import { printJson } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { LEASE_BEGIN_MS, type HeldLease } from '../../protocol/leases.ts'
import { pause } from '../../protocol/host/within.ts'
import type { ConsistencyWish } from '../../protocol/backup.ts'
import { name } from '../../protocol/schemas.ts'
import { withGateway, type AgentContext } from './context.ts'
import { endAsSuccess, endLease, RETRY_PAUSE_MS } from './lease-end.ts'
import { leaseVariables } from './lease-variables.ts'
import { noMachine } from './no-machine.ts'
import { whyAway } from './unknown-machine.ts'

/** Renewals within the life of a lease: two may fail in a row. */
const RENEWALS = 3

/** How long it waits for the lease to begin, in milliseconds: a little longer than the gateway. */
const BEGIN_LIMIT_MS = LEASE_BEGIN_MS + 60_000

/** How long a command that is told to end has until it is killed, in milliseconds. */
const CHILD_END_MS = 10_000

export interface LeaseCommand {
  readonly config: string
  readonly target: string
  /** In milliseconds. */
  readonly ttl: number
  readonly full: boolean
  readonly consistency?: ConsistencyWish
  readonly timeout?: number
  readonly json: boolean
}

/** What a target may be called. */
const NAME_WORDS = 'letters, digits, dot, dash and underscore, at most 63'

const checkMachine = (machine: string, machines: AgentContext['config']['machines']): void => {
  if (!machines.some((one) => one.name === machine)) throw noMachine(machine, machines)
}

const remark = (text: string): void => void process.stderr.write(`varve-agent: ${text}\n`)

const describe = ({ machine, target, lease, timeMs, consistency, disks }: HeldLease): string => {
  const read = disks.map(({ name, size, kind, reason }) => `${name} ${sizeText(size)} ${kind} (${reason})`).join(', ')
  return `target ${target} holds lease ${lease.slice(0, 8)} of ${machine} at ${utcText(timeMs)} UTC, ${consistency}: ${read}`
}

/** A command that runs; it dies with this process. */
const start = (words: readonly string[], variables: Readonly<Record<string, string>>): ChildProcess =>
  spawn('setpriv', ['--pdeathsig', 'TERM', ...words], {
    stdio: 'inherit',
    env: { ...process.env, ...variables },
  })

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

const endOf = (child: ChildProcess): Promise<Ended> =>
  new Promise((resolve, reject) => {
    child.once('error', ({ message }) =>
      reject(new VarveError('TOOL_MISSING', `setpriv is not installed (Debian package util-linux): ${message}`)),
    )
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })

/** Renews the lease until `over`; resolves with why it is lost. */
const keepRenewed = async (
  { ask }: AgentContext,
  { machine, lease, expiresMs }: HeldLease,
  ttlMs: number,
  over: AbortSignal,
): Promise<VarveError | null> => {
  let lastsMs = expiresMs
  let failed = false
  while (!over.aborted) {
    await pause(failed ? RETRY_PAUSE_MS : ttlMs / RENEWALS, over)
    if (over.aborted) return null
    try {
      ;({ expiresMs: lastsMs } = await ask('machines.renewLease', { machine, lease, ttlMs }))
      failed = false
    } catch (thrown) {
      const error = asVarveError(thrown)
      const mayPass = error.retry || error.endsConnection || error.code === 'CANCELLED'
      // full scratch space breaks a lease, whatever has room later
      if (!mayPass || error.code === 'SCRATCH_LOW' || Date.now() > lastsMs) return error
      failed = true
    }
  }
  return null
}

interface Run extends Ended {
  readonly interrupted: boolean
}

/** Runs the command to its end, or to that of the lease. */
const run = async (context: AgentContext, held: HeldLease, words: readonly string[], ttlMs: number): Promise<Run> => {
  const { signal } = context
  signal.throwIfAborted()
  const child = start(words, leaseVariables(held))
  const over = new AbortController()
  let interrupted = false
  let lost: VarveError | null = null
  const kill = (name: NodeJS.Signals): void => void child.kill(name)
  const stop = (): void => {
    kill('SIGTERM')
    setTimeout(() => kill('SIGKILL'), CHILD_END_MS).unref()
  }
  const onAbort = (): void => {
    interrupted = true
    const name = /SIG(?:INT|TERM|HUP)/u.exec(asVarveError(signal.reason).message)?.[0] as NodeJS.Signals | undefined
    // a terminal has sent Ctrl-C to the command as well
    if (name !== undefined && (name !== 'SIGINT' || !process.stdin.isTTY)) kill(name)
    setTimeout(() => kill('SIGKILL'), CHILD_END_MS).unref()
  }
  signal.addEventListener('abort', onAbort, { once: true })
  const renew = async (): Promise<void> => {
    const error = await keepRenewed(context, held, ttlMs, over.signal)
    if (error === null || over.signal.aborted) return
    lost = error
    stop()
  }
  const renewing = renew()
  const ended = await endOf(child).finally(() => over.abort())
  await renewing
  if (lost !== null) throw lost as VarveError
  return { ...ended, interrupted }
}

/** Ends the lease by how its command ended; the exit code. */
const endBy = async (context: AgentContext, held: HeldLease, { code, signal, interrupted }: Run): Promise<number> => {
  if (code === 0 && !interrupted) {
    await endAsSuccess(context, held)
    return 0
  }
  await endLease(context, held, false)
  if (interrupted) throw new VarveError('CANCELLED', `the command was interrupted: lease ${held.lease} has failed`)
  const how = code === null ? `signal ${signal}` : `exit code ${code}`
  remark(`the command ended with ${how}: lease ${held.lease} has failed, and the next one covers what it did`)
  return code ?? 1
}

/** Exits as the command does. */
export const lease = (machine: string, words: readonly string[], options: LeaseCommand): Promise<void> =>
  withGateway(
    options.config,
    async (context) => {
      const { target, ttl: ttlMs, full, consistency: wish = null } = options
      checkMachine(machine, context.config.machines)
      const named: boolean = v.is(name, target)
      if (!named) throw new VarveError('PARAMS_INVALID', `"${target}" is no name of a target: ${NAME_WORDS}`)
      // not repeated over a break: a second one could begin while the first one lives
      const peer = await context.link.peer(context.signal)
      const held = await peer
        .call('machines.lease', { machine, target, ttlMs, full, consistency: wish }, { deadlineMs: BEGIN_LIMIT_MS })
        .catch(async (thrown) => {
          throw await whyAway(machine, asVarveError(thrown), context)
        })
      remark(describe(held))
      const ended = await run(context, held, words, ttlMs).catch(async (error: unknown) => {
        await endLease(context, held, false).catch(() => undefined)
        throw error
      })
      const code = await endBy(context, held, ended)
      process.exitCode = code
      const { lease: id, timeMs, consistency, base } = held
      if (options.json) printJson({ lease: id, machine, target, timeMs, consistency, base, success: code === 0, code })
    },
    { ...options, works: true, machines: true, progress: false },
  )
