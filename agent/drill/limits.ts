// What of its host a drill may take: memory that others do not miss, and few processors. Pure, but for looking at the host.
import { constants } from 'node:fs'
import { access, readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { VarveError } from '../../protocol/errors.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { DrillLimits } from './drill-words.ts'

const MIB = 1024 ** 2

/** Part of the memory that is free which a drill takes by itself: half. */
const MEMORY_SHARE = 0.5

/** Memory with which a machine that has more is still tried by itself, in bytes: 512 MiB. */
const MEMORY_MIN_BYTES = 512 * MIB

/** What QEMU takes besides the machine's memory, in bytes: 256 MiB. */
const QEMU_BYTES = 256 * MIB

/** Part of the host's processors that a drill takes by itself, one at least: half. */
const CPU_SHARE = 0.5

export interface DrillHost {
  /** Memory that programs could get without swapping, in bytes. */
  readonly freeBytes: number
  readonly cpus: number
  readonly hasKvm: boolean
}

export interface LimitWishes {
  /** Bytes; absent for a share of what is free. */
  readonly memoryMax?: number
  /** Absent for a share of the host's. */
  readonly cpusMax?: number
}

/** Memory of a machine in bytes, and its processors. */
export interface MachineSize {
  readonly memoryBytes: number
  readonly cpus: number
}

export const lookAtHost = async (meminfo = '/proc/meminfo'): Promise<DrillHost> => {
  const free = /^MemAvailable:\s+(\d+) kB$/mu.exec(await readFile(meminfo, 'utf8'))?.[1]
  const hasKvm = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  )
  return { freeBytes: Number(free ?? 0) * 1024, cpus: availableParallelism(), hasKvm }
}

/** LIMIT_REACHED where the host has too little memory free. */
export const limitsOf = (
  machine: MachineSize,
  wishes: LimitWishes,
  host: DrillHost,
): DrillLimits & { readonly remarks: readonly string[] } => {
  const most = wishes.memoryMax ?? Math.max(0, host.freeBytes * MEMORY_SHARE)
  const memoryBytes = Math.min(machine.memoryBytes, most)
  const least = Math.min(machine.memoryBytes, wishes.memoryMax ?? MEMORY_MIN_BYTES)
  const has = `the host has ${sizeText(host.freeBytes)} of memory free`
  if (memoryBytes < least || memoryBytes + QEMU_BYTES > host.freeBytes)
    throw new VarveError(
      'LIMIT_REACHED',
      `${has}, too little for a drill of a machine with ${sizeText(machine.memoryBytes)}: try later, on another host, or with less (--memory-max)`,
      { details: { freeBytes: host.freeBytes, memoryBytes: machine.memoryBytes } },
    )
  const cpus = Math.max(1, Math.min(machine.cpus, wishes.cpusMax ?? Math.floor(host.cpus * CPU_SHARE)))
  const accelerator = host.hasKvm ? 'kvm' : 'tcg'
  return {
    accelerator,
    memoryMib: Math.max(1, Math.floor(memoryBytes / MIB)),
    cpus,
    remarks: [
      ...(memoryBytes < machine.memoryBytes
        ? [`it had ${sizeText(memoryBytes)} of memory instead of ${sizeText(machine.memoryBytes)}`]
        : []),
      ...(cpus < machine.cpus ? [`it had ${cpus} of its ${machine.cpus} processors`] : []),
      ...(host.hasKvm ? [] : ['it was emulated (there is no KVM here), which is many times slower']),
    ],
  }
}
