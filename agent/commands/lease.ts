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
import { leaseVariables } from './lease-variables.ts'
import { noMachine } from './no-machine.ts'
import { whyAway } from './unknown-machine.ts'

/** Renewals within the life of a lease: two may fail in a row. */
const RENEWALS = 3

/** How long it waits for the lease to begin, in milliseconds: a little longer than the gateway. */
const BEGIN_LIMIT_MS = LEASE_BEGIN_MS + 60_000

/** How long an interrupted command tries to end its lease, in milliseconds; after that it expires. */
const END_LIMIT_MS = 15_000

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
  while (!over.aborted) {
    await pause(ttlMs / RENEWALS, over)
    if (over.aborted) return null
    try {
      ;({ expiresMs: lastsMs } = await ask('machines.renewLease', { machine, lease, ttlMs }))
    } catch (thrown) {
      const error = asVarveError(thrown)
      const isAway = error.endsConnection || error.code === 'AGENT_OFFLINE' || error.code === 'CANCELLED'
      if (!isAway || Date.now() > lastsMs) return error
    }
  }
  return null
}

const end = async (context: AgentContext, { machine, lease }: HeldLease, success: boolean): Promise<void> => {
  const ask = async (limitMs: number): Promise<void> => {
    const peer = await context.link.peer(undefined, limitMs)
    await peer.call('machines.endLease', { machine, lease, success }, { deadlineMs: limitMs })
  }
  await context.insist(ask, { lentMs: END_LIMIT_MS, limitMs: END_LIMIT_MS })
}

/** Runs the command; its exit code once the lease has ended by it. */
const run = async (
  context: AgentContext,
  held: HeldLease,
  words: readonly string[],
  ttlMs: number,
): Promise<number> => {
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
  const success = ended.code === 0 && !interrupted && lost === null
  if (lost !== null) throw lost as VarveError
  await end(context, held, success)
  if (interrupted) throw new VarveError('CANCELLED', `the command was interrupted: lease ${held.lease} has failed`)
  if (ended.code === 0) return 0
  const how = ended.code === null ? `signal ${ended.signal}` : `exit code ${ended.code}`
  remark(`the command ended with ${how}: lease ${held.lease} has failed, and the next one covers what it did`)
  return ended.code ?? 1
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
      const code = await run(context, held, words, ttlMs).catch(async (error: unknown) => {
        await end(context, held, false).catch(() => undefined)
        throw error
      })
      process.exitCode = code
      const { lease: id, timeMs, consistency, base } = held
      if (options.json) printJson({ lease: id, machine, target, timeMs, consistency, base, success: code === 0, code })
    },
    { ...options, works: true, machines: true, progress: false },
  )
