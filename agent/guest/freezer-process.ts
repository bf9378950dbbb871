// Freezes a guest and thaws it again in a separate process, so that the thaw happens even when the agent is killed.
// It notes the freeze before it asks for it, and retries the thaw without limit.
//
//   standard input    one line of JSON (FreezeOrder), then "thaw"; its end means that the agent is gone
//   standard output   lines of JSON (FreezeReport): frozen, thawing, thawed or failed
import * as v from 'valibot'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError, asVarveError } from '../../protocol/errors.ts'
import { markProcess } from '../process-mark.ts'
import { freezeOrderSchema, type FreezeOrder, type FreezeReport } from './freeze-messages.ts'
import { FreezeNotes, type FreezeNote } from './freeze-notes.ts'
import { openGuest, type GuestSession } from './guest.ts'
import { machineGone } from './machine-gone.ts'
import { isFrozen, thawVerified, type OpenFreeze } from './thaw.ts'

/** How long undoing a refused freeze may take before the refusal is reported to the agent, in milliseconds. */
const REFUSED_UNDO_MS = 2_000

type ThawReason = 'told' | 'limit' | 'alone'

/** The agent's input so far. */
interface Agent {
  readonly thawReason: Promise<ThawReason>
  /** True once the agent is gone or no longer needs the freeze. */
  readonly left: () => boolean
  readonly startLimit: () => void
}

const report = (line: FreezeReport): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const reportFailure = (error: unknown): void => {
  const { code, message } = asVarveError(error)
  report({ state: 'failed', code, message })
}

/** Whether a guest refused to freeze because another program had frozen it meanwhile. */
const isFrozenByOther = (error: unknown): boolean =>
  error instanceof VarveError && error.code === 'GUEST_AGENT_ERROR' && /frozen state/i.test(error.message)

/** Thaws and removes the note (else the agent does); the number of file systems that were still frozen. */
const undo = async (notes: FreezeNotes, note: FreezeNote, freeze: OpenFreeze): Promise<number> => {
  void machineGone([note.guestAgent, note.qmp], new AbortController().signal).then(() => process.exit(0))
  // even without the note: only this process knows of the freeze for certain, and a successor ends it first
  const stillFrozen = await thawVerified({ guestAgent: note.guestAgent, freeze })
  await notes.remove(note).catch(() => undefined)
  return stillFrozen
}

/** Freezes; on any failure after the command was sent, the guest is thawed and this process ends. */
const freeze = async (
  channel: GuestSession,
  notes: FreezeNotes,
  note: FreezeNote,
  { timeoutMs: limitMs, mountpoints }: FreezeOrder,
): Promise<void> => {
  const late = new VarveError('FREEZE_TIMEOUT', `the guest did not freeze within ${limitMs} ms`, {
    details: { timeoutMs: limitMs },
  })
  try {
    const waiting = { timeoutMs: limitMs, late, keepOpen: true }
    const count = await (mountpoints === undefined
      ? channel.execute('guest-fsfreeze-freeze', waiting)
      : channel.execute('guest-fsfreeze-freeze-list', { ...waiting, mountpoints }))
    if (typeof count === 'number' && count > 0) return
    throw new VarveError('GUEST_AGENT_ERROR', 'the guest agent froze no file system')
  } catch (error) {
    if (isFrozenByOther(error)) {
      await notes.remove(note).catch(() => undefined)
      reportFailure(error)
      process.exit(0)
    }
    const undoing = undo(notes, note, { channel, state: 'unanswered' })
    // a guest that answered is thawed in a moment; one that did not is reported now
    if (error !== late) await Promise.race([undoing, sleep(REFUSED_UNDO_MS)])
    reportFailure(error)
    await undoing
    process.exit(0)
  }
}

const run = async (order: FreezeOrder, agent: Agent): Promise<void> => {
  const { guestAgent, id, machine, qmp, lease } = order
  const notes = new FreezeNotes(order.notes)
  const channel = await openGuest({ guestAgent })
  if ((await isFrozen(channel)) === true) {
    throw new VarveError('GUEST_AGENT_ERROR', 'the guest has already been frozen by another program')
  }
  const freezer = markProcess()
  const note: FreezeNote = { version: 1, id, guestAgent, machine, qmp, lease, freezer, sinceMs: Date.now() }
  await notes.create(note)
  if (agent.left()) {
    await notes.remove(note)
    return
  }
  const startedMs = performance.now()
  agent.startLimit()
  await freeze(channel, notes, note, order)
  report({ state: 'frozen' })
  const reason = await agent.thawReason
  report({ state: 'thawing' })
  const stillFrozen = await undo(notes, note, { channel, state: 'frozen' })
  const frozenMs = performance.now() - startedMs
  // a guest that thawed on its own (Windows does after 10 s) has no file system left to thaw
  report({ state: 'thawed', frozenMs, inTime: reason === 'told' && stillFrozen > 0 })
}

const main = async (): Promise<void> => {
  process.stdout.on('error', () => undefined)
  const { promise: thawReason, resolve } = Promise.withResolvers<ThawReason>()
  let left = false
  const thawFor = (reason: ThawReason): void => {
    left = true
    resolve(reason)
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => thawFor('alone'))
  const lines = createInterface({ input: process.stdin })
  const first = Promise.withResolvers<string | null>()
  lines.on('line', (line) => {
    if (line === 'thaw') thawFor('told')
    else first.resolve(line)
  })
  lines.on('close', () => {
    first.resolve(null)
    thawFor('alone')
  })
  const text = await first.promise
  if (text === null) return
  const order = v.parse(freezeOrderSchema, JSON.parse(text))
  const startLimit = (): void => void setTimeout(() => thawFor('limit'), order.timeoutMs)
  try {
    await run(order, { thawReason, left: () => left, startLimit })
  } catch (error) {
    reportFailure(error)
  }
  process.exit(0)
}

await main()
