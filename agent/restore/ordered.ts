// Restores that the gateway orders: to allowed places, all disks or none, and nothing left of one that ends.
import { statfs } from 'node:fs/promises'
import path from 'node:path'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Peer, ServedCall } from '../../protocol/peer.ts'
import type { FoundPlace } from '../../protocol/restores.ts'
import { allowedPlace, type AllowedPlace, type RestoreRules } from './allowed.ts'
import { chooseFormat, type TargetFormat } from './format.ts'
import { openTarget, type OpenedTarget } from './open-target.ts'
import { restoreDisk } from './restore.ts'
import type { RestoreNotes } from './restore-notes.ts'
import { guardTarget, type KnownMachine } from './target-guard.ts'
import type { Target } from './target.ts'

/** Shortest time between two reports of progress of one restore, in milliseconds. */
const PROGRESS_INTERVAL_MS = 200

/** Restores at once: each reads and writes as fast as it can. */
export const ORDERED_MAX = 4

type Order = Params<'agent.restore'>
type Disk = Order['disks'][number]
type Asked = Params<'agent.places'>['places'][number]

export interface OrderedOptions {
  /** As the configuration has them now. */
  readonly rules: () => RestoreRules
  readonly machines: readonly KnownMachine[]
  readonly notes: RestoreNotes
  readonly repeat: <R>(work: (peer: Peer) => Promise<R>, signal: AbortSignal) => Promise<R>
  readonly log: Log
}

/** A disk of an order with its place, which is open. */
interface Opened {
  readonly disk: Disk
  readonly path: string
  readonly opened: OpenedTarget
}

/** The words of the command are not those of an order. */
const inOrder = (thrown: unknown): VarveError => {
  const error = asVarveError(thrown)
  if (!error.code.startsWith('TARGET_')) return error
  const message = error.message.replace('--force replaces it', 'it is replaced only with "overwrite"')
  const words = message.replace('--force writes it', 'it is written only with "overwrite"')
  return new VarveError(error.code, words.replaceAll('--force', '"overwrite"').replaceAll('--format', '"format"'), {
    details: error.details,
    cause: error,
  })
}

const freeBytesOf = async (folder: string): Promise<number | null> => {
  try {
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  } catch {
    return null
  }
}

export class OrderedRestores implements AsyncDisposable {
  readonly #options: OrderedOptions
  /** Places that are being written, with the restore. */
  readonly #taken = new Map<string, string>()
  readonly #running = new Map<string, Promise<unknown>>()
  readonly #stopping = new AbortController()

  constructor(options: OrderedOptions) {
    this.#options = options
  }

