// Sends spans to a collector by OTLP over HTTP, in JSON: some at a time, tried a few times, and given up rather than hoarded.
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import { exportOf, type Span } from './spans.ts'

/** Spans that wait; those of further backups are dropped. */
export const SPANS_WAITING_MAX = 10_000

/** Spans of one request; those of a backup that has more go in one all the same. */
const SPANS_PER_REQUEST = 1000

/** How long the collector may take to answer, in milliseconds. */
const REQUEST_LIMIT_MS = 10_000

/** Pauses before further tries of a request, in milliseconds; then its spans are dropped. */
export const RETRY_PAUSES_MS = [1000, 5000, 25_000]

/** How long what waits may hold up the end of the gateway, in milliseconds. */
const END_LIMIT_MS = 2000

/** Answers after which the same request may succeed, by OTLP. */
const PASSING = new Set([429, 502, 503, 504])

export interface TraceSenderOptions {
  /** Where spans are posted to. */
  readonly url: string
  /** What tells this gateway from others. */
  readonly instance: string
  /** How many spans had which outcome. */
  readonly count: (outcome: 'sent' | 'dropped', spans: number) => void
  readonly clock: Clock
  readonly log: Log
}

/** The collector's address for traces: the path of OTLP is added where the base of a collector is named. */
export const tracesUrl = (endpoint: string): string => {
  const url = new URL(endpoint)
  if (!url.pathname.endsWith('/v1/traces')) url.pathname = `${url.pathname.replace(/\/+$/u, '')}/v1/traces`
  return url.href
}

export class TraceSender implements AsyncDisposable {
  readonly #options: TraceSenderOptions
  readonly #waiting: Span[][] = []
  #spans = 0
  #sending: Promise<void> | null = null
  readonly #halt = new AbortController()
  #stopping = false
  /** Whether the collector did not take what was sent last, so that the log says it once. */
  #away = false

  constructor(options: TraceSenderOptions) {
    this.#options = options
  }

  /** Takes the spans of a backup; nobody waits for them. */
  send(spans: readonly Span[]): void {
    if (this.#stopping || this.#spans + spans.length > SPANS_WAITING_MAX)
      return this.#options.count('dropped', spans.length)
    this.#waiting.push([...spans])
    this.#spans += spans.length
    this.#sending ??= this.#work().finally(() => (this.#sending = null))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true
    const stopTimer = this.#options.clock.after(END_LIMIT_MS, () => this.#halt.abort())
    await this.#sending
    stopTimer()
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      const spans = this.#waiting.shift()!
      while (this.#waiting.length > 0 && spans.length + this.#waiting[0]!.length <= SPANS_PER_REQUEST)
        spans.push(...this.#waiting.shift()!)
      const isSent = await this.#deliver(spans)
      this.#spans -= spans.length
      this.#options.count(isSent ? 'sent' : 'dropped', spans.length)
    }
  }

  /** Whether the collector took them. */
  async #deliver(spans: readonly Span[]): Promise<boolean> {
    const body = JSON.stringify(exportOf(spans, this.#options.instance))
    for (let attempt = 0; ; attempt++) {
      const problem = await this.#post(body)
      if (problem === null) {
        this.#away = false
        return true
      }
      const pauseMs = RETRY_PAUSES_MS[attempt]
      if (problem.passes && pauseMs !== undefined && !this.#halt.signal.aborted && !this.#stopping) {
        await this.#pause(pauseMs)
        continue
      }
      const { log, url } = this.#options
      if (!this.#away) log.warn({ url, reason: problem.why }, 'the collector does not take traces: they are dropped')
      this.#away = true
      return false
    }
  }

  /** Null where the collector took it. */
  async #post(body: string): Promise<{ readonly passes: boolean; readonly why: string } | null> {
    const signal = AbortSignal.any([this.#halt.signal, AbortSignal.timeout(REQUEST_LIMIT_MS)])
    const headers = { 'content-type': 'application/json' }
    try {
      const answer = await fetch(this.#options.url, { method: 'POST', headers, body, signal, redirect: 'error' })
      await answer.body?.cancel()
      return answer.ok ? null : { passes: PASSING.has(answer.status), why: `it answers ${answer.status}` }
    } catch (thrown) {
      const { cause } = thrown as Error
      return { passes: true, why: cause instanceof Error ? cause.message : asVarveError(thrown).message }
    }
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const stopTimer = this.#options.clock.after(ms, resolve)
    this.#halt.signal.addEventListener('abort', () => resolve(), { once: true })
    await promise
    stopTimer()
  }
}
