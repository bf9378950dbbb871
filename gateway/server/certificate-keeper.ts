// Keeps the served certificate up to date with its files: reads them again on request or when they change, and warns of its
// expiry.
import type { Clock } from '../../protocol/peer.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import {
  checkCertificate,
  concernsOf,
  isValidAt,
  readFiles,
  type Certificate,
  type CertificateFiles,
} from './certificate.ts'

/** How often the files are checked, in milliseconds. */
export const LOOK_INTERVAL_MS = 60_000

/** How often a certificate near its end, or a bad one, is warned of, in milliseconds. */
export const WARN_INTERVAL_MS = DAY_MS

export interface CertificateKeeperOptions {
  readonly files: CertificateFiles
  /** What is served already. */
  readonly served: Certificate
  /** Serves another one from the next connection on. */
  readonly serve: (certificate: Certificate) => void
  readonly clock: Clock
  readonly log: Log
}

const same = (one: Certificate, other: Certificate): boolean => one.cert.equals(other.cert) && one.key.equals(other.key)

export class CertificateKeeper implements Disposable {
  readonly #options: CertificateKeeperOptions
  #served: Certificate
  /** What was found wrong, and in how many checks. */
  #wrong: { readonly reason: string; readonly looks: number } | null = null
  #warnedMs: number | null = null
  #working: Promise<void> = Promise.resolve()
  #stopTimer: () => void = () => {}
  #over = false

  constructor(options: CertificateKeeperOptions) {
    this.#options = options
    this.#served = options.served
    this.#warn()
    this.#next()
  }

  /** Reads the files again and serves what they hold; a pair that is wrong is logged, and the served one stays. */
  reload(): Promise<void> {
    return this.#enqueue(true)
  }

  [Symbol.dispose](): void {
    this.#over = true
    this.#stopTimer()
  }

  #next(): void {
    this.#stopTimer = this.#options.clock.after(LOOK_INTERVAL_MS, () => {
      void this.#enqueue(false).finally(() => {
        if (!this.#over) this.#next()
      })
    })
  }

  /** One after the other: an earlier check must not overtake a later one. */
  #enqueue(told: boolean): Promise<void> {
    this.#working = this.#working.then(() => this.#look(told))
    return this.#working
  }

  async #look(told: boolean): Promise<void> {
    const { files, log, serve, clock } = this.#options
    try {
      const found = await readFiles(files)
      if (this.#over) return
      const news = !same(found, this.#served)
      if (news) {
        checkCertificate(files, found)
        this.#checkDates(found)
        serve(found)
        this.#served = found
        this.#warnedMs = null
        log.info({ cert: files.cert }, 'the certificate was read again: new connections get the new one')
      } else if (told) log.info({ cert: files.cert }, 'the certificate was read again: it is unchanged')
      this.#wrong = null
    } catch (thrown) {
      this.#refuse(asVarveError(thrown).message, told)
    }
    if (told || this.#warnedMs === null || clock.elapsed() - this.#warnedMs >= WARN_INTERVAL_MS) this.#warn()
  }

  /** CONFIG_INVALID for one that is not valid now and would replace one that is. */
  #checkDates({ cert }: Certificate): void {
    const nowMs = this.#options.clock.now()
    if (isValidAt(cert, nowMs) || !isValidAt(this.#served.cert, nowMs)) return
    const concerns = concernsOf(cert, nowMs).join('; ')
    throw new VarveError('CONFIG_INVALID', `${this.#options.files.cert} is not valid now: ${concerns}`)
  }

  /** Logs a problem once it was the same in two checks: while files are being replaced, one is briefly ahead of the other. */
  #refuse(reason: string, told: boolean): void {
    const { files, log } = this.#options
    const looks = this.#wrong?.reason === reason ? this.#wrong.looks + 1 : 1
    this.#wrong = { reason, looks: told ? 2 : looks }
    if (told || looks === 2)
      log.error(
        { cert: files.cert, keyFile: files.key, reason },
        'the certificate cannot be read again: the one read before is still served',
      )
  }

  #warn(): void {
    const { files, clock, log } = this.#options
    this.#warnedMs = clock.elapsed()
    for (const concern of concernsOf(this.#served.cert, clock.now()))
      log.warn({ cert: files.cert, concern }, 'the certificate needs attention')
  }
}
