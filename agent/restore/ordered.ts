// Restores that the gateway orders: to allowed places, all disks or none, and nothing left of one that ends.
import { VarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Peer, ServedCall } from '../../protocol/peer.ts'
import { runOnto } from '../onto/ordered-onto.ts'
import { allowedPlace, type AllowedPlace, type RestoreRules } from './allowed.ts'
import { movedAway, openTarget, type OpenedTarget } from './open-target.ts'
import { nameTargets } from './together.ts'
import { inOrder, Places } from './places.ts'
import { Reports } from './reports.ts'
import { restoreDisk } from './restore.ts'
import type { RestoreNotes } from './restore-notes.ts'
import type { KnownMachine } from './target-guard.ts'

/** Restores at once: each reads and writes as fast as it can. */
export const ORDERED_MAX = 4

type Order = Params<'agent.restore'>
type Disk = Order['disks'][number]

export interface OrderedOptions {
  /** As the configuration has them now. */
  readonly rules: () => RestoreRules
  readonly machines: readonly KnownMachine[]
  readonly notes: RestoreNotes
  readonly repeat: <R>(work: (peer: Peer) => Promise<R>, signal: AbortSignal) => Promise<R>
  readonly log: Log
}

/** Of a disk that is written whole. */
const NOT_COMPARED = { differBytes: null, writtenBytes: 0 } as const

/** A disk of an order with its place, which is open. */
interface Opened {
  readonly disk: Pick<Disk, 'disk' | 'size' | 'root' | 'to'>
  readonly path: string
  readonly opened: OpenedTarget
}

/** RESTORE_FORBIDDEN where the path leads elsewhere now, as somebody has moved a folder or a link. */
const checkSame = async (to: string, before: string, rules: RestoreRules): Promise<void> => {
  const place = await allowedPlace(to, rules)
  if (place.path !== before) throw movedAway(to, before, place.path)
}

/** Gives all disks their names, as `nameTargets` does, while their places are those that were allowed. RESTORE_FORBIDDEN too. */
export const nameAll = async (
  opened: readonly Opened[],
  rules: RestoreRules,
  signal: AbortSignal,
): Promise<(readonly string[])[]> => {
  const checkPlaces = async (): Promise<void> => {
    for (const { disk, path } of opened) await checkSame(disk.to, path, rules)
  }
  return await nameTargets(
    opened.map(({ opened: { target } }) => target),
    { checkPlaces, signal },
  )
}

export class OrderedRestores implements AsyncDisposable {
  readonly #options: OrderedOptions
  /** Places that are being written, with the restore. */
  readonly #taken = new Map<string, string>()
  readonly #running = new Map<string, Promise<unknown>>()
  readonly #stopping = new AbortController()
  readonly #places: Places

  constructor(options: OrderedOptions) {
    this.#options = options
    const { rules, machines } = options
    this.#places = new Places({ rules, machines, writerOf: (at) => this.#taken.get(at) })
  }

  /** Where restores may write, and what is at some places. LIMIT_REACHED where too many look already. */
  places(params: Params<'agent.places'>, signal: AbortSignal): Promise<Result<'agent.places'>> {
    return this.#places.list(params, signal)
  }

  /**
   * Writes the disks, and gives them their names once all are complete; reports how far it is. RESTORE_FORBIDDEN, TARGET_EXISTS,
   * TARGET_IN_USE, TARGET_INVALID, LIMIT_REACHED, EXISTS, and what reading the images ends with.
   */
  run(order: Order, call: ServedCall<'agent.restore'>): Promise<Result<'agent.restore'>> {
    return this.#begin(order, () => this.#run(order, call))
  }

  /** Compares images that are there, and writes what differs; as `run`, but for what an error leaves: see runOnto. */
  runOnto(order: Order, call: ServedCall<'agent.restoreOnto'>): Promise<Result<'agent.restoreOnto'>> {
    return this.#begin(order, () => this.#runOnto(order, call))
  }

