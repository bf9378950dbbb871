// What is at places where a restore may write: looked at one call after the other, and without taking anything's lock.
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { FoundPlace } from '../../protocol/restores.ts'
import { ontoPlace } from '../onto/ordered-place.ts'
import { allowedPlace, type AllowedPlace, type RestoreRules } from './allowed.ts'
import { chooseFormat, type TargetFormat } from './format.ts'
import { freeBytesOf } from './space.ts'
import { checkUnused, type KnownMachine } from './target-guard.ts'

/** Calls that wait for their turn: each looks at all processes of the host. */
export const LOOKS_WAITING_MAX = 4

type Asked = Params<'agent.places'>['places'][number]

export interface PlacesOptions {
  /** As the configuration has them now. */
  readonly rules: () => RestoreRules
  readonly machines: readonly KnownMachine[]
  /** The restore that writes to a path now. */
  readonly writerOf: (at: string) => string | undefined
}

/** The words of the command are not those of an order. */
export const inOrder = (thrown: unknown): VarveError => {
  const error = asVarveError(thrown)
  if (!error.code.startsWith('TARGET_')) return error
  const message = error.message
    .replace('--force replaces it', 'it is replaced only with "overwrite"')
    .replace('--onto writes onto what is there, --to makes a new file', 'restore it as a new file')
  const words = message.replace('--force writes it', 'it is written only with "overwrite"')
  return new VarveError(error.code, words.replaceAll('--force', '"overwrite"').replaceAll('--format', '"format"'), {
    details: error.details,
    cause: error,
  })
}

export class Places {
  readonly #options: PlacesOptions
  /** Calls that look or wait. */
  #calls = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: PlacesOptions) {
    this.#options = options
  }

  /** Where restores may write, and what is at some places. LIMIT_REACHED where too many look already. */
  async list({ places: asked }: Params<'agent.places'>, signal: AbortSignal): Promise<Result<'agent.places'>> {
    const { folders, devices } = this.#options.rules()
    return {
      places: asked.length === 0 ? [] : await this.#inTurn(() => this.#lookAll(asked, signal)),
      folders: await Promise.all(folders.map(async (one) => ({ path: one, freeBytes: await freeBytesOf(one) }))),
      devices: devices.map((one) => ({ path: one })),
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#calls > LOOKS_WAITING_MAX)
      throw new VarveError('LIMIT_REACHED', 'this agent looks at places for others already: ask again in a few seconds')
    this.#calls += 1
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    try {
      return await turn
    } finally {
      this.#calls -= 1
    }
  }

  async #lookAll(asked: readonly Asked[], signal: AbortSignal): Promise<FoundPlace[]> {
    const places: FoundPlace[] = []
    for (const place of asked) {
      signal.throwIfAborted()
      places.push(await this.#look(place, signal))
    }
    return places
  }

  async #look({ to, format, how }: Asked, signal: AbortSignal): Promise<FoundPlace> {
    const nothing = { to, path: null, there: null, thereBytes: null, format: null, freeBytes: null }
    try {
      const place = await allowedPlace(to, this.#options.rules())
      if (how !== 'new') return await this.#lookOnto(to, place, format, signal)
      const { path: at, there } = place
      const kind = there === null ? null : there.isBlockDevice() ? 'device' : 'file'
      const found = {
        to,
        path: at,
        there: kind,
        thereBytes: kind === 'file' ? there!.size : null,
        freeBytes: kind === 'device' ? null : await freeBytesOf(path.dirname(at)),
      } as const
      try {
        return { ...found, format: await this.#formatOf({ at, asked: format, there: kind }, signal), error: null }
      } catch (thrown) {
        const { code, message } = inOrder(thrown)
        return { ...found, format: null, error: { code, message } }
      }
    } catch (thrown) {
      const { code, message } = inOrder(thrown)
      return { ...nothing, error: { code, message } }
    }
  }

  /** What would be compared, which an interrupted restore may have left under another name. */
  async #lookOnto(
    to: string,
    place: AllowedPlace,
    format: TargetFormat | null,
    signal: AbortSignal,
  ): Promise<FoundPlace> {
    const { path: at, there } = place
    const none = { to, path: at, there: null, thereBytes: null, format: null, freeBytes: null }
    try {
      this.#checkFree(at)
      const found = await ontoPlace(place, format, this.#options.rules())
      await checkUnused(found.place, this.#options.machines, signal)
      const isFile = found.kind === 'file'
      const thereBytes = isFile ? (there ?? (await stat(found.place))).size : null
      const freeBytes = isFile ? await freeBytesOf(path.dirname(at)) : null
      return { to, path: at, there: found.kind, thereBytes, format: found.format, freeBytes, error: null }
    } catch (thrown) {
      const { code, message } = inOrder(thrown)
      return { ...none, error: { code, message } }
    }
  }

  /** TARGET_IN_USE while another restore writes there. */
  #checkFree(at: string): void {
    const other = this.#options.writerOf(at)
    if (other !== undefined) throw new VarveError('TARGET_IN_USE', `${at} is in use: restore ${other} writes there`)
  }

  /** The format that a restore would write there; TARGET_IN_USE, TARGET_INVALID. */
  async #formatOf(
    { at, asked, there }: { at: string; asked: TargetFormat | null; there: FoundPlace['there'] },
    signal: AbortSignal,
  ): Promise<TargetFormat> {
    this.#checkFree(at)
    const { format } = await chooseFormat({ path: at, asked, there })
    if (there === 'device' && format !== 'raw')
      throw new VarveError('TARGET_INVALID', 'a block device takes the raw format only')
    if (there !== null) await checkUnused(at, this.#options.machines, signal)
    return format
  }
}
