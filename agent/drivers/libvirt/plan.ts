// The journal entry of a lease that is about to begin, and the documents that libvirt is given for it. Pure.

import { join } from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { xml } from '../../libvirt/xml.ts'
import { SOCKET_PATH_BYTES_MAX } from '../../socket-path.ts'
import type { JsonValue } from '../../json-value.ts'
import { libvirtCheckpointName } from '../checkpoint-names.ts'
import type { Decisions } from '../decide.ts'
import type { LeaseRequest } from '../driver.ts'
import type { LeaseFolders } from '../scratch.ts'
import { LIBVIRT_DRIVER, type JournalDisk, type LibvirtEntry } from './entry.ts'
import { EXPORT_BITMAP, socketFolderOf, socketPathOf } from './names.ts'

export interface Planning {
  readonly request: LeaseRequest
  readonly decisions: Decisions
  /** The base's checkpoint, as libvirt calls it here. */
  readonly base: string | null
  readonly folders: LeaseFolders
  readonly domain: { readonly uuid: string; readonly instance: number }
  readonly configuration: JsonValue
}

/** The journal entry of a lease that is about to begin: everything it will make, by name. */
export const planLease = ({
  request,
  decisions,
  base: recorded,
  folders,
  domain,
  configuration,
}: Planning): LibvirtEntry => {
  const { leaseId, agentId, machine, base } = request
  const scratchFolder = join(folders.scratch, leaseId)
  const socketFolder = socketFolderOf(folders.runtime, agentId, leaseId)
  const socketPath = socketPathOf(socketFolder)
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    const sentence = `the folder for sockets, ${folders.runtime}, is too long for a UNIX socket's path (${SOCKET_PATH_BYTES_MAX} bytes): set TMPDIR to a shorter one`
    throw new VarveError('CONFIG_INVALID', sentence, { details: { bytesMax: SOCKET_PATH_BYTES_MAX } })
  }
  const disks = decisions.disks.map(({ disk, kind, reason, continued, reread }, index): JournalDisk => ({
    name: disk.name,
    size: disk.size,
    kind,
    reason,
    bitmap: disk.holdsBitmaps,
    base: continued === null || recorded === null ? null : { name: continued.base, checkpoint: recorded },
    evidence: disk.evidence,
    comparedChunks: 0,
    reread: reread.map(([offset, length]) => [offset, length]),
    scratchFile: join(scratchFolder, `${index}.qcow2`),
    exportName: disk.name,
  }))
  return {
    id: leaseId,
    agentId,
    formerAgents: [...request.formerAgents],
    machine: { name: machine.name, driver: LIBVIRT_DRIVER, address: machine.address, keys: machine.keys },
    phase: 'preparing',
    outcome: null,
    baseLease: base === null ? null : base.checkpoint,
    baseAgent: base === null ? null : base.agent,
    refuseFull: [...request.refuseFull],
    compareAll: request.compare,
    leftOut: [...decisions.leftOut],
    timeMs: null,
    consistency: 'crash',
    consistencyNote: null,
    configuration,
    uuid: domain.uuid,
    instance: domain.instance,
    checkpoint: disks.some(({ bitmap }) => bitmap) ? libvirtCheckpointName(agentId, leaseId) : null,
    scratchFolder,
    socketFolder,
    socketPath,
    disks,
  }
}

/** The backup for `backupBegin`: every disk by its own scratch file, changed blocks where it is incremental. */
export const backupXml = ({ socketPath, disks }: LibvirtEntry): string => {
  const lines = disks.map(({ name, exportName, scratchFile, base }) => {
    const scratch = xml`<driver type="qcow2"/><scratch file="${scratchFile}"/>`
    return base === null
      ? xml`<disk name="${name}" backup="yes" type="file" exportname="${exportName}" backupmode="full">${scratch}</disk>`
      : xml`<disk name="${name}" backup="yes" type="file" exportname="${exportName}" backupmode="incremental" incremental="${base.checkpoint}" exportbitmap="${EXPORT_BITMAP}">${scratch}</disk>`
  })
  return xml`<domainbackup mode="pull"><server transport="unix" socket="${socketPath}"/><disks>${lines}</disks></domainbackup>`
    .text
}

/** The checkpoint that is made in the same instant; null where no disk can hold a bitmap. */
export const checkpointXml = ({ checkpoint, disks }: LibvirtEntry): string | null => {
  if (checkpoint === null) return null
  const lines = disks.map(({ name, bitmap }) => xml`<disk name="${name}" checkpoint="${bitmap ? 'bitmap' : 'no'}"/>`)
  return xml`<domaincheckpoint><name>${checkpoint}</name><disks>${lines}</disks></domaincheckpoint>`.text
}