  /** Where restores may write, and what is at some places. */
  async places({ places: asked }: Params<'agent.places'>): Promise<Result<'agent.places'>> {
    const { folders, devices } = this.#options.rules()
    const places: FoundPlace[] = []
    // one after the other: each looks at all processes of the host
    for (const place of asked) places.push(await this.#look(place))
    return {
      folders: await Promise.all(folders.map(async (one) => ({ path: one, freeBytes: await freeBytesOf(one) }))),
      devices: devices.map((one) => ({ path: one })),
      places,
    }
  }

  /**
   * Writes the disks, and gives them their names once all are complete; reports how far it is. RESTORE_FORBIDDEN, TARGET_EXISTS,
   * TARGET_IN_USE, TARGET_INVALID, LIMIT_REACHED, EXISTS, and what reading the images ends with.
   */
  async run(order: Order, call: ServedCall<'agent.restore'>): Promise<Result<'agent.restore'>> {
    const { restore, point, disks } = order
    const { log } = this.#options
    if (this.#running.has(restore)) throw new VarveError('EXISTS', `restore ${restore} runs already`)
    if (this.#running.size >= ORDERED_MAX)
      throw new VarveError(
        'LIMIT_REACHED',
        `this agent runs ${ORDERED_MAX} restores already: start it when one has ended`,
      )
    const work = this.#run(order, call)
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

  async #run(order: Order, call: ServedCall<'agent.restore'>): Promise<Result<'agent.restore'>> {
    const signal = AbortSignal.any([call.signal, this.#stopping.signal])
    await using resources = new AsyncDisposableStack()
    const opened: Opened[] = []
    for (const disk of order.disks) {
      signal.throwIfAborted()
      const place = await this.#take(disk, order.restore, resources)
      const { size, format } = disk
      const { machines, notes } = this.#options
      const at = { path: place.path, size, format, force: order.overwrite, machines, notes }
      const target = await openTarget(at)
      resources.use(target.target)
      await this.#same(disk.to, place.path)
      opened.push({ disk, path: place.path, opened: target })
    }
    await call.send({ disk: order.disks[0]!.disk, doneBytes: 0, bytesReceived: 0 })
    const received: number[] = []
    for (const one of opened) received.push(await this.#write(order.point, one, call, signal))
    signal.throwIfAborted()
    const restored: Result<'agent.restore'>['disks'] = []
    for (const [
      index,
      {
        disk,
        path: at,
        opened: { target, format, remark },
      },
    ] of opened.entries()) {
      await this.#same(disk.to, at)
      const remarks = [...(remark === null ? [] : [remark]), ...(await target.commit())].slice(0, 8)
      restored.push({ disk: disk.disk, path: at, format, bytesReceived: received[index]!, remarks })
    }
    return { disks: restored }
  }

  /** The stored bytes that came for one disk. */
  async #write(
    point: string,
    { disk: { disk, size, root }, opened: { target } }: Opened,
    call: ServedCall<'agent.restore'>,
    signal: AbortSignal,
  ): Promise<number> {
    let received = 0
    let toldMs = 0
    let telling = false
    // it has its name when all disks are complete
    const held: Target = {
      write: (offset, bytes) => target.write(offset, bytes),
      zero: (offset, length) => target.zero(offset, length),
      commit: async () => [],
      [Symbol.asyncDispose]: async () => {},
    }
    await restoreDisk({
      repeat: (work) => this.#options.repeat(work, signal),
      point,
      disk,
      size,
      root,
      target: held,
      skipDamaged: false,
      signal,
      onProgress: (doneBytes, bytesReceived) => {
        received = bytesReceived
        const nowMs = performance.now()
        if (telling || nowMs - toldMs < PROGRESS_INTERVAL_MS) return
        toldMs = nowMs
        telling = true
        call
          .send({ disk, doneBytes, bytesReceived })
          // its end says why
          .catch(() => {})
          .finally(() => (telling = false))
      },
    })
    await call.send({ disk, doneBytes: size, bytesReceived: received })
    return received
  }

  /** The place of a disk, which no other restore writes until this one has ended. */
  async #take({ to }: Disk, restore: string, resources: AsyncDisposableStack): Promise<AllowedPlace> {
    const place = await allowedPlace(to, this.#options.rules())
    const other = this.#taken.get(place.path)
    if (other !== undefined) {
      const who = other === restore ? 'another disk of this restore goes there' : `restore ${other} writes there`
      throw new VarveError('TARGET_IN_USE', `${to} is in use: ${who}`)
    }
    this.#taken.set(place.path, restore)
    resources.defer(() => void this.#taken.delete(place.path))
    return place
  }

  /** RESTORE_FORBIDDEN where the path leads elsewhere now, as somebody has moved a folder or a link. */
  async #same(to: string, before: string): Promise<void> {
    const place = await allowedPlace(to, this.#options.rules())
    if (place.path === before) return
    throw new VarveError(
      'RESTORE_FORBIDDEN',
      `${to} led to ${before} when the restore began, and to ${place.path} now: somebody changes folders or links there; restore again when that is over`,
    )
  }

  async #look({ to, format }: Asked): Promise<FoundPlace> {
    const nothing = { to, path: null, there: null, thereBytes: null, format: null, freeBytes: null }
    try {
      const { path: at, there } = await allowedPlace(to, this.#options.rules())
      const kind = there === null ? null : there.isBlockDevice() ? 'device' : 'file'
      const found = {
        to,
        path: at,
        there: kind,
        thereBytes: kind === 'file' ? there!.size : null,
        freeBytes: kind === 'device' ? null : await freeBytesOf(path.dirname(at)),
      } as const
      try {
        return { ...found, format: await this.#formatOf(at, format, kind), error: null }
      } catch (thrown) {
        const { code, message } = inOrder(thrown)
        return { ...found, format: null, error: { code, message } }
      }
    } catch (thrown) {
      const { code, message } = inOrder(thrown)
      return { ...nothing, error: { code, message } }
    }
  }

  /** The format that a restore would write there; TARGET_IN_USE, TARGET_INVALID. */
  async #formatOf(at: string, asked: TargetFormat | null, there: FoundPlace['there']): Promise<TargetFormat> {
    const other = this.#taken.get(at)
    if (other !== undefined) throw new VarveError('TARGET_IN_USE', `${at} is in use: restore ${other} writes there`)
    const { format } = await chooseFormat({ path: at, asked, there })
    if (there === 'device' && format !== 'raw')
      throw new VarveError('TARGET_INVALID', 'a block device takes the raw format only')
    if (there !== null) await (await guardTarget(at, this.#options.machines))[Symbol.asyncDispose]()
    return format
  }
}
