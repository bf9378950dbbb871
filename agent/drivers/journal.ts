// The lease journal: what a lease will make in QEMU and on disk, written down before it is made.

import { open, readFile, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { CONSISTENCIES, LEFT_OUT_REASONS, READ_KINDS, READ_REASONS } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import { jsonSchema } from '../qmp/configuration.ts'
import { checkLeaseId } from './qmp/names.ts'
import { syncFolder } from '../../protocol/host/durable.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { makeFolder } from '../make-folder.ts'

/** Largest journal entry, in bytes. */
export const JOURNAL_ENTRY_BYTES_MAX = 1024 * 1024

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

const diskSchema = v.object({
  name: text,
  node: text,
  size: natural,
  kind: v.picklist(READ_KINDS),
  reason: v.picklist(READ_REASONS),
  /** Whether the checkpoint bitmap is stored in the image and so survives QEMU. */
  persistent: v.boolean(),
  /** The checkpoint's bitmap of this disk, and its size mark with that one's granularity in bytes. */
  checkpoint: text,
  sizeMark: text,
  sizeGranularity: natural,
  /** Of an incremental read: the image of the base that it continues, the bitmaps that prove it, the granularity in bytes of the first. */
  base: v.nullable(v.object({ name: text, checkpoint: text, sizeMark: text, granularity: natural })),
  /** What lay under the disk at the instant. */
  evidence: v.string(),
  /** Chunks said to be unchanged that were compared with the base. */
  comparedChunks: natural,
  /** Ranges of an incremental read that count as changed: offset and length in bytes. */
  reread: v.array(v.tuple([natural, natural])),
  scratchNode: text,
  scratchFile: text,
  filterNode: text,
  /** Node and export from which the size mark of a full read gets its bit. */
  sizeNode: text,
  sizeExportId: text,
  job: text,
  exportId: text,
  exportName: text,
})

const entrySchema = v.object({
  version: v.literal(1),
  id: v.pipe(v.string(), v.regex(/^[0-9a-zA-Z-]{8,64}$/)),
  agentId: text,
  /** Agents that this host was before, whose checkpoints of the base count as this one's. */
  formerAgents: v.array(text),
  machine: v.object({ name: text, qmp: text, guestAgent: v.nullable(text) }),
  /** `preparing`: no instant yet; `active`: exports are up; `ending`: being removed. */
  phase: v.picklist(['preparing', 'active', 'ending']),
  /** Known once the lease ends; it then holds for every later try to remove what is left. */
  outcome: v.nullable(v.picklist(['committed', 'failed'])),
  transfer: text,
  /** The lease whose checkpoint the base is. */
  baseLease: v.nullable(text),
  /** Reasons for which a full read is refused, also later in the lease. */
  refuseFull: v.array(v.picklist(READ_REASONS)),
  /** All that is said to be unchanged is to be compared with the base. */
  compareAll: v.boolean(),
  leftOut: v.array(v.object({ name: text, reason: v.picklist(LEFT_OUT_REASONS) })),
  scratchFolder: text,
  socketFolder: text,
  socketPath: text,
  timeMs: v.nullable(natural),
  consistency: v.picklist(CONSISTENCIES),
  consistencyNote: v.nullable(v.string()),
  configuration: jsonSchema,
  disks: v.pipe(v.array(diskSchema), v.minLength(1)),
})

export type JournalDisk = Readonly<v.InferOutput<typeof diskSchema>>

/** One lease's whole plan and how far it has come. */
export type JournalEntry = Readonly<Omit<v.InferOutput<typeof entrySchema>, 'disks'>> & {
  readonly disks: readonly JournalDisk[]
}

export interface JournalOptions {
  /** Hears of a damaged entry, after it was moved to `movedTo`. */
  readonly onDamaged?: (file: string, movedTo: string, cause: unknown) => void
}

/** The folder `leases` of an agent's state folder, one JSON file for each lease; one agent process uses it at a time. */
export class LeaseJournal {
  readonly folder: string
  readonly #onDamaged: NonNullable<JournalOptions['onDamaged']>

  private constructor(folder: string, options: JournalOptions) {
    this.folder = folder
    this.#onDamaged = options.onDamaged ?? (() => undefined)
  }

  static async open(stateFolder: string, options: JournalOptions = {}): Promise<LeaseJournal> {
    const folder = join(stateFolder, 'leases')
    await makeFolder(folder, 0o700)
    for (const name of await readdir(folder)) {
      if (name.endsWith('.tmp')) await rm(join(folder, name), { force: true })
    }
    return new LeaseJournal(folder, options)
  }

  /** Makes the entry durable, in place of an older one with its id. */
  async write(entry: JournalEntry): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(v.parse(entrySchema, entry)))
    if (bytes.length > JOURNAL_ENTRY_BYTES_MAX) {
      throw new VarveError(
        'DISK_UNSUPPORTED',
        `A lease of this machine needs a journal entry over ${JOURNAL_ENTRY_BYTES_MAX} bytes.`,
      )
    }
    const path = this.#path(entry.id)
    const handle = await open(`${path}.tmp`, 'w', 0o600)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(`${path}.tmp`, path)
    await syncFolder(this.folder)
  }

  async remove(id: string): Promise<void> {
    await rm(this.#path(id), { force: true })
    await syncFolder(this.folder)
  }

  /** Every entry; what cannot be read is moved aside and told to `onDamaged`. */
  async list(): Promise<readonly JournalEntry[]> {
    const entries: JournalEntry[] = []
    for (const name of (await readdir(this.folder)).toSorted()) {
      if (!name.endsWith('.json')) continue
      const path = join(this.folder, name)
      try {
        entries.push(await this.#read(path, name))
      } catch (cause) {
        // removed since the folder was read: another lease has just ended
        if (hasCode(cause, 'ENOENT')) continue
        const movedTo = `${path}.damaged-${Date.now()}`
        await rename(path, movedTo)
        this.#onDamaged(path, movedTo, cause)
      }
    }
    return entries
  }

  async #read(path: string, name: string): Promise<JournalEntry> {
    const { size } = await stat(path)
    if (size > JOURNAL_ENTRY_BYTES_MAX) throw new Error(`the entry has ${size} bytes`)
    const entry = v.parse(entrySchema, JSON.parse(await readFile(path, 'utf8')))
    if (`${entry.id}.json` !== name) throw new Error('the entry is of another lease')
    return entry
  }

  #path(id: string): string {
    checkLeaseId(id)
    return join(this.folder, `${id}.json`)
  }
}
