// An export of an NBD server as the target of a restore: written in place, and flushed before it ends.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { NbdClient } from '../nbd/client.ts'
import { parseNbdUri } from './nbd-uri.ts'
import type { Target } from './target.ts'

/** Zeroes written at once where the server has no command for them, in bytes. */
const ZERO_BYTES = 1024 * 1024

export class NbdTarget implements Target {
  readonly #uri: string
  readonly #client: NbdClient

  private constructor(uri: string, client: NbdClient) {
    this.#uri = uri
    this.#client = client
  }

  /** TARGET_EXISTS without `force`; TARGET_INVALID where the export cannot take the disk; what connecting ends with. */
  static async open(
    uri: string,
    size: number,
    { force, signal }: { readonly force: boolean; readonly signal?: AbortSignal },
  ): Promise<NbdTarget> {
    const { place, exportName } = parseNbdUri(uri)
    if (!force)
      throw new VarveError('TARGET_EXISTS', `${uri} is an export: everything on it would be lost; --force writes it`)
    await using resources = new AsyncDisposableStack()
    const connected = NbdClient.connect({ ...place, exportName, contexts: [], ...(signal && { signal }) })
    const client = resources.use(
      await connected.catch((thrown: unknown) => {
        throw failed(uri, thrown)
      }),
    )
    const invalid = (why: string): VarveError => new VarveError('TARGET_INVALID', `${uri} ${why}`)
    if (client.flags.readOnly) throw invalid('is read-only')
    if (client.size < size) throw invalid(`has ${client.size} bytes, fewer than the disk's ${size}`)
    resources.move()
    const target = new NbdTarget(uri, client)
    // a server that is silent holds nobody up who wants to end
    const close = (): void => void client.close()
    signal?.addEventListener('abort', close, { once: true })
    return target
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#tell(this.#client.write(offset, bytes))
  }

  async zero(offset: number, length: number): Promise<void> {
    if (this.#client.flags.canWriteZeroes)
      return await this.#tell(this.#client.writeZeroes(offset, length, { mayTrim: true }))
    const zeroes = new Uint8Array(Math.min(ZERO_BYTES, length))
    for (let at = 0; at < length; at += zeroes.length)
      await this.write(offset + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)))
  }

  async seal(): Promise<void> {
    if (this.#client.flags.canFlush) await this.#tell(this.#client.flush())
  }

  async check(): Promise<void> {}

  async publish(): Promise<readonly string[]> {
    if (this.#client.flags.canFlush) return []
    return [`${this.#uri} has no flush: whether what was written is durable is up to its server`]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close()
  }

  async #tell(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (thrown) {
      throw failed(this.#uri, thrown)
    }
  }
}

/** What the server fails with is about the target. */
const failed = (uri: string, thrown: unknown): VarveError => {
  const error = asVarveError(thrown)
  if (error.code !== 'NBD_ERROR' && error.code !== 'NBD_PROTOCOL') return error
  return new VarveError('TARGET_INVALID', `cannot write ${uri}: ${error.message}`, { cause: error })
}
