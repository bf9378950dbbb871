// The database's thread: runs one operation after the other and posts each answer.
import { parentPort, workerData } from 'node:worker_threads'
import { EpochKeeper } from '../epoch.ts'
import { storeError } from '../store-error.ts'
import { runKept, type OperationArgs, type OperationName } from './operations.ts'
import { Sql } from './sql.ts'

interface Call {
  readonly id: number
  readonly name: OperationName
  readonly args: OperationArgs<OperationName>
}

const port = parentPort!
const { path } = workerData as { path: string }
let sql: Sql | null = null
let epoch: EpochKeeper | null = null

port.on('message', (call: Call | null) => {
  if (call === null) {
    sql?.[Symbol.dispose]()
    port.close()
    return
  }
  try {
    sql ??= Sql.open(path)
    epoch ??= new EpochKeeper(path)
    port.postMessage({ id: call.id, result: runKept({ sql, epoch }, call.name, call.args) })
  } catch (thrown) {
    const { code, message, details } = storeError(thrown, 'using the database')
    port.postMessage({ id: call.id, error: { code, message, details } })
  }
})
