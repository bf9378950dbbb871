// Whether the gateway can do its work right now: a few named checks, made at most once a second.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { within } from '../../protocol/host/within.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { GATEWAY_SETTING } from '../catalog/settings.ts'
import type { Datastore } from '../datastore/datastore.ts'

/** How long each check may take, in milliseconds. */
export const CHECK_LIMIT_MS = 2000

/** What was found counts for so long, in milliseconds: whoever asks often costs nothing. */
export const FINDINGS_LIFE_MS = 1000

/** Why the gateway would not be ready, each a name of its own in the answer. */
export const READY_CHECKS = ['catalog', 'packs', 'space', 'lock'] as const
export type ReadyCheck = (typeof READY_CHECKS)[number]

export interface Finding {
  readonly ok: boolean
  /** What was found, or what is wrong, in a few words. */
  readonly says: string
}

export interface Findings {
  readonly ready: boolean
  readonly checks: Readonly<Record<ReadyCheck, Finding>>
}

export interface ReadinessOptions {
  readonly datastore: {
    readonly catalog: Pick<Catalog, 'settings'>
    readonly space: Pick<Datastore['space'], 'room'>
    readonly ballast: Pick<Datastore['ballast'], 'check'>
    writable(): Promise<void>
  }
  /** Resolves where the gateway must stop, as its lock or catalog is not there any more. */
  readonly lost: Promise<VarveError>
  readonly clock: Clock
}

export class Readiness {
  readonly #options: ReadinessOptions
  #lost: VarveError | null = null
  #looking: Promise<Findings> | null = null
  #lookedMs = Number.NEGATIVE_INFINITY

  constructor(options: ReadinessOptions) {
    this.#options = options
    void options.lost.then((error) => (this.#lost = error))
  }

  /** The findings, not older than FINDINGS_LIFE_MS; never rejects. */
  look(): Promise<Findings> {
    const { clock } = this.#options
    if (this.#looking === null || clock.elapsed() - this.#lookedMs >= FINDINGS_LIFE_MS) {
      this.#lookedMs = clock.elapsed()
      this.#looking = this.#look()
    }
    return this.#looking
  }

  async #look(): Promise<Findings> {
    const [catalog, packs, space] = await Promise.all([
      this.#check(() => this.#catalog()),
      this.#check(() => this.#packs()),
      this.#check(() => this.#space()),
    ])
    const lock: Finding = this.#lost === null ? { ok: true, says: 'held' } : { ok: false, says: this.#lost.message }
    const checks = { catalog, packs, space, lock }
    return { ready: Object.values(checks).every(({ ok }) => ok), checks }
  }

  async #check(look: () => Promise<string>): Promise<Finding> {
    try {
      const says = await within(look(), CHECK_LIMIT_MS)
      return says === null ? { ok: false, says: `no answer within ${CHECK_LIMIT_MS} ms` } : { ok: true, says }
    } catch (thrown) {
      return { ok: false, says: asVarveError(thrown, 'STORE_FAILED').message }
    }
  }

  /** How long a question waits for the thread of the database. */
  async #catalog(): Promise<string> {
    const { clock, datastore } = this.#options
    const askedMs = clock.elapsed()
    await datastore.catalog.settings.get({ name: GATEWAY_SETTING })
    return `answered in ${Math.round(clock.elapsed() - askedMs)} ms`
  }

  async #packs(): Promise<string> {
    await this.#options.datastore.writable()
    return 'there, with their mark'
  }

  async #space(): Promise<string> {
    const { space, ballast } = this.#options.datastore
    const { freeBytes, reserveBytes } = await space.room()
    if (freeBytes <= reserveBytes)
      throw new VarveError(
        'STORE_FULL',
        `${sizeText(freeBytes)} free, not above the reserve of ${sizeText(reserveBytes)}`,
      )
    ballast.check()
    return `${sizeText(freeBytes)} free, reserve ${sizeText(reserveBytes)}`
  }
}
