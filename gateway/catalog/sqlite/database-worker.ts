// A thread of the database: runs one operation after the other and posts each answer.
import type { AuditRecord } from '../audit.ts'
import { parentPort, workerData } from 'node:worker_threads'
import { EpochKeeper } from './epoch.ts'
import { storeError } from '../../common/store-error.ts'
import type { ThreadSetup } from './database-thread.ts'
import { runAside, runKept, type OperationArgs, type OperationName } from './operations.ts'
import { Sql } from './sql.ts'

interface Call {
  readonly id: number
  readonly name: OperationName
  readonly args: OperationArgs<OperationName>
  readonly entry?: AuditRecord
}

const port = parentPort!
const { path, aside } = workerData as ThreadSetup
let sql: Sql | null = null
let epoch: EpochKeeper | null = null

const run = ({ name, args, entry }: Call): unknown => {
  if (aside) return runAside((sql ??= new Sql(path, { readOnly: true })), name, args)
  sql ??= Sql.open(path)
  epoch ??= new EpochKeeper(path)
  return runKept({ sql, epoch }, name, args, entry)
}

port.on('message', (call: Call | null) => {
  if (call === null) {
    sql?.[Symbol.dispose]()
    port.close()
    return
  }
  try {
    port.postMessage({ id: call.id, result: run(call) })
  } catch (thrown) {
    const { code, message, details } = storeError(thrown, 'using the database')
    port.postMessage({ id: call.id, error: { code, message, details } })
  }
})
