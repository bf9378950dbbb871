// The state of a machine that is off, by its disks alone: nothing is locked or changed.

import { readFile, stat } from 'node:fs/promises'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { numberOf } from '../../restore/block-device.ts'
import type { MachineConfig, MachineLook } from '../driver.ts'
import { checkDisk, readQcow2Header } from './chain.ts'
import { diskInUse, findWritten } from './holders.ts'
import { keysOf, type DiskKey } from './keys.ts'

const SECTOR_BYTES = 512

/** Bytes of a file or block device. */
const bytesOf = async (path: string): Promise<number> => {
  const found = await stat(path, { bigint: true })
  if (!found.isBlockDevice()) return Number(found.size)
  return Number((await readFile(`/sys/dev/block/${numberOf(found.rdev)}/size`, 'utf8')).trim()) * SECTOR_BYTES
}

/** Bytes that the guest sees; DISK_UNSUPPORTED. */
const sizeOf = async (disk: DiskKey): Promise<number> => {
  const { name, path, format } = disk
  try {
    await checkDisk(disk)
    if (format === 'raw') return await bytesOf(path)
    const header = await readQcow2Header(path)
    if (header !== null) return header.size
    throw new VarveError('DISK_UNSUPPORTED', `${path} of disk ${name} is no qcow2 image`)
  } catch (cause) {
    if (cause instanceof VarveError) throw cause
    throw new VarveError(
      'DISK_UNSUPPORTED',
      `${path} of disk ${name} cannot be looked at: ${(cause as Error).message}`,
      {
        cause,
      },
    )
  }
}

/** What a machine is, by its disks; a lease's storage daemon, which writes nothing, does not count as a use. */
export const lookAtDisks = async (machine: Pick<MachineConfig, 'keys' | 'exclude'>): Promise<MachineLook> => {
  const nothing = { reachable: false, runState: null, hypervisor: null, disks: [], leftOut: [] }
  try {
    const { disks } = keysOf(machine)
    const isExcluded = ({ name }: DiskKey): boolean => machine.exclude.includes(name)
    const kept = disks.filter((disk) => !isExcluded(disk))
    const sized = await Promise.all(kept.map(async (disk) => ({ disk, size: await sizeOf(disk) })))
    const leftOut = disks.filter(isExcluded).map(({ name }) => ({ name, reason: 'excluded' as const }))
    const known = {
      hypervisor: null,
      disks: sized.map(({ disk, size }) => ({ name: disk.name, size, format: disk.format })),
      leftOut,
    }
    const written = await findWritten(kept)
    if (written !== null) {
      const { message } = await diskInUse(written, new Set())
      return { ...known, reachable: true, runState: 'in use', problem: message }
    }
    return { ...known, reachable: true, runState: 'shut off', problem: null }
  } catch (thrown) {
    return { ...nothing, problem: asVarveError(thrown).message }
  }
}
