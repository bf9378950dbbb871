// Starts a machine that runs from the gateway: by its script, or as a domain of libvirt.
import { execFile } from 'node:child_process'
import { VarveError } from '../../../protocol/errors.ts'
import { startDomain } from '../../instant/domain.ts'
import type { InstantRecord, Places } from '../../instant/record.ts'

/** How long QEMU may take to start, in milliseconds. */
const SCRIPT_LIMIT_MS = 120_000

/** QMP_UNAVAILABLE with what QEMU said. */
const runScript = ({ script }: Places): Promise<void> =>
  new Promise((resolve, reject) => {
    execFile(script, [], { timeout: SCRIPT_LIMIT_MS }, (error, _, stderr) => {
      if (error === null) resolve()
      else {
        const why = stderr.trim() || error.message
        const way = 'change it and run it again, or "instant abandon" the disks'
        reject(new VarveError('QMP_UNAVAILABLE', `${script} failed: ${why}: ${way}`))
      }
    })
  })

/** Its disks have to be served. QMP_UNAVAILABLE; EXISTS, LIBVIRT_ERROR, LIBVIRT_UNAVAILABLE, TARGET_IN_USE. */
export const startMachine = async (places: Places, record: InstantRecord): Promise<void> =>
  record.domain === null ? await runScript(places) : await startDomain(places, record, record.domain)
