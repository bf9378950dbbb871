// Freezes a guest and thaws it again, as a process of its own, so that the thaw happens even when the agent is killed.
//
//   standard input    one line of JSON (FreezeOrder), then "thaw"; its end means that the agent is gone
//   standard output   lines of JSON (FreezeReport): frozen, thawed or failed

import { createInterface } from 'node:readline'
import * as v from 'valibot'
import { VarveError, asVarveError } from '../../protocol/errors.ts'
import { GuestChannel } from './channel.ts'
import { freezeOrderSchema } from './freeze-messages.ts'
import type { FreezeOrder, FreezeReport } from './freeze-messages.ts'
import { isFrozen, thawVerified } from './thaw.ts'

type ThawReason = 'told' | 'limit' | 'alone'

const report = (line: FreezeReport): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const reportFailure = (error: unknown): void => {
  const { code, message } = asVarveError(error)
  report({ state: 'failed', code, message })
}

/** Freezes; whatever goes wrong after the command was sent, the guest is thawed before this throws or as soon as it answers. */
const freeze = async (channel: GuestChannel, { socketPath, timeoutMs }: FreezeOrder): Promise<void> => {
  if (await isFrozen(channel)) {
    throw new VarveError('GUEST_AGENT_ERROR', 'The guest is frozen already, by someone else.')
  }
  const late = new VarveError('FREEZE_TIMEOUT', `The guest did not freeze within ${timeoutMs} ms.`, {
    details: { timeoutMs },
  })
  try {
    const count = await channel.execute('guest-fsfreeze-freeze', timeoutMs, late)
    if (typeof count === 'number' && count > 0) return
    throw new VarveError('GUEST_AGENT_ERROR', 'The guest agent froze no file system.')
  } catch (error) {
    // the agent hears now; the guest may still freeze later, so the thaw goes on without it
    reportFailure(error)
    channel.close()
    await thawVerified({ socketPath }).catch(() => 0)
    process.exit(0)
  }
}

const run = async (order: FreezeOrder, thawReason: Promise<ThawReason>, startLimit: () => void): Promise<void> => {
  const { socketPath } = order
  const channel = await GuestChannel.open({ socketPath })
  const startedMs = performance.now()
  startLimit()
  await freeze(channel, order)
  report({ state: 'frozen' })
  const reason = await thawReason
  const stillFrozen = await thawVerified({ socketPath, channel })
  const frozenMs = performance.now() - startedMs
  // a guest that thawed by itself (Windows does after 10 s) has no file system left to thaw
  report({ state: 'thawed', frozenMs, inTime: reason === 'told' && stillFrozen > 0 })
}

const main = async (): Promise<void> => {
  process.stdout.on('error', () => undefined)
  const { promise: thawReason, resolve } = Promise.withResolvers<ThawReason>()
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => resolve('alone'))
  const lines = createInterface({ input: process.stdin })
  const first = Promise.withResolvers<string | null>()
  lines.on('line', (line) => {
    if (line === 'thaw') resolve('told')
    else first.resolve(line)
  })
  lines.on('close', () => {
    first.resolve(null)
    resolve('alone')
  })
  const text = await first.promise
  if (text === null) return
  const order = v.parse(freezeOrderSchema, JSON.parse(text))
  try {
    await run(order, thawReason, () => void setTimeout(() => resolve('limit'), order.timeoutMs))
  } catch (error) {
    reportFailure(error)
  }
  process.exit(0)
}

await main()
