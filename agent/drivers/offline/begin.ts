// Begins one lease on a machine that is off: takes the image locks, decides and exports, or leaves nothing.

import type { ConsistencyWish, LeftOutDisk } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { JsonValue } from '../../json-value.ts'
import { QmpClient, type QmpCaller } from '../../qmp/client.ts'
import { decideDisks, type DiskDecision } from '../decide.ts'
import type { LeaseRequest } from '../driver.ts'
import { pathOf } from '../evidence.ts'
import type { SeenDisk } from '../seen-disks.ts'
import { daemonPid, monitorSocket, startDaemon, type StorageDaemon } from './daemon.ts'
import { OFFLINE_DRIVER, writeEntry, type OfflineDisk, type OfflineEntry, type SnapshotPlan } from './entry.ts'
import { finishLease } from './finish.ts'
import { folderOf, makeLeaseFolder } from './folder.ts'
import type { OfflineHost } from './host.ts'
import { keysOf, type DiskKey } from './keys.ts'
import { OfflineLease } from './offline-lease.ts'
import { nodeOf, openDisks } from './open-disks.ts'
import { stateOf } from './proof.ts'
import { makeSnapshot, planSnapshot, type ReadPaths } from './snapshot.ts'

/** FREEZE_REQUIRED: nobody can freeze a machine that is off. */
export const checkWish = (wish: ConsistencyWish, machine: string): void => {
  if (wish !== 'freeze-required') return
  throw new VarveError(
    'FREEZE_REQUIRED',
    `machine ${machine} is off, and the policy requires a freeze, which only a running guest can do`,
  )
}

const configurationOf = (machine: string, seen: readonly SeenDisk[]): JsonValue => ({
  name: machine,
  disks: seen.map(({ name, size, format, fileName }) => ({ name, size, format, fileName })),
})

const plan = (host: OfflineHost, request: LeaseRequest, snapshot: SnapshotPlan | null): OfflineEntry => {
  const { leaseId, agentId, machine, base, consistency } = request
  const { name, address, keys } = machine
  return {
    id: leaseId,
    agentId,
    formerAgents: [...request.formerAgents],
    machine: { name, driver: OFFLINE_DRIVER, address, keys },
    phase: 'preparing',
    outcome: null,
    baseLease: base?.checkpoint ?? null,
    baseAgent: base?.agent ?? null,
    refuseFull: [...request.refuseFull],
    compareAll: request.compare,
    leftOut: [],
    timeMs: null,
    consistency: 'crash',
    consistencyNote:
      consistency === 'none' ? null : 'the machine is off: its disks are as its shutdown, or its crash, left them',
    configuration: null,
    folder: folderOf(host.runtimeFolder, agentId, leaseId),
    snapshot,
    disks: [],
  }
}

const planDisk = async (
  { disk, kind, reason, continued, reread }: DiskDecision,
  { key, readPath, index }: { readonly key: DiskKey; readonly readPath: string; readonly index: number },
): Promise<OfflineDisk> => {
  const below = disk.backing.flatMap(({ fileName }) => pathOf(fileName) ?? [])
  const files = [readPath, ...(disk.dataFile === null ? [] : [disk.dataFile]), ...below]
  return {
    name: disk.name,
    path: key.path,
    readPath,
    format: key.format,
    size: disk.size,
    kind,
    reason,
    base: continued && { name: continued.base, bitmap: continued.bitmap.name },
    evidence: disk.evidence,
    comparedChunks: 0,
    reread: reread.map(([offset, length]) => [offset, length]),
    exportId: `export${index}`,
    exportName: disk.name,
    files: await Promise.all(files.map(async (path) => ({ path, state: await stateOf(path) }))),
  }
}

const addExport = async (host: OfflineHost, client: QmpCaller, disk: OfflineDisk, index: number): Promise<void> => {
  const bitmaps = disk.base === null ? {} : { bitmaps: [disk.base.bitmap] }
  const target = { id: disk.exportId, type: 'nbd', 'node-name': nodeOf(index), name: disk.exportName, writable: false }
  await host.act(() => client.execute('block-export-add', { ...target, ...bitmaps }))
}

interface Wanted {
  readonly disks: readonly DiskKey[]
  readonly leftOut: readonly LeftOutDisk[]
}

const wantedOf = ({ machine }: LeaseRequest): Wanted => {
  const { disks } = keysOf(machine)
  const isExcluded = ({ name }: DiskKey): boolean => machine.exclude.includes(name)
  return {
    disks: disks.filter((disk) => !isExcluded(disk)),
    leftOut: disks.filter(isExcluded).map(({ name }) => ({ name, reason: 'excluded' })),
  }
}

interface Planned {
  readonly request: LeaseRequest
  readonly wanted: Wanted
  readonly entry: OfflineEntry
  readonly release: () => void
}

const read = async (
  host: OfflineHost,
  { request, wanted, entry, release }: Planned,
  {
    daemon,
    readPaths,
    timeMs,
  }: { readonly daemon: StorageDaemon; readonly readPaths: ReadPaths; readonly timeMs: number },
): Promise<OfflineLease> => {
  const { folder } = entry
  const client = await QmpClient.connect({ path: monitorSocket(folder) })
  try {
    const isSnapshot = entry.snapshot !== null
    const opening = { client, folder, disks: wanted.disks, readPaths, isSnapshot, daemon: await daemonPid(folder) }
    const seen = await openDisks(host, opening)
    const { disks: decided, leftOut } = decideDisks({ disks: seen, leftOut: wanted.leftOut }, request)
    const disks = await Promise.all(
      decided.map(async (decision, index) => {
        const key = wanted.disks[index]!
        return await planDisk(decision, { key, readPath: readPaths.get(key.name) ?? key.path, index })
      }),
    )
    for (const [index, disk] of disks.entries()) await addExport(host, client, disk, index)
    const configuration = configurationOf(entry.machine.name, seen)
    const active: OfflineEntry = { ...entry, phase: 'active', disks, leftOut: [...leftOut], timeMs, configuration }
    await writeEntry(host.journal, active)
    const lease = new OfflineLease({ host, entry: active, client, daemon, onEnd: release })
    await lease.check()
    return lease
  } catch (error) {
    client.close()
    throw error
  }
}

const make = async (host: OfflineHost, planned: Planned): Promise<OfflineLease> => {
  const { wanted, entry } = planned
  await host.act(() => makeLeaseFolder(host.runtimeFolder, entry))
  const timeMs = Date.now()
  const readPaths: ReadPaths =
    entry.snapshot === null ? new Map() : await makeSnapshot(host, entry.snapshot, wanted.disks)
  const daemon = await host.act(() => startDaemon(entry.folder, host.silenceMs))
  try {
    return await read(host, planned, { daemon, readPaths, timeMs })
  } catch (error) {
    daemon.leave()
    throw error
  }
}

/** Begins, with everything journalled before it is made; what a failed begin leaves is in the journal as failed. */
export const beginLease = async (
  host: OfflineHost,
  request: LeaseRequest,
  release: () => void,
): Promise<OfflineLease> => {
  const wanted = wantedOf(request)
  const entry = plan(host, request, await planSnapshot(host, request, wanted.disks))
  await writeEntry(host.journal, entry)
  try {
    return await make(host, { request, wanted, entry, release })
  } catch (error) {
    try {
      await finishLease(host, entry, 'failed')
    } catch (left) {
      host.log.warn(
        { lease: entry.id, machine: entry.machine.name, err: left, cause: error },
        'a lease that failed to begin could not be removed yet',
      )
    }
    throw error
  }
}
