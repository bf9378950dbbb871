// One waiting request on its own: where its bytes go and how it ends.

import { expect, test } from 'vitest'
import { PendingRequest } from '../../../agent/nbd/pending-request.ts'
import { VarveError } from '../../../protocol/errors.ts'

const read = (target: Uint8Array, offset: number): PendingRequest =>
  new PendingRequest({ command: 'read', flags: 0, offset, length: target.length }, { target })

test('a read writes into its target and nowhere else', async () => {
  const whole = new Uint8Array(64).fill(0xee)
  const pending = read(whole.subarray(16, 48), 4096)
  pending.place(4096, 8).fill(1)
  pending.hole(4104, 24)
  pending.finish(0)
  await pending.outcome
  expect([...whole]).toEqual([
    ...Array.from({ length: 16 }, () => 0xee),
    ...Array.from({ length: 8 }, () => 1),
    ...Array.from({ length: 24 }, () => 0),
    ...Array.from({ length: 16 }, () => 0xee),
  ])
})

test('an incomplete read does not resolve', () => {
  const pending = read(new Uint8Array(64), 0)
  pending.place(0, 63)
  expect(() => pending.finish(0)).toThrow(expect.objectContaining({ code: 'NBD_PROTOCOL' }))
})

test('a server’s text is cut and its numbers are in the details', async () => {
  const pending = read(new Uint8Array(64), 512)
  pending.fail(5, 'x'.repeat(4096))
  pending.fail(28, 'later')
  pending.finish(0)
  const error = await pending.outcome.then(
    () => null,
    (error: unknown) => error,
  )
  if (!(error instanceof VarveError)) throw new Error('no typed error')
  expect(error.message.length).toBeLessThan(400)
  expect(error.details).toEqual({ errno: 'EIO', errnoNumber: 5, command: 'read', offset: 512, length: 64 })
})

test('an abandoned request fails with what ended the connection', async () => {
  const pending = read(new Uint8Array(64), 0)
  const reason = new VarveError('NBD_ERROR', 'It is gone.')
  pending.abandon(reason)
  await expect(pending.outcome).rejects.toBe(reason)
})
