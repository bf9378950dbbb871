// A pack store over objects, as an object store has them: made once and whole, never changed, read by range, listed by
// prefix, deleted by name.
import { randomUUID } from 'node:crypto'
import { link, mkdir, open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'
import { isUuid, PACK_BYTES_MAX } from '../../../gateway/packs/format.ts'
import type { ModuleSpec } from '../../../gateway/packs/open-pack-store.ts'
import {
  strangePacks,
  type PackBallast,
  type PackEntry,
  type PackFile,
  type PackName,
  type PackStore,
} from '../../../gateway/packs/pack-store.ts'

/** What is appended becomes an object of its own at the latest at so many bytes. */
const PART_BYTES = 1024 * 1024

interface Stored {
  readonly key: string
  readonly bytes: number
}

/** A bucket: a plain folder whose files are objects. Nothing here changes what exists. */
class Bucket {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** False where there is an object of this key. */
  async put(key: string, bytes: Uint8Array): Promise<boolean> {
    await mkdir(this.#folder, { recursive: true })
    const whole = path.join(this.#folder, `new-${randomUUID()}`)
    await writeFile(whole, bytes, { flush: true })
    try {
      await link(whole, this.#file(key))
      return true
    } catch (error) {
      if (hasCode(error, 'EEXIST')) return false
      throw error
    } finally {
      await rm(whole)
    }
  }

  async get(key: string, offset: number, target: Uint8Array): Promise<void> {
    await using handle = await open(this.#file(key), 'r')
    await handle.read(target, 0, target.length, offset)
  }

  async list(prefix: string): Promise<Stored[]> {
    const names = await readdir(this.#folder).catch(() => [])
    const keys = names.filter((name) => !name.startsWith('new-')).map(decodeURIComponent)
    const found = keys.filter((key) => key.startsWith(prefix)).sort()
    return Promise.all(found.map(async (key) => ({ key, bytes: (await stat(this.#file(key))).size })))
  }

  async delete(keys: readonly string[]): Promise<void> {
    await Promise.all(keys.map((key) => rm(this.#file(key), { force: true })))
  }

  #file(key: string): string {
    return path.join(this.#folder, encodeURIComponent(key))
  }
}

const keyOf = ({ tenant, pack }: PackName): string => {
  if (!isUuid(tenant) || !isUuid(pack)) throw new VarveError('INTERNAL', 'a pack name must be two uuids')
  return `packs/${tenant}/${pack}/`
}

const digits = (number: number): string => String(number).padStart(12, '0')

/** A part's key ends with where in the pack it begins. */
class ObjectPackFile implements PackFile {
  readonly #bucket: Bucket
  readonly #key: string
  #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #storedBytes: number
  #broken = false

  constructor(bucket: Bucket, key: string, bytes: number) {
    this.#bucket = bucket
    this.#key = key
    this.#storedBytes = bytes
  }

  get bytes(): number {
    return this.#storedBytes + this.#waitingBytes
  }

  get broken(): boolean {
    return this.#broken
  }

  async append(bytes: Uint8Array): Promise<void> {
    if (this.#broken) throw new VarveError('STORE_FAILED', 'a write to this pack failed before: it takes no more')
    // its owner may use the buffer again
    this.#waiting.push(bytes.slice())
    this.#waitingBytes += bytes.length
    if (this.#waitingBytes >= PART_BYTES) await this.sync()
  }

  async sync(): Promise<void> {
    if (this.#broken) throw new VarveError('STORE_FAILED', 'a write to this pack failed before: it takes no more')
    const bytes = Buffer.concat(this.#waiting.splice(0))
    if (bytes.length === 0) return
    this.#broken = true
    if (!(await this.#bucket.put(`${this.#key}${digits(this.#storedBytes)}`, bytes)))
      throw new VarveError('STORE_FAILED', 'somebody else writes this pack')
    this.#broken = false
    this.#storedBytes += bytes.length
    this.#waitingBytes -= bytes.length
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Nothing to give back, and nothing that could be full. */
const NO_BALLAST: PackBallast = { fill: async () => null, lend: async () => true, drawing: (_bytes, work) => work() }

class ObjectPackStore implements PackStore {
  readonly costs = { concurrency: 32, readGapBytes: 1024 * 1024 }
  readonly packBytesMax = PACK_BYTES_MAX
  readonly ballast = NO_BALLAST
  readonly place: string
  readonly #bucket: Bucket
  #id: string | null
  #locked = false

  constructor(bucket: Bucket, place: string, id: string | null) {
    this.#bucket = bucket
    this.place = place
    this.#id = id
  }

  get id(): string | null {
    return this.#id
  }

  async writable(): Promise<void> {
    await this.confirm()
  }

  async confirm(): Promise<void> {
    if (this.#id !== null && (await markOf(this.#bucket)) !== this.#id) throw strangePacks()
  }

  async mark(id: string): Promise<void> {
    if (!(await this.#bucket.put(`mark/${id}`, new Uint8Array(0)))) throw strangePacks()
    this.#id = id
  }

  async lock(): Promise<void> {
    this.#locked = await this.#bucket.put('lock', new Uint8Array(0))
    if (!this.#locked) throw new VarveError('STORE_LOCKED', 'another gateway has these packs')
  }

  async space(): Promise<null> {
    return null
  }

  async epoch(): Promise<number | null> {
    const last = (await this.#bucket.list('epoch/')).at(-1)
    return last === undefined ? null : Number(last.key.split('/')[2])
  }

  async layEpoch(epoch: number): Promise<void> {
    const before = await this.#bucket.list('epoch/')
    const turn = Number(before.at(-1)?.key.split('/')[1] ?? 0) + 1
    await this.#bucket.put(`epoch/${digits(turn)}/${epoch}`, new Uint8Array(0))
    await this.#bucket.delete(before.map(({ key }) => key))
  }

  async create(name: PackName, header: Uint8Array): Promise<PackFile> {
    const key = keyOf(name)
    await this.confirm()
    if (!(await this.#bucket.put(`${key}${digits(0)}`, header)))
      throw new VarveError('EXISTS', 'there is a pack of this name already')
    return new ObjectPackFile(this.#bucket, key, header.length)
  }

  async open(name: PackName, bytes: number): Promise<PackFile> {
    const size = await this.size(name)
    if (size === null) throw new VarveError('NOT_FOUND', `there is no pack ${name.pack}`)
    if (size !== bytes) throw new VarveError('DATA_DAMAGED', `pack ${name.pack} has ${size} bytes, not ${bytes}`)
    return new ObjectPackFile(this.#bucket, keyOf(name), bytes)
  }

  async read(name: PackName, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const target = new Uint8Array(new ArrayBuffer(length))
    const parts = await this.#parts(name)
    if (parts.length === 0) throw new VarveError('NOT_FOUND', `there is no pack ${name.pack}`)
    let start = 0
    for (const { key, bytes } of parts) {
      const from = Math.max(offset, start)
      const to = Math.min(offset + length, start + bytes)
      if (to > from) await this.#bucket.get(key, from - start, target.subarray(from - offset, to - offset))
      start += bytes
    }
    if (start < offset + length) throw new VarveError('DATA_DAMAGED', `pack ${name.pack} ends early`)
    return target
  }

  async size(name: PackName): Promise<number | null> {
    const parts = await this.#parts(name)
    return parts.length === 0 ? null : parts.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  async remove(names: readonly PackName[]): Promise<ReadonlyMap<string, VarveError>> {
    const failed = new Map<string, VarveError>()
    const keys: string[] = []
    for (const name of names) {
      if (isUuid(name.pack) && isUuid(name.tenant))
        keys.push(...(await this.#bucket.list(keyOf(name))).map(({ key }) => key))
      else failed.set(name.pack, new VarveError('INTERNAL', 'a pack name must be two uuids'))
    }
    await this.confirm()
    await this.#bucket.delete(keys)
    return failed
  }

  async *list(tenant?: string): AsyncGenerator<PackEntry> {
    await this.confirm()
    const names = new Map<string, PackName>()
    for (const { key } of await this.#bucket.list(tenant === undefined ? 'packs/' : `packs/${tenant}/`)) {
      const [, tenantUuid = '', pack = ''] = key.split('/')
      names.set(pack, { tenant: tenantUuid, pack })
    }
    for (const name of names.values()) yield { name }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#locked) await this.#bucket.delete(['lock'])
  }

  /** Those that follow on one another from the pack's start. */
  async #parts(name: PackName): Promise<Stored[]> {
    const key = keyOf(name)
    const found = await this.#bucket.list(key)
    if (found.length === 0) await this.confirm()
    let end = 0
    const parts: Stored[] = []
    for (const part of found) {
      if (part.key !== `${key}${digits(end)}`) break
      parts.push(part)
      end += part.bytes
    }
    return parts
  }
}

const markOf = async (bucket: Bucket): Promise<string | null> => {
  const [mark] = await bucket.list('mark/')
  return mark?.key.slice('mark/'.length) ?? null
}

export const openStore = async ({ root }: Pick<ModuleSpec, 'root'>, id: string | null): Promise<PackStore> => {
  const bucket = new Bucket(root)
  const found = await markOf(bucket)
  if (id !== null && found !== id) throw strangePacks()
  return new ObjectPackStore(bucket, root, found)
}