  async #begin<R>({ restore, point, disks }: Order, run: () => Promise<R>): Promise<R> {
    const { log } = this.#options
    if (this.#running.has(restore)) throw new VarveError('EXISTS', `restore ${restore} runs already`)
    if (this.#running.size >= ORDERED_MAX)
      throw new VarveError(
        'LIMIT_REACHED',
        `this agent runs ${ORDERED_MAX} restores already: start it when one has ended`,
      )
    const work = run()
    this.#running.set(restore, work)
    try {
      log.info({ restore, point, to: disks.map(({ to }) => to) }, 'a restore that the gateway ordered starts')
      const result = await work
      log.info({ restore }, 'a restore is done')
      return result
    } catch (thrown) {
      const error = inOrder(thrown)
      log.warn({ restore, code: error.code, reason: error.message }, 'a restore failed')
      throw error
    } finally {
      this.#running.delete(restore)
    }
  }

  /** Ends all restores and waits until nothing of them is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new VarveError('CANCELLED', 'the agent is stopping'))
    await Promise.allSettled(this.#running.values())
  }

  async #runOnto(order: Order, call: ServedCall<'agent.restoreOnto'>): Promise<Result<'agent.restoreOnto'>> {
    const signal = AbortSignal.any([call.signal, this.#stopping.signal])
    await using resources = new AsyncDisposableStack()
    const { machines, notes, repeat } = this.#options
    const rules = this.#options.rules()
    return await runOnto({
      order,
      call,
      rules,
      take: (disk) => this.#take(disk, rules, order.restore, resources),
      machines,
      notes,
      link: { repeat: (work) => repeat(work, signal) },
      signal,
    })
  }

  async #run(order: Order, call: ServedCall<'agent.restore'>): Promise<Result<'agent.restore'>> {
    const signal = AbortSignal.any([call.signal, this.#stopping.signal])
    await using resources = new AsyncDisposableStack()
    // what the configuration says later is for later orders
    const rules = this.#options.rules()
    const opened: Opened[] = []
    for (const disk of order.disks) {
      signal.throwIfAborted()
      const place = await this.#take(disk, rules, order.restore, resources)
      const { size, format } = disk
      const { machines, notes } = this.#options
      const at = { path: place.path, place, size, format, force: order.overwrite, machines, notes }
      const target = await openTarget(at)
      resources.use(target.target)
      await checkSame(disk.to, place.path, rules)
      opened.push({ disk, path: place.path, opened: target })
    }
    const reports = new Reports(call)
    await reports.now({ disk: order.disks[0]!.disk, doneBytes: 0, bytesReceived: 0, ...NOT_COMPARED })
    const received: number[] = []
    for (const one of opened) received.push(await this.#write(order.point, one, reports, signal))
    const remarks = await nameAll(opened, rules, signal)
    const restored = opened.map(({ disk: { disk }, path, opened: { format, remark } }, index) => ({
      disk,
      path,
      format,
      bytesReceived: received[index]!,
      ...NOT_COMPARED,
      remarks: [...(remark === null ? [] : [remark]), ...remarks[index]!].slice(0, 8),
    }))
    return { disks: restored }
  }

  /** The stored bytes that came for one disk. */
  async #write(
    point: string,
    { disk: { disk, size, root }, opened: { target } }: Opened,
    reports: Reports,
    signal: AbortSignal,
  ): Promise<number> {
    let received = 0
    await restoreDisk({
      repeat: (work) => this.#options.repeat(work, signal),
      point,
      disk,
      size,
      root,
      target,
      skipDamaged: false,
      signal,
      onProgress: (doneBytes, bytesReceived) => {
        received = bytesReceived
        reports.often({ disk, doneBytes, bytesReceived, ...NOT_COMPARED })
      },
    })
    await reports.now({ disk, doneBytes: size, bytesReceived: received, ...NOT_COMPARED })
    return received
  }

  /** The place of a disk, which no other restore writes until this one has ended. */
  async #take(
    { to }: Disk,
    rules: RestoreRules,
    restore: string,
    resources: AsyncDisposableStack,
  ): Promise<AllowedPlace> {
    const place = await allowedPlace(to, rules)
    const other = this.#taken.get(place.path)
    if (other !== undefined) {
      const who = other === restore ? 'another disk of this restore goes there' : `restore ${other} writes there`
      throw new VarveError('TARGET_IN_USE', `${to} is in use: ${who}`)
    }
    this.#taken.set(place.path, restore)
    resources.defer(() => void this.#taken.delete(place.path))
    return place
  }
}
