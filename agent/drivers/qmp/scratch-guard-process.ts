// The process that guards the scratch space of a lease of this driver.
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import { QmpClient } from '../../qmp/client.ts'
import { guardDuty, type GuardedJobs } from '../scratch-guard-duty.ts'
import { isGone } from './gone.ts'
import { nbdServerListens } from './nbd-probe.ts'
import { giveUpJobs } from './rescue.ts'

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

const rescueSchema = v.object({
  qmpPath: text,
  /** The lease's NBD socket, which shows that QEMU lives without using the monitor. */
  nbdPath: text,
  folder: text,
  jobs: v.pipe(v.array(text), v.minLength(1)),
  accesses: v.array(v.object({ exportId: text, node: text })),
  disks: v.array(text),
})

const jobsOf = (ordered: unknown): GuardedJobs => {
  const rescue = v.parse(rescueSchema, ordered)
  const { qmpPath: path, nbdPath } = rescue
  return {
    exclusive: true,
    cancel: async () => {
      try {
        await using client = await QmpClient.connect({ path })
        await giveUpJobs(client, rescue)
        return true
      } catch (error) {
        return error instanceof VarveError && isGone(error)
      }
    },
    isGone: async () => {
      // the monitor takes one client, and a restarted agent must find it free: it is tried only where the export is gone
      if (await nbdServerListens(nbdPath)) return false
      try {
        await using client = await QmpClient.connect({ path })
        await client.execute('query-status')
        return false
      } catch (error) {
        return isGone(error)
      }
    },
  }
}

await guardDuty(jobsOf)
