// A thread of the database: runs one operation after the other.
import { workerData } from 'node:worker_threads'
import { serveThread } from '../../../protocol/host/threads.ts'
import type { AuditRecord } from '../audit-record.ts'
import { EpochKeeper } from './epoch.ts'
import { storeError } from '../../common/store-error.ts'
import { runAside, runKept, type OperationArgs, type OperationName } from './operations.ts'
import { Sql } from './sql.ts'

/** What a thread is started with. */
export interface ThreadSetup {
  readonly path: string
  /** It serves the operations that run aside, on a connection that only reads. */
  readonly aside: boolean
}

const { path, aside } = workerData as ThreadSetup
let sql: Sql | null = null
let epoch: EpochKeeper | null = null

const run = (name: OperationName, args: OperationArgs<OperationName>, entry?: AuditRecord): unknown => {
  if (aside) return runAside((sql ??= new Sql(path, { readOnly: true })), name, args)
  sql ??= Sql.open(path)
  epoch ??= new EpochKeeper(path)
  return runKept({ sql, epoch }, name, args, entry)
}

const methods = { run }
export type DatabaseMethods = typeof methods

serveThread(methods, {
  errorOf: (thrown) => storeError(thrown, 'using the database'),
  close: () => sql?.[Symbol.dispose](),
})
