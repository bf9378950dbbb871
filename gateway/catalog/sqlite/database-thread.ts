// One thread that runs operations of the database, one after the other.
import { type ResourceLimits } from 'node:worker_threads'
import { VarveError } from '../../../protocol/errors.ts'
import { WorkThread } from '../../../protocol/host/threads.ts'
import type { DatabaseMethods, ThreadSetup } from './database-worker.ts'
import type { AuditRecord } from '../audit-record.ts'
import type { OperationArgs, OperationName, OperationResult } from './operations.ts'

/** Calls that may wait at once; past that the caller is refused, so memory stays bounded. */
const CALLS_MAX = 100_000

export class DatabaseThread implements AsyncDisposable {
  readonly #thread: WorkThread<DatabaseMethods>

  /** `onDamaged` is called when SQLite finds a damaged page. */
  constructor(setup: ThreadSetup, onDamaged: () => void, heap?: ResourceLimits) {
    this.#thread = new WorkThread(new URL('database-worker.ts', import.meta.url), {
      data: setup,
      ...(heap === undefined ? {} : { heap }),
      ended: () => new VarveError('STORE_FAILED', 'the database is closed'),
      onError: ({ code }) => {
        if (code === 'CATALOG_DAMAGED') onDamaged()
      },
    })
  }

  /** True once the thread has ended: no call is answered any more. */
  get ended(): boolean {
    return this.#thread.ended
  }

  call<N extends OperationName>(name: N, args: OperationArgs<N>, entry?: AuditRecord): Promise<OperationResult<N>> {
    if (this.#thread.waiting >= CALLS_MAX)
      return Promise.reject(new VarveError('TOO_MANY_REQUESTS', 'the database has too many calls waiting'))
    return this.#thread.call('run', [name, args, entry]) as Promise<OperationResult<N>>
  }

  /** Answers the calls it already has, then closes its connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread.end()
  }
}
