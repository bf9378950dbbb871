// The process that guards the scratch space of a lease of this driver.
import * as v from 'valibot'
import { LibvirtConnection } from '../../libvirt/connection.ts'
import { guardDuty, type GuardedJobs } from '../scratch-guard-duty.ts'
import { readBackup } from './job.ts'
import { giveUpBackup } from './rescue.ts'
import { domainOf } from './run-state.ts'

/** How long libvirt may take to accept the guard's connection, in milliseconds. */
const CONNECT_LIMIT_MS = 5_000

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

const rescueSchema = v.object({ uri: text, uuid: text, socketPath: text, folder: text, disks: v.array(text) })

const jobsOf = (ordered: unknown): GuardedJobs => {
  const rescue = v.parse(rescueSchema, ordered)
  const connected = async (work: (connection: LibvirtConnection) => Promise<boolean>): Promise<boolean> => {
    try {
      const connection = await LibvirtConnection.open({ uri: rescue.uri, timeoutMs: CONNECT_LIMIT_MS })
      try {
        return await work(connection)
      } finally {
        connection.close()
      }
    } catch {
      return false
    }
  }
  return {
    exclusive: false,
    cancel: () =>
      connected(async (connection) => {
        await giveUpBackup(connection, rescue)
        return true
      }),
    isGone: () =>
      connected(async (connection) => {
        const domain = await domainOf(connection, rescue.uuid)
        if (domain === null || domain.id === null) return true
        return (await readBackup(connection, domain))?.socketPath !== rescue.socketPath
      }),
  }
}

await guardDuty(jobsOf)
