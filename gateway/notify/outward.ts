// The way out: sends one message to one target, with a deadline, and tells what was answered without any secret in it.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { orAbort } from '../../protocol/host/within.ts'
import type { Message, TargetSettings } from '../../protocol/notify.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { TargetRow } from '../catalog/notices.ts'
import type { Reach, Resolve } from './addresses.ts'
import { accepted, post } from './http-post.ts'
import { gotifyPost, ntfyPost, webhookPost } from './http-targets.ts'
import { sendMail } from './mail.ts'
import { oneLine } from './messages.ts'
import type { SecretBox } from './secrets.ts'
import { redacted, type Secrets } from './settings.ts'

/** How long a server may take for one message, in milliseconds. */
export const SEND_DEADLINE_MS = 15_000

/** Longest answer that is kept, in characters. */
const ANSWER_CHARS_MAX = 300

/** What a secret of a target is bound to. */
export const belongingOf = (tenant: string | null, target: string): string => `target ${tenant ?? 'platform'} ${target}`

interface OutwardOptions {
  readonly secrets: SecretBox
  readonly clock: Clock
  /** Targets of tenants may be in private networks too. */
  readonly anywhere: boolean
  readonly resolve: Resolve
  readonly deadlineMs?: number
}

/** How a message ended. */
export interface Sent {
  readonly sent: boolean
  /** What the server answered, or why it got nothing. */
  readonly answer: string
}

type To = Pick<TargetRow, 'name' | 'settings' | 'secret'>

export class Outward {
  readonly #options: OutwardOptions

  constructor(options: OutwardOptions) {
    this.#options = options
  }

  /** How connections of a tenant, or of the platform, are made. */
  reach(tenant: string | null): Reach {
    const { anywhere, resolve } = this.#options
    return { anywhere: tenant === null || anywhere, resolve }
  }

  /** The secrets of a target; null where their key is lost. */
  secretsOf(tenant: string | null, { name, secret }: Pick<To, 'name' | 'secret'>): Secrets | null {
    if (secret === null) return {}
    const text = this.#options.secrets.open(secret, belongingOf(tenant, name))
    return text === null ? null : (JSON.parse(text) as Secrets)
  }

  /** Sends one message; never throws. */
  async send(tenant: string | null, to: To, message: Message, signal?: AbortSignal): Promise<Sent> {
    const secrets = this.secretsOf(tenant, to)
    if (secrets === null)
      return { sent: false, answer: 'the key of its secrets is lost: set the secrets of this target again' }
    const user = to.settings.kind === 'smtp' ? (to.settings.user ?? '') : ''
    const words = (text: string): string => oneLine(redacted(text, secrets, user)).slice(0, ANSWER_CHARS_MAX)
    return this.within(
      async (limit) => this.#send(to.settings, secrets, message, this.reach(tenant), limit),
      words,
      signal,
    )
  }

  /** Runs what speaks with a server within the deadline; never throws. */
  async within(
    work: (signal: AbortSignal) => Promise<string>,
    words: (text: string) => string,
    signal?: AbortSignal,
  ): Promise<Sent> {
    const { deadlineMs = SEND_DEADLINE_MS } = this.#options
    const late = new VarveError('DEADLINE_EXCEEDED', `no answer came within ${deadlineMs / 1000} s`)
    const limit = new AbortController()
    // the server's time is the real one, whatever clock decides about messages
    const timer = setTimeout(() => limit.abort(late), deadlineMs)
    const stop = (): void => limit.abort(signal?.reason)
    signal?.addEventListener('abort', stop, { once: true })
    try {
      signal?.throwIfAborted()
      return { sent: true, answer: words(await orAbort(work(limit.signal), limit.signal)) }
    } catch (thrown) {
      const error: unknown = limit.signal.aborted ? limit.signal.reason : thrown
      return { sent: false, answer: words(asVarveError(error).message) }
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', stop)
      limit.abort(late)
    }
  }

  async #send(
    settings: TargetSettings,
    secrets: Secrets,
    message: Message,
    reach: Reach,
    signal: AbortSignal,
  ): Promise<string> {
    switch (settings.kind) {
      case 'smtp':
        return sendMail(settings, secrets, message, reach, signal)
      case 'webhook':
        return accepted(await post(webhookPost(settings, secrets, message, this.#options.clock.now()), reach, signal))
      case 'ntfy':
        return accepted(await post(ntfyPost(settings, secrets, message), reach, signal))
      case 'gotify':
        return accepted(await post(gotifyPost(settings, secrets, message), reach, signal))
      default:
        return settings satisfies never
    }
  }
}
