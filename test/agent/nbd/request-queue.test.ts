// The queue of one connection: how many requests are in flight, how many wait, and how all of them end.

import { expect, test } from 'vitest'
import { PendingRequest } from '../../../agent/nbd/pending-request.ts'
import { REQUESTS_IN_FLIGHT_MAX, REQUESTS_QUEUED_MAX, RequestQueue } from '../../../agent/nbd/request-queue.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { decodeRequest } from './scripted-server.ts'

const flush = (): PendingRequest => new PendingRequest({ command: 'flush', flags: 0, offset: 0, length: 0 })

test('sends as many as fit, the next when one is answered, and refuses the one too many', async () => {
  const sent: bigint[] = []
  const queue = new RequestQueue((bytes) => sent.push(decodeRequest(Buffer.from(bytes)).cookie))
  const waiting = Array.from({ length: REQUESTS_IN_FLIGHT_MAX + REQUESTS_QUEUED_MAX }, () => queue.submit(flush()))
  expect(sent.length).toBe(REQUESTS_IN_FLIGHT_MAX)
  await expect(queue.submit(flush())).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' })
  for (let index = 0; index < sent.length; index += 1) {
    const cookie = Number(sent[index])
    queue.get(cookie)?.finish(0)
    queue.settle(cookie)
    expect(queue.inFlightCount).toBe(Math.min(REQUESTS_IN_FLIGHT_MAX, waiting.length - index - 1))
  }
  await Promise.all(waiting)
  expect(new Set(sent).size).toBe(waiting.length)
})

test('an end reaches those in flight, those behind them, and all that come later', async () => {
  const queue = new RequestQueue(() => undefined)
  const reason = new VarveError('NBD_ERROR', 'It is gone.')
  const waiting = Array.from({ length: REQUESTS_IN_FLIGHT_MAX + 5 }, () => queue.submit(flush()))
  const settled = Promise.allSettled(waiting)
  queue.end(reason)
  queue.end(new VarveError('CANCELLED', 'Too late.'))
  expect(await settled).toEqual(waiting.map(() => ({ status: 'rejected', reason })))
  await expect(queue.submit(flush())).rejects.toBe(reason)
  expect(queue.inFlightCount).toBe(0)
})
