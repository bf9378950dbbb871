// The command "external query": whether the bitmaps of a machine's disks can be gone on with, before its lease is taken.
import { print, printJson } from '../../../protocol/host/output.ts'
import { Records, type KnownDisk } from '../../drivers/external/records.ts'
import { processState } from '../../process-mark.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { withGateway } from '../context.ts'

export interface SizedDisk {
  readonly name: string
  /** In bytes. */
  readonly size: number
}

export interface ExternalQuery {
  readonly agentConfig: string
  readonly machine: string
  readonly disk: readonly SizedDisk[]
  /** In milliseconds. */
  readonly fullAfter?: number
  readonly timeout?: number
  readonly json: boolean
}

/** Whether its bitmap can still be there, and compared: anything else is refused where only the bitmap's ranges can be read. */
const isThere = ({ exporter, seen }: KnownDisk): boolean =>
  exporter !== null && processState(exporter) !== 'gone' && seen !== null

/** Says "use" where the newest restore point is the one at which the bitmap of the disk began, as this agent recorded. */
export const externalQuery = async (options: ExternalQuery): Promise<void> => {
  const { agentConfig, machine, disk: asked, fullAfter = Infinity, timeout, json } = options
  await withGateway(
    agentConfig,
    async ({ config, ask }) => {
      const { points } = await ask('points.list', { machine, limit: 1 }).catch((error: unknown) => {
        // one that was never backed up
        if (asVarveError(error).code === 'NOT_FOUND') return { points: [] }
        throw error
      })
      const newest = points[0]?.id
      const { disks: known } = await new Records(config.state).of(machine)
      const disks = asked.map(({ name, size }) => {
        const disk = known.find((one) => one.name === name)
        const isRecent = disk !== undefined && Date.now() - disk.fullMs < fullAfter
        const isGoodFor = isRecent && disk.size === size && disk.point === newest && isThere(disk)
        return { name, bitmap: isGoodFor ? 'use' : 'new' }
      })
      if (json) printJson({ machine, disks })
      else for (const { name, bitmap } of disks) print(`${name} ${bitmap}`)
    },
    timeout === undefined ? {} : { timeout },
  )
}
