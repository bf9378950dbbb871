// The lease journal: what a lease makes on the host and in its machine, written down before it is made.

import { open, readFile, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { CONSISTENCIES, LEFT_OUT_REASONS, READ_REASONS } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import { jsonSchema } from '../json-value.ts'
import { syncFolder } from '../../protocol/host/durable.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { makeFolder } from '../make-folder.ts'

/** Largest journal entry, in bytes. */
export const JOURNAL_ENTRY_BYTES_MAX = 1024 * 1024

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

/** Version of the head; of others only version 1, which had no head, is understood. */
const HEAD_VERSION = 2

/** The form of a lease id, which becomes part of file and object names. */
const LEASE_ID = /^[0-9a-zA-Z][0-9a-zA-Z-]{7,63}$/

/** Refuses what cannot be part of a name with PARAMS_INVALID. */
export const checkLeaseId = (leaseId: string): void => {
  if (!LEASE_ID.test(leaseId))
    throw new VarveError('PARAMS_INVALID', 'a lease id is letters, digits and hyphens, 8 to 64 of them')
}

const id = v.pipe(v.string(), v.regex(LEASE_ID))
const machineSchema = v.object({ name: text, driver: text, address: text, keys: v.record(v.string(), v.unknown()) })

/** What an entry of any version and driver has. */
const tagSchema = v.object({ version: v.literal(HEAD_VERSION), id, machine: machineSchema, payloadVersion: natural })

/** The fields of every driver's lease, besides the driver's own payload. */
const headSchema = v.object({
  id,
  agentId: text,
  /** Agents that this host was before, whose checkpoints of the base count as this one's. */
  formerAgents: v.array(text),
  machine: machineSchema,
  /** `preparing`: no instant yet; `active`: the disks can be read; `ending`: being removed. */
  phase: v.picklist(['preparing', 'active', 'ending']),
  /** Known once the lease ends; it then applies to every later try to remove what is left. */
  outcome: v.nullable(v.picklist(['committed', 'failed'])),
  /** The lease whose checkpoint the base is; null where the base has none. */
  baseLease: v.nullable(text),
  /** The agent that made the base's checkpoint, whose names its bitmaps have. */
  baseAgent: v.optional(v.nullable(text), null),
  /** Reasons for which a full read is refused, also later in the lease. */
  refuseFull: v.array(v.picklist(READ_REASONS)),
  /** Everything recorded as unchanged is compared with the base. */
  compareAll: v.boolean(),
  leftOut: v.array(v.object({ name: text, reason: v.picklist(LEFT_OUT_REASONS) })),
  timeMs: v.nullable(natural),
  consistency: v.picklist(CONSISTENCIES),
  consistencyNote: v.nullable(v.string()),
  configuration: jsonSchema,
})

/** One lease's complete plan and progress; `payload` is its driver's own. */
export type JournalEntry = Readonly<v.InferOutput<typeof headSchema>> & { readonly payload: unknown }

/** An entry of a driver, or a version of its payload, that this program does not know. */
export interface UnknownEntry {
  readonly id: string
  readonly machine: JournalEntry['machine']
  readonly file: string
}

/** What a driver's leases add to their entries. */
export interface PayloadFormat {
  readonly version: number
  readonly schema: v.GenericSchema
  /** Converts payloads of earlier versions to this one. */
  readonly earlier?: ReadonlyMap<number, (payload: unknown) => unknown>
  /** Converts an entry of version 1 of the head, which knew only one driver, to the current one. */
  readonly fromVersion1?: (entry: unknown) => unknown
}

export interface JournalOptions {
  /** Called with a damaged entry, after it was moved to `movedTo`. */
  readonly onDamaged?: (file: string, movedTo: string, cause: unknown) => void
  /** Called once for each entry that is left unchanged. */
  readonly onUnknown?: (entry: UnknownEntry) => void
}

/** What a person can do about an unknown entry. */
export const wayOut = ({ file, machine }: UnknownEntry): string =>
  `its journal entry ${file} (driver ${machine.driver}) is not understood: start the version that wrote it, or remove the file if nothing of that lease is left`

interface Journalled {
  readonly entries: readonly JournalEntry[]
  readonly unknown: readonly UnknownEntry[]
}

/** The folder `leases` of an agent's state folder, one JSON file for each lease; one agent process uses it at a time. */
export class LeaseJournal {
  readonly folder: string
  readonly #formats: ReadonlyMap<string, PayloadFormat>
  readonly #options: JournalOptions
  /** Ids of unknown entries that were reported. */
  readonly #told = new Set<string>()

  private constructor(folder: string, formats: ReadonlyMap<string, PayloadFormat>, options: JournalOptions) {
    this.folder = folder
    this.#formats = formats
    this.#options = options
  }

  /** `formats` are those of the drivers, by name. */
  static async open(
    stateFolder: string,
    formats: ReadonlyMap<string, PayloadFormat>,
    options: JournalOptions = {},
  ): Promise<LeaseJournal> {
    const folder = join(stateFolder, 'leases')
    await makeFolder(folder, 0o700)
    for (const name of await readdir(folder)) {
      if (name.endsWith('.tmp')) await rm(join(folder, name), { force: true })
    }
    return new LeaseJournal(folder, formats, options)
  }

  /** Makes the entry durable, in place of an older one with its id. */
  async write(entry: JournalEntry): Promise<void> {
    const format = this.#formats.get(entry.machine.driver)
    if (format === undefined) throw new Error(`there is no driver "${entry.machine.driver}"`)
    const head = v.parse(headSchema, entry)
    const payload = v.parse(format.schema, entry.payload)
    const tagged = { version: HEAD_VERSION, ...head, payloadVersion: format.version, payload }
    const bytes = Buffer.from(JSON.stringify(tagged))
    if (bytes.length > JOURNAL_ENTRY_BYTES_MAX) {
      throw new VarveError(
        'DISK_UNSUPPORTED',
        `a lease of this machine needs a journal entry over ${JOURNAL_ENTRY_BYTES_MAX} bytes`,
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

  /** Every entry of a known driver; what cannot be read is moved aside and reported to `onDamaged`. */
  async list(): Promise<readonly JournalEntry[]> {
    return (await this.#readAll()).entries
  }

  /** The entries that are not understood. */
  async listUnknown(): Promise<readonly UnknownEntry[]> {
    return (await this.#readAll()).unknown
  }

  /** LEASE_HELD for a machine with an unknown entry: only that entry tells what its lease made there. */
  async refuseUnknown({ name, address }: JournalEntry['machine']): Promise<void> {
    const unknown = await this.listUnknown()
    const entry = unknown.find(({ machine }) => machine.name === name || machine.address === address)
    if (entry === undefined) return
    throw new VarveError(
      'LEASE_HELD',
      `machine ${name} has a lease of another version of the agent: ${wayOut(entry)}`,
      {
        details: { machine: name, lease: entry.id },
      },
    )
  }

  /** Leases whose checkpoints other leases than this one need: nothing may remove them. */
  async keptCheckpoints(leaseId: string): Promise<ReadonlySet<string>> {
    const { entries, unknown } = await this.#readAll()
    const others = entries.filter(({ id: other }) => other !== leaseId)
    return new Set([
      ...others.flatMap(({ id: other, baseLease }) => (baseLease === null ? [other] : [other, baseLease])),
      ...unknown.map(({ id: other }) => other),
    ])
  }

  async #readAll(): Promise<Journalled> {
    const entries: JournalEntry[] = []
    const unknown: UnknownEntry[] = []
    for (const name of (await readdir(this.folder)).toSorted()) {
      if (!name.endsWith('.json')) continue
      const path = join(this.folder, name)
      try {
        const entry = await this.#read(path, name)
        if ('payload' in entry) entries.push(entry)
        else unknown.push(entry)
      } catch (cause) {
        // removed since the folder was read: another lease has just ended
        if (hasCode(cause, 'ENOENT')) continue
        const movedTo = `${path}.damaged-${Date.now()}`
        try {
          await rename(path, movedTo)
        } catch (error) {
          // another look at the same time has moved it, and said so
          if (hasCode(error, 'ENOENT')) continue
          throw error
        }
        this.#options.onDamaged?.(path, movedTo, cause)
      }
    }
    for (const entry of unknown) {
      if (!this.#told.has(entry.id)) this.#options.onUnknown?.(entry)
      this.#told.add(entry.id)
    }
    return { entries, unknown }
  }

  async #read(file: string, name: string): Promise<JournalEntry | UnknownEntry> {
    const { size } = await stat(file)
    if (size > JOURNAL_ENTRY_BYTES_MAX) throw new Error(`the entry has ${size} bytes`)
    const value = this.#today(JSON.parse(await readFile(file, 'utf8')))
    const { id: own, machine, payloadVersion } = v.parse(tagSchema, value)
    if (`${own}.json` !== name) throw new Error('the entry is of another lease')
    const format = this.#formats.get(machine.driver)
    const convert =
      format?.version === payloadVersion ? (payload: unknown) => payload : format?.earlier?.get(payloadVersion)
    if (format === undefined || convert === undefined) return { id: own, machine, file }
    const { payload } = v.parse(v.object({ payload: v.unknown() }), value)
    return { ...v.parse(headSchema, value), payload: v.parse(format.schema, convert(payload)) }
  }

  /** An entry as the current version writes it. */
  #today(value: unknown): unknown {
    if (!v.is(v.object({ version: v.literal(1) }), value)) return value
    const format = [...this.#formats.values()].find(({ fromVersion1 }) => fromVersion1 !== undefined)
    return format?.fromVersion1?.(value)
  }

  #path(leaseId: string): string {
    checkLeaseId(leaseId)
    return join(this.folder, `${leaseId}.json`)
  }
}
