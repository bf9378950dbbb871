// Begins one lease in QEMU: plans it for the disks as they are, makes everything and takes the instant, or leaves nothing.
import { VarveError } from '../../../protocol/errors.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { machineConfiguration } from '../../qmp/configuration.ts'
import { listNodes } from '../../qmp/disks.ts'
import { startPushServer } from '../../push/server.ts'
import type { Lease, LeaseRequest } from '../driver.ts'
import { decideDisks } from '../decide.ts'
import { undoBegin } from '../ending.ts'
import { guardFrom, type WaitingGuard } from '../scratch-guard.ts'
import { DisksChanged, type SeenDisks } from '../seen-disks.ts'
import { writeEntry, type QmpEntry } from './entry.ts'
import { accessOf, askSupport } from './fleecing.ts'
import { finishLease } from './finish.ts'
import { isGone } from './gone.ts'
import type { QmpHost } from './host.ts'
import { takeQmpInstant } from './instant.ts'
import { fleecingOf, modeOf } from './keys.ts'
import type { Mode } from './modes.ts'
import { look, refuseChange, signature } from './look.ts'
import { checkpointBitmaps, ownAgents, planLease, transactionActions } from './plan.ts'
import { addTargets, hasTuning, pushOrder, removeEnds, setEnds } from './push-begin.ts'
import { decidePush, haveMarks, heldBytes, pushActions } from './push-plan.ts'
import { QmpLease } from './qmp-lease.ts'
import { noteStopped } from './rescue.ts'
import { startScratchGuard, waitingGuard } from './scratch-guard.ts'
import { makeScratchFolders, makeScratchImages } from './scratch.ts'

/** The oldest QEMU whose commands suffice (block-export-add). */
const QEMU_MAJOR_MIN = 5
const QEMU_MINOR_MIN = 2

/** The oldest QEMU that mode push was tried with: 5.2 ends, and its guest with it, when its nodes are listed meanwhile. */
const PUSH_MAJOR_MIN = 7
const PUSH_MINOR_MIN = 2

/** Refuses a QEMU that is too old with DISK_UNSUPPORTED. */
export const checkVersion = ({ version: { major, minor } }: QmpCaller, mode: Mode): void => {
  const [needMajor, needMinor] = mode === 'push' ? [PUSH_MAJOR_MIN, PUSH_MINOR_MIN] : [QEMU_MAJOR_MIN, QEMU_MINOR_MIN]
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return
  const wayOut = mode === 'push' ? ' for mode "push": use mode "pull"' : ''
  throw new VarveError(
    'DISK_UNSUPPORTED',
    `QEMU ${major}.${minor} is too old; ${needMajor}.${needMinor} is needed${wayOut}`,
  )
}

const startServer = async (client: QmpCaller, socketPath: string): Promise<void> => {
  try {
    await client.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socketPath } } })
  } catch (cause) {
    const running = cause instanceof VarveError && /already running/.test(String(cause.details['desc']))
    if (!running) throw cause
    const sentence = "the machine runs an NBD server that is not Varve's, and QEMU supports only one: stop it first"
    throw new VarveError('NBD_SERVER_BUSY', sentence, { cause })
  }
}

const addScratchNodes = async (client: QmpCaller, entry: QmpEntry): Promise<void> => {
  for (const { node, scratchNode, scratchFile, access } of entry.disks) {
    const file = { driver: 'file', filename: scratchFile, ...(access === null ? {} : { discard: 'unmap' }) }
    const image = access === null ? { driver: 'qcow2', file, backing: node } : { driver: 'raw', file, discard: 'unmap' }
    await client.execute('blockdev-add', { ...image, 'node-name': scratchNode })
  }
}

/** Over the jobs' filters, which are there from the instant on. */
const addAccessNodes = async (client: QmpCaller, entry: QmpEntry): Promise<void> => {
  for (const { access, filterNode } of entry.disks) {
    if (access === null) continue
    const node = { driver: 'snapshot-access', 'node-name': access.node, file: filterNode, discard: 'unmap' }
    await client.execute('blockdev-add', node)
  }
}

const addExports = async (client: QmpCaller, entry: QmpEntry): Promise<void> => {
  for (const { exportId, exportName, node, scratchNode, access, kind } of entry.disks) {
    // older QEMUs take no node with a bitmap, and know none of another node by its name
    const bitmap = access === null ? entry.transfer : { node, name: entry.transfer }
    const bitmaps = kind === 'incremental' ? { bitmaps: [bitmap] } : {}
    const target = { id: exportId, type: 'nbd', 'node-name': access?.node ?? scratchNode, name: exportName }
    // what is read through snapshot access refuses writes, and may be discarded
    await client.execute('block-export-add', { ...target, writable: access !== null, ...bitmaps })
  }
}

