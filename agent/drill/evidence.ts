// Waits until a machine has proved that it runs, or cannot any more.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError } from '../../protocol/errors.ts'
import { within } from '../../protocol/host/within.ts'
import { GuestChannel } from '../guest/channel.ts'
import { ConsolePattern, type DrillCheck } from './check.ts'
import type { SerialLog } from './serial-log.ts'

/** How often evidence is looked for, in milliseconds. */
const LOOK_MS = 250

/** How long a guest agent may take to answer one ping, in milliseconds. */
const PING_LIMIT_MS = 3_000

/** How long the last words of a command that has ended may take, in milliseconds. */
const LAST_WORDS_MS = 500

/** Longest piece of what was said that is told, in characters. */
const TOLD_CHARS_MAX = 200

/** The machine as its check sees it. */
export interface Seen {
  readonly serial: SerialLog
  /** Path of the socket of its guest agent. */
  readonly guestAgent: string
  /** What a command is told of the drill. */
  readonly environment: Readonly<Record<string, string>>
  /** Aborts when it is over. */
  readonly signal: AbortSignal
}

/** What a check ends with; it waits until its signal aborts. */
export interface Evidence {
  readonly passed: boolean
  /** One sentence. */
  readonly reason: string
}

/** One line for people. */
export const toldText = (text: string): string =>
  text
    .replaceAll(/\s+/gu, ' ')
    .replaceAll(/\p{Cc}/gu, '')
    .trim()
    .slice(0, TOLD_CHARS_MAX)
    .toWellFormed()

const untilAgent = async ({ guestAgent, signal }: Seen): Promise<Evidence> => {
  for (;;) {
    try {
      await using channel = await GuestChannel.open({ socketPath: guestAgent, timeoutMs: PING_LIMIT_MS, signal })
      await channel.execute('guest-ping', { timeoutMs: PING_LIMIT_MS })
      return { passed: true, reason: 'its guest agent answered' }
    } catch (thrown) {
      signal.throwIfAborted()
      // one that answers with an error answers
      if (asVarveError(thrown).code === 'GUEST_AGENT_ERROR') return { passed: true, reason: 'its guest agent answered' }
    }
    await sleep(LOOK_MS, undefined, { signal })
  }
}

const untilSaid = async (pattern: RegExp, { serial, signal }: Seen): Promise<Evidence> => {
  const console = new ConsolePattern(pattern)
  for (;;) {
    const found = console.find(serial.text)
    if (found !== null) return { passed: true, reason: `its serial console said "${toldText(found)}"` }
    await sleep(LOOK_MS, undefined, { signal })
  }
}

/** Runs as long as the drill waits for evidence; its last line is told. */
const untilCommand = async (command: string, { environment, signal }: Seen): Promise<Evidence> => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '/bin/sh', '-c', command], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  })
  let said = ''
  const keep = (stream: NodeJS.ReadableStream): void =>
    void stream.on('data', (piece: Buffer) => (said = (said + piece.toString('latin1')).slice(-4096)))
  keep(child.stdout)
  keep(child.stderr)
  // what the command has started goes with it
  const onAbort = (): void => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // it has ended
    }
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const closed = once(child, 'close')
    closed.catch(() => undefined)
    const [code, killed] = (await once(child, 'exit')) as [number | null, string | null]
    signal.throwIfAborted()
    // what it has left running may keep its output open
    await within(closed, LAST_WORDS_MS)
    const last = toldText(said.trimEnd().split('\n').at(-1) ?? '')
    const words = last === '' ? '' : `: ${last}`
    if (code === 0) return { passed: true, reason: `the command of --check agreed${words}` }
    return { passed: false, reason: `the command of --check ended with ${code ?? killed ?? 'an error'}${words}` }
  } finally {
    signal.removeEventListener('abort', onAbort)
    onAbort()
  }
}

/** Rejects once the signal aborts. LIMIT_REACHED for a pattern that takes too long. */
export const untilEvidence = (check: DrillCheck, seen: Seen): Promise<Evidence> => {
  if (check.kind === 'guest-agent') return untilAgent(seen)
  return check.kind === 'serial' ? untilSaid(check.pattern, seen) : untilCommand(check.command, seen)
}
