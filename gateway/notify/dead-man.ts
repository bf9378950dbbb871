// The ping that says outwards that the gateway lives: who misses it knows of a gateway that cannot speak any more.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Change } from '../catalog/change.ts'
import type { Clock } from '../../protocol/peer.ts'
import { accepted, post } from './http-post.ts'
import type { Outward, Sent } from './outward.ts'
import { oneLine } from './messages.ts'
import type { SecretBox } from './secrets.ts'
import { checkedUrl, redacted } from './settings.ts'

/** Where the ping goes and how often; and how it went the last time. Both are settings of the catalog. */
export const PING_SETTING = 'notify-ping'
export const PINGED_SETTING = 'notify-pinged'

/** What the URL of the ping is bound to. */
const BELONGS = 'ping'

/** The URL of a ping often is its only secret, so it is encrypted whole. */
interface PingSetting {
  readonly sealed: string
  readonly origin: string
  readonly everyMs: number
}

interface Pinged {
  readonly answeredMs: number | null
  readonly error: string | null
}

/** A ping as it may be shown. */
export interface PingView extends Pinged {
  readonly origin: string
  readonly everyMs: number
}

interface DeadManOptions {
  readonly catalog: Pick<Catalog, 'settings'>
  readonly secrets: SecretBox
  readonly outward: Outward
  readonly clock: Clock
}

const NEVER: Pinged = { answeredMs: null, error: null }

export class DeadMan {
  readonly #options: DeadManOptions
  /** By the monotonic clock; null before the first ping. */
  #lastMs: number | null = null

  constructor(options: DeadManOptions) {
    this.#options = options
  }

  /** How it is set and how it went; null where there is none. */
  async view(): Promise<PingView | null> {
    const setting = await this.#setting()
    if (setting === null) return null
    const { origin, everyMs } = setting
    return { origin, everyMs, ...(await this.#pinged()) }
  }

  /** Sets it, or ends it for null; PARAMS_INVALID, CONFIG_INVALID. */
  async set(
    wanted: { readonly url: string; readonly everyMs: number; readonly insecure: boolean } | null,
    change: Change,
  ) {
    const { catalog, secrets } = this.#options
    const value = wanted === null ? '' : await this.#sealed(secrets, wanted)
    await catalog.settings.set({ name: PINGED_SETTING, value: JSON.stringify(NEVER) })
    await change((entry) => catalog.settings.set({ name: PING_SETTING, value }, entry))
    this.#lastMs = null
  }

  /** Pings if it is time to; the wait until the next one in milliseconds, null where there is none. */
  async tick(signal: AbortSignal): Promise<number | null> {
    const setting = await this.#setting()
    if (setting === null) return null
    const { everyMs } = setting
    const elapsedMs = this.#options.clock.elapsed()
    if (this.#lastMs !== null && elapsedMs - this.#lastMs < everyMs) return this.#lastMs + everyMs - elapsedMs
    this.#lastMs = elapsedMs
    await this.#ping(setting, signal)
    return everyMs
  }

  async #ping({ sealed }: PingSetting, signal: AbortSignal): Promise<void> {
    const { catalog, clock } = this.#options
    const before = await this.#pinged()
    // only a gateway that can write is well
    await catalog.settings.set({ name: PINGED_SETTING, value: JSON.stringify(before) })
    const { sent, answer } = await this.#sent(sealed, signal)
    if (signal.aborted) return
    const now: Pinged = sent ? { answeredMs: clock.now(), error: null } : { ...before, error: answer }
    await catalog.settings.set({ name: PINGED_SETTING, value: JSON.stringify(now) })
  }

  async #sent(sealed: string, signal: AbortSignal): Promise<Sent> {
    const { outward, secrets } = this.#options
    const url = secrets.open(Buffer.from(sealed, 'base64'), BELONGS)
    if (url === null) return { sent: false, answer: 'the key of its URL is lost: set the ping again' }
    const get = { url: new URL(url), method: 'GET', headers: {}, body: '', authority: null } as const
    const work = async (limit: AbortSignal): Promise<string> => accepted(await post(get, outward.reach(null), limit))
    return outward.within(work, (text) => oneLine(redacted(text, { url })).slice(0, 300), signal)
  }

  async #sealed(
    secrets: SecretBox,
    { url, everyMs, insecure }: { readonly url: string; readonly everyMs: number; readonly insecure: boolean },
  ): Promise<string> {
    const { origin } = checkedUrl(url, insecure)
    const sealed = Buffer.from(await secrets.seal(url, BELONGS)).toString('base64')
    return JSON.stringify({ sealed, origin, everyMs } satisfies PingSetting)
  }

  async #setting(): Promise<PingSetting | null> {
    const value = await this.#options.catalog.settings.get({ name: PING_SETTING })
    return value === null || value === '' ? null : (JSON.parse(value) as PingSetting)
  }

  async #pinged(): Promise<Pinged> {
    const value = await this.#options.catalog.settings.get({ name: PINGED_SETTING })
    try {
      return value === null ? NEVER : (JSON.parse(value) as Pinged)
    } catch (thrown) {
      throw new VarveError('DATA_DAMAGED', `the setting ${PINGED_SETTING}: ${asVarveError(thrown).message}`)
    }
  }
}