const removeObsolete = async (host: QmpHost, client: QmpCaller, { id }: QmpEntry, request: LeaseRequest) => {
  const kept = new Set(await host.journal.keptCheckpoints(id))
  const { base } = request
  if (base !== null && base.checkpoint !== null) kept.add(base.checkpoint)
  const obsolete = checkpointBitmaps(await listNodes(client), ownAgents(request), (lease) => !kept.has(lease))
  for (const { node, name } of obsolete) {
    host.log.info({ machine: request.machine.name, node, bitmap: name }, 'removing an obsolete checkpoint')
    await client.execute('block-dirty-bitmap-remove', { node, name })
  }
}

const isRefusal = (error: unknown): boolean =>
  error instanceof VarveError && (error.code === 'QMP_ERROR' || error.code === 'LEASE_HELD')

/** The entry with what each job must write at least, once the jobs run; what helped to start them is removed. DisksChanged. */
const noteHeld = async (client: QmpCaller, entry: QmpEntry): Promise<QmpEntry> => {
  await removeEnds(client, entry)
  const nodes = await listNodes(client)
  // one may have been smaller between the plan and the instant
  if (!haveMarks(entry, nodes)) throw new DisksChanged(entry.machine.name)
  return { ...entry, disks: entry.disks.map((disk) => ({ ...disk, heldBytes: heldBytes(entry, disk, nodes) })) }
}

/** The inputs of a new lease; `release` is called once the machine is free again. */
export interface Beginning {
  readonly client: QmpCaller
  readonly request: LeaseRequest
  readonly release: () => void
}

/** The same, planned on the disks that were seen. */
interface Planned extends Beginning {
  readonly entry: QmpEntry
  readonly seen: SeenDisks
  readonly waiting: WaitingGuard
}

const make = async (host: QmpHost, planned: Planned): Promise<Lease> => {
  const { client, entry, request, release, waiting } = planned
  await makeScratchFolders(entry)
  await noteStopped(client, entry.scratchFolder)
  const pushes = entry.mode === 'push'
  // it ends when the lease's folders are gone
  const writer = pushes ? await startPushServer(await pushOrder(entry)) : null
  const guard = await guardFrom(startScratchGuard(entry, host.reserveBytes, waiting), async () => {
    await removeObsolete(host, client, entry, request)
    if (pushes) {
      await addTargets(client, entry)
      await setEnds(client, entry)
      return
    }
    await makeScratchImages(entry)
    await addScratchNodes(client, entry)
    await startServer(client, entry.socketPath)
  })
  const lease = new QmpLease({ host, entry, client, guard, writer, onEnd: release })
  try {
    const { thawer, stateFolder } = host
    const actions = pushes ? pushActions(entry, { hasTuning: await hasTuning(client) }) : transactionActions(entry)
    const instant = await takeQmpInstant({ client, thawer, entry, actions, request, stateFolder })
    await refuseChange(client, planned)
    if (!pushes) {
      await addAccessNodes(client, entry)
      await addExports(client, entry)
    }
    const active: QmpEntry = { ...(pushes ? await noteHeld(client, entry) : entry), ...instant, phase: 'active' }
    await writeEntry(host.journal, active)
    lease.complete(active)
    await lease.check()
    return lease
  } catch (error) {
    lease.abandon()
    throw error
  }
}

/** Begins with the disks as they are now; null, with nothing left, when they had changed at the instant. */
export const tryToBegin = async (host: QmpHost, beginning: Beginning): Promise<Lease | null> => {
  const { client, request } = beginning
  // it takes longer to start than all else here
  using waiting = waitingGuard()
  const seen = await look(client)
  const decided = decideDisks(seen, request)
  const pushes = modeOf(request.machine) === 'push'
  const decisions = pushes ? decidePush(decided, request) : decided
  const wish = fleecingOf(request.machine)
  const ways = pushes ? undefined : accessOf(wish, await askSupport(client, wish), client.version)
  const entry = planLease(request, decisions, host.folders, await machineConfiguration(client), ways)
  await writeEntry(host.journal, entry)
  try {
    return await make(host, { ...beginning, entry, seen, waiting })
  } catch (error) {
    const finish = (): Promise<void> => finishLease(host, entry, 'failed')
    if (!(await undoBegin(host, entry, error, { finish, isGone }))) throw error
    if (error instanceof DisksChanged) return null
    // QEMU refuses a plan for disks that have changed
    if (isRefusal(error) && signature(await look(client), request) !== signature(seen, request)) return null
    throw error
  }
}
