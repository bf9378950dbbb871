// The thread that the tests of calls call.
import { workerData } from 'node:worker_threads'
import { VarveError } from '../../../protocol/errors.ts'
import { Moved, serveThread } from '../../../protocol/host/threads.ts'

let done = 0

const methods = {
  add: (a: number, b: number) => a + b,
  later: async (value: string) => {
    await Promise.resolve()
    return value
  },
  data: () => workerData as unknown,
  /** How many calls of this there were in this thread. */
  count: () => ++done,
  note: () => void done++,
  fill: (bytes: Uint8Array<ArrayBuffer>) => new Moved(bytes.fill(7), [bytes.buffer]),
  fail: (code: 'STORE_FULL') => {
    throw new VarveError(code, 'no', { details: { errno: 'ENOSPC' } })
  },
  slip: () => {
    throw new Error('a mistake')
  },
  uncloneable: () => () => 0,
  ask: (text: string) => owner.call('answer', [text]),
  /** Until somebody ends the thread. */
  never: () => new Promise<void>(() => {}),
  exit: () => process.exit(),
}
export type TestMethods = typeof methods
export type TestOwner = { readonly answer: (text: string) => Promise<string> }

const owner = serveThread<TestOwner>(methods, {
  errorOf: (thrown) => (thrown instanceof VarveError ? thrown : new VarveError('STORE_FAILED', String(thrown))),
  close: () => (workerData as Int32Array | null)?.fill(1),
})
