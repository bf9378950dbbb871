// Orders onto images that are there: all of them are compared before any is written, and then only what differs is.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { ServedCall } from '../../protocol/peer.ts'
import type { ReadsOptions } from '../export/image-reads.ts'
import { allowedPlace, type AllowedPlace, type RestoreRules } from '../restore/allowed.ts'
import { movedAway } from '../restore/open-target.ts'
import { Reports } from '../restore/reports.ts'
import { incompleteName, type RestoreNotes } from '../restore/restore-notes.ts'
import type { KnownMachine } from '../restore/target-guard.ts'
import type { FoundImage } from './find-image.ts'
import { ontoPlace } from './ordered-place.ts'
import { openOnto, type Looked, type OntoRestore } from './restore-onto.ts'

type Order = Params<'agent.restoreOnto'>
type Disk = Order['disks'][number]
type Restored = Result<'agent.restoreOnto'>['disks'][number]

export interface OrderedOnto {
  readonly order: Order
  readonly call: Pick<ServedCall<'agent.restoreOnto'>, 'send'>
  readonly rules: RestoreRules
  /** Takes the place of a disk until the order has ended. */
  readonly take: (disk: Disk) => Promise<AllowedPlace>
  readonly machines: readonly KnownMachine[]
  readonly notes: RestoreNotes
  readonly link: ReadsOptions['link']
  readonly signal: AbortSignal
}

/** A disk of the order with its image, which is open and locked. */
interface Opened {
  readonly disk: Disk
  readonly place: AllowedPlace
  readonly onto: OntoRestore
  readonly state: { looked: Looked | null; begun: FoundImage | null; received: number }
}

/** What an error after the first write leaves; `again` is what completes it. */
export const halfWritten = ({ kind, final }: FoundImage, again: 'command' | 'order'): string => {
  const as = kind === 'device' ? final : `${final}, now ${incompleteName(final)},`
  return `${as} is neither what it was nor the restore point: the same ${again} completes it`
}

/** RESTORE_FORBIDDEN, TARGET_INVALID where the place is not what it was when the order began. */
const checkPlace = async ({ disk: { to, format }, place }: Opened, rules: RestoreRules): Promise<void> => {
  const now = await allowedPlace(to, rules)
  if (now.path !== place.path) throw movedAway(to, place.path, now.path)
  await ontoPlace(now, format, rules)
}

const openDisk = async (
  options: OrderedOnto,
  disk: Disk,
  reports: Reports,
  resources: AsyncDisposableStack,
): Promise<Opened> => {
  const { order, rules, take, machines, notes, link, signal } = options
  const place = await take(disk)
  await ontoPlace(place, disk.format, rules)
  const { disk: name, size, root, how } = disk
  const state: Opened['state'] = { looked: null, begun: null, received: 0 }
  const onto = await openOnto(
    {
      reads: { link, signal, reconnectMs: 0 },
      point: order.point,
      disk: { name, size, root },
      onto: place.path,
      format: disk.format,
      force: order.overwrite,
      dryRun: how === 'compare',
      base: null,
      machines,
      notes,
      random: Math.random,
      onProgress: (what, doneBytes) =>
        reports.often(
          what === 'looked at'
            ? { disk: name, doneBytes, bytesReceived: 0, differBytes: null, writtenBytes: 0 }
            : reportOf(disk, state, doneBytes),
        ),
      onReceived: (bytes) => (state.received = bytes),
      onBegin: (found) => (state.begun = found),
    },
    resources,
  )
  if (onto.found.final !== place.path) throw movedAway(disk.to, place.path, onto.found.final)
  return { disk, place, onto, state }
}

/** How far one is that was compared. */
const reportOf = ({ disk, size }: Disk, { looked, received }: Opened['state'], writtenBytes: number) => ({
  disk,
  doneBytes: size,
  bytesReceived: received,
  differBytes: looked!.told.bytesDiffering,
  writtenBytes,
})

const endOf = async ({ disk, place, onto, state }: Opened, reports: Reports): Promise<Restored> => {
  const { bytesReceived, bytesWritten, bytesZeroed, bytesDiffering } = await onto.end(state.looked!)
  const writtenBytes = disk.how === 'compare' ? 0 : bytesWritten + bytesZeroed
  state.received = bytesReceived
  await reports.now(reportOf(disk, state, writtenBytes))
  const { format } = onto.found
  const told = { bytesReceived, differBytes: bytesDiffering, writtenBytes }
  return { disk: disk.disk, path: place.path, format, ...told, remarks: [] }
}

/**
 * Compares, and writes what differs unless the order only compares. RESTORE_FORBIDDEN, TARGET_IN_USE, TARGET_INVALID,
 * DATA_DAMAGED, the signal's reason; an error after the first write says what it leaves.
 */
export const runOnto = async (options: OrderedOnto): Promise<Result<'agent.restoreOnto'>> => {
  const { order, call, rules, signal } = options
  const reports = new Reports(call)
  await using resources = new AsyncDisposableStack()
  const opened: Opened[] = []
  for (const disk of order.disks) {
    signal.throwIfAborted()
    opened.push(await openDisk(options, disk, reports, resources))
  }
  const first = order.disks[0]!.disk
  await reports.now({ disk: first, doneBytes: 0, bytesReceived: 0, differBytes: null, writtenBytes: 0 })
  for (const one of opened) {
    signal.throwIfAborted()
    one.state.looked = await one.onto.look()
    await reports.now(reportOf(one.disk, one.state, 0))
  }
  for (const one of opened) await checkPlace(one, rules)
  const disks: Restored[] = []
  try {
    for (const one of opened) {
      signal.throwIfAborted()
      disks.push(await endOf(one, reports))
    }
  } catch (thrown) {
    const error = asVarveError(thrown)
    const { begun } = opened[disks.length]!.state
    if (begun === null || error.code === 'TARGET_EXISTS') throw error
    const { code, message, details } = error
    throw new VarveError(code, `${message}; ${halfWritten(begun, 'order')}`, { details, cause: error })
  }
  return { disks }
}
