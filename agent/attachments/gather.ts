// Gathers what goes with a restore point besides its disks: file by file, within its limits; what cannot be had is said.
import { realpath, stat } from 'node:fs/promises'
import { normalize } from 'node:path'
import { clashOf, isAttachmentName, missingReason, type MissingAttachment } from '../../protocol/attachments.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { ATTACHMENT_BYTES_MAX, ATTACHMENTS_BYTES_MAX, ATTACHMENTS_MAX, MISSING_MAX } from '../../protocol/limits.ts'
import type { AttachmentSource } from './source.ts'
import { FILE_LIMIT_MS, fileTurns } from './file-turns.ts'
import { readSmall, whyNot, type Bounds, type Found } from './read.ts'
import { walkFolder } from './walk.ts'

/** How long all files of a point may take, in milliseconds: its machine's old state is kept for as long. */
export const GATHER_LIMIT_MS = 60_000

/** What a configuration's `attach` names, as sources: `/etc/hosts` is `file:/etc/hosts`. */
export const attachedSources = (paths: readonly string[]): AttachmentSource[] =>
  [...new Set(paths.map((path) => normalize(path).replace(/(.)\/+$/u, '$1')))].map((path) => ({
    name: path === '/' ? 'file:' : `file:${path}`,
    path,
  }))

/** A file that may be read, or what is known of one without a look at it. */
type Part = { readonly name: string } & (Found | ({ readonly path: string } & Bounds))

/** A file, those of a folder, or what a source says of itself. */
async function* partsOf(source: AttachmentSource): AsyncGenerator<Part, void> {
  if (!('path' in source)) {
    if ('missing' in source) yield source
    else yield { name: source.name, bytes: Buffer.from(source.bytes) }
    return
  }
  const { name, path, reader = null } = source
  try {
    if (!(await stat(path)).isDirectory()) {
      yield { name, path, inside: null, reader }
      return
    }
    const root = await realpath(path)
    for await (const entry of walkFolder(name, root, reader))
      yield 'path' in entry ? { ...entry, inside: root, reader } : entry
  } catch (error) {
    yield { name, missing: whyNot(error) }
  }
}

const NO_TIME = `the ${GATHER_LIMIT_MS / 1000} s were over that the files of a point may take`

class Gathering {
  readonly #keep: (name: string, bytes: Buffer) => Promise<void>
  readonly #disks: ReadonlySet<string>
  readonly #kept = new Set<string>()
  readonly #missing = new Map<string, string>()
  readonly #endMs: number
  #bytes = 0
  /** Missing ones that are not listed. */
  #unlisted = 0

  constructor(disks: ReadonlySet<string>, keep: (name: string, bytes: Buffer) => Promise<void>, limitMs: number) {
    this.#disks = disks
    this.#keep = keep
    this.#endMs = performance.now() + limitMs
  }

  async take(source: AttachmentSource): Promise<void> {
    const parts = partsOf(source)
    const path = 'path' in source ? source.path : source.name
    for (;;) {
      const leftMs = this.#leftMs
      if (leftMs === 0) return this.#miss(source.name, NO_TIME)
      // a look that hangs is left behind with its generator
      const next = await fileTurns.ask(path, () => parts.next(), leftMs).catch((error: unknown) => whyNot(error))
      if (typeof next === 'string') return this.#miss(source.name, next)
      if (next.done === true) return undefined
      const part = next.value
      const { name } = part
      const unfit = this.#unfit(name)
      if (unfit !== null) this.#miss(isAttachmentName(name) ? name : source.name, unfit)
      else await this.#part(part)
    }
  }

  /** How long the next look may take, in milliseconds; 0 once there is no time left. */
  get #leftMs(): number {
    return Math.min(FILE_LIMIT_MS, Math.max(0, Math.ceil(this.#endMs - performance.now())))
  }

  get missing(): MissingAttachment[] {
    const listed = [...this.#missing].filter(([name]) => !this.#kept.has(name) && !this.#disks.has(name))
    const found = listed.map(([name, reason]) => ({ name, reason: missingReason(reason) }))
    const last = found.at(-1)
    if (this.#unlisted === 0 || last === undefined) return found
    return [
      ...found.slice(0, -1),
      { ...last, reason: missingReason(`${last.reason}; and ${this.#unlisted} more files`) },
    ]
  }

  /** Why nothing can have this name in the point. */
  #unfit(name: string): string | null {
    if (!isAttachmentName(name)) return 'a name in it is too long, or has characters that no name may have'
    if (this.#kept.has(name)) return 'there are two files of this name'
    if (this.#disks.has(name)) return 'a disk of the machine has this name'
    const clash = clashOf(name, this.#kept)
    return clash === null ? null : `the point has "${clash}", and one of the two is a folder of the other`
  }

  async #part(part: Part): Promise<void> {
    const { name } = part
    if ('missing' in part) return this.#miss(name, part.missing)
    // before it is read: a folder may have thousands of them
    if (this.#kept.size >= ATTACHMENTS_MAX)
      return this.#miss(name, `a point has at most ${ATTACHMENTS_MAX} attachments`)
    if ('bytes' in part) return this.#file(name, part.bytes)
    const { path } = part
    const leftMs = this.#leftMs
    if (leftMs === 0) return this.#miss(name, NO_TIME)
    const found = await fileTurns
      .ask(path, () => readSmall(path, part), leftMs)
      .catch((error: unknown) => ({ missing: whyNot(error) }))
    return 'missing' in found ? this.#miss(name, found.missing) : await this.#file(name, found.bytes)
  }

  async #file(name: string, bytes: Buffer): Promise<void> {
    const { length } = bytes
    if (length > ATTACHMENT_BYTES_MAX)
      return this.#miss(name, `it has ${sizeText(length)}, at most ${sizeText(ATTACHMENT_BYTES_MAX)} can be attached`)
    if (this.#bytes + length > ATTACHMENTS_BYTES_MAX)
      return this.#miss(name, `the attachments of a point have at most ${sizeText(ATTACHMENTS_BYTES_MAX)} together`)
    await this.#keep(name, bytes)
    this.#bytes += length
    this.#kept.add(name)
    return undefined
  }

  #miss(name: string, reason: string): void {
    // what no point can name is not listed
    if (this.#missing.has(name) || !isAttachmentName(name)) return
    if (this.#missing.size < MISSING_MAX) this.#missing.set(name, reason)
    else this.#unlisted++
  }
}

/**
 * Hands every file of the sources to `keep`, in order, and gives those that cannot be had; `disks` are the names that are taken.
 * Rejects only with what `keep` rejects with.
 */
export const gather = async (
  sources: readonly AttachmentSource[],
  disks: ReadonlySet<string>,
  keep: (name: string, bytes: Buffer) => Promise<void>,
  limitMs = GATHER_LIMIT_MS,
): Promise<MissingAttachment[]> => {
  const gathering = new Gathering(disks, keep, limitMs)
  for (const source of sources) await gathering.take(source)
  return gathering.missing
}
