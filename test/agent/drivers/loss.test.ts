// Which of two errors is told: that of reading, or that the machine is lost.
import { expect, test } from 'vitest'
import { lossOf } from '../../../agent/drivers/loss.ts'
import { VarveError } from '../../../protocol/errors.ts'

const gone = new VarveError('LEASE_LOST', 'its QEMU has ended')
const cut = new VarveError('NBD_ERROR', 'cut')
const other = new VarveError('STORE_FULL', 'full')
const running = new AbortController().signal

test('a read that fails because the machine is lost is told as that', async () => {
  const late = new Promise<VarveError>((resolve) => void setTimeout(() => resolve(gone), 20))
  expect(await lossOf(cut, { lost: late }, running)).toBe(gone)
})

test('other errors are told as they are, and at once', async () => {
  const never = { lost: new Promise<VarveError>(() => {}) }
  expect(await lossOf(other, never, running)).toBe(other)
  expect(await lossOf(cut, null, running)).toBe(cut)
  const controller = new AbortController()
  controller.abort(gone)
  expect(await lossOf(cut, never, controller.signal)).toBe(gone)
})
