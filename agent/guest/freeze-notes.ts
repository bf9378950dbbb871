// Notes of freezes that are not undone: written before a guest is asked to freeze, removed when it reports that it is
// thawed. They depend on nothing else that the agent keeps, so no other loss or damage can lose them.

import { createHash } from 'node:crypto'
import { readFile, readdir, realpath, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { syncFolder, writeNew, layFile } from '../../protocol/host/durable.ts'
import { processMarkSchema } from '../process-mark.ts'
import { makeFolder } from '../make-folder.ts'
import { isLibvirtGuest } from './libvirt-guest.ts'
import { monitorOfPaused } from './paused-machine.ts'

/** Largest note, in bytes. */
const NOTE_BYTES_MAX = 16 * 1024

/** Longest path of a unix socket, in bytes. */
const SOCKET_PATH_BYTES_MAX = 107

/** Longest address of a guest that a file name can hold, in bytes: 187 of them take 250 characters there. */
const NAMED_BYTES_MAX = 184

const SUFFIX = '.json'

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

export const freezeNoteSchema = v.object({
  version: v.literal(1),
  id: text,
  /** The guest agent's socket, a libvirt domain's address or that of a stopped machine, by which the guest is thawed. */
  guestAgent: text,
  /** The machine's name and QMP socket, and the lease that the freeze was for; empty where they are not known. */
  machine: v.string(),
  qmp: v.string(),
  lease: v.string(),
  /** The process that froze the guest or took over its thaw; null where it is not known. */
  freezer: v.nullable(processMarkSchema),
  sinceMs: v.number(),
})

/** One freeze that is not known to be undone. */
export type FreezeNote = Readonly<v.InferOutput<typeof freezeNoteSchema>>

/** The file of a guest's note. The name alone says which guest it is, should the content be damaged. */
const fileNameOf = async (guestAgent: string): Promise<string> => {
  // one socket may be configured by two names
  const path = await realpath(guestAgent).catch(() => guestAgent)
  if (Buffer.byteLength(path) > NAMED_BYTES_MAX) return `${createHash('sha256').update(path).digest('hex')}${SUFFIX}`
  return `${Buffer.from(path).toString('base64url')}${SUFFIX}`
}

const guestOf = (fileName: string): string | null => {
  const path = Buffer.from(fileName.slice(0, -SUFFIX.length), 'base64url').toString('utf8')
  const where = monitorOfPaused(path) ?? path
  if (isLibvirtGuest(where)) return path
  return where.startsWith('/') && Buffer.byteLength(where) <= SOCKET_PATH_BYTES_MAX ? path : null
}

/** What is known of a freeze whose note cannot be read: the guest. */
const damagedNote = (fileName: string, guestAgent: string): FreezeNote => ({
  version: 1,
  id: fileName,
  guestAgent,
  machine: '',
  qmp: '',
  lease: '',
  freezer: null,
  sinceMs: 0,
})

/** The folder `freezes` of an agent's state folder: one file for each guest. */
export class FreezeNotes {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  static in(stateFolder: string): FreezeNotes {
    return new FreezeNotes(join(stateFolder, 'freezes'))
  }

  /** Makes a note durable. GUEST_AGENT_ERROR when an earlier freeze of the guest is not undone, or nothing can be written. */
  async create(note: FreezeNote): Promise<void> {
    const path = join(this.folder, await fileNameOf(note.guestAgent))
    try {
      await this.#makeFolder()
      await writeNew(path, JSON.stringify(note))
      await syncFolder(this.folder)
    } catch (cause) {
      if (hasCode(cause, 'EEXIST') && (await this.#read(basename(path))) !== null) {
        throw new VarveError(
          'GUEST_AGENT_ERROR',
          'an earlier freeze of the guest is not undone yet: the agent keeps trying',
          { cause },
        )
      }
      // nothing was frozen: a partial note must not look like a freeze
      await rm(path, { force: true }).catch(() => undefined)
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new VarveError(
        'GUEST_AGENT_ERROR',
        `the guest is not frozen, because the freeze could not be noted in ${this.folder}: ${why}`,
        { cause },
      )
    }
  }

  /** Records in a note which process thaws the guest from now on. */
  async replace(note: FreezeNote): Promise<void> {
    const name = await this.#nameOf(note)
    if (name === null) return
    await layFile(join(this.folder, name), JSON.stringify(note))
  }

  /** Removes a note, unless it is of another freeze by now. */
  async remove(note: FreezeNote): Promise<void> {
    const name = await this.#nameOf(note)
    if (name === null) return
    await rm(join(this.folder, name), { force: true })
    await syncFolder(this.folder)
  }

  /** Whether the freeze is not undone yet; true also where that is unknown, as the folder is gone. */
  async holds(note: FreezeNote): Promise<boolean> {
    try {
      await stat(this.folder)
      return (await this.#nameOf(note)) !== null
    } catch {
      return true
    }
  }

  /** The note of a guest, by its agent's socket; null when no freeze of it is left. */
  async of(guestAgent: string): Promise<FreezeNote | null> {
    const named = await this.#read(await fileNameOf(guestAgent))
    return named ?? (await this.list()).find((note) => note.guestAgent === guestAgent) ?? null
  }

  async list(): Promise<readonly FreezeNote[]> {
    const notes: FreezeNote[] = []
    for (const name of await this.#names()) {
      const note = await this.#read(name)
      if (note !== null) notes.push(note)
    }
    return notes
  }

  async #names(): Promise<readonly string[]> {
    try {
      return (await readdir(this.folder)).filter((name) => name.endsWith(SUFFIX)).toSorted()
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENOTDIR')) return []
      throw error
    }
  }

  /** The file that holds a note, found by its id: a socket's path may have changed since. */
  async #nameOf({ id }: FreezeNote): Promise<string | null> {
    for (const name of await this.#names()) if ((await this.#read(name))?.id === id) return name
    return null
  }

  async #read(name: string): Promise<FreezeNote | null> {
    const path = join(this.folder, name)
    let content: string
    try {
      const { size } = await stat(path)
      content = size > NOTE_BYTES_MAX ? '' : await readFile(path, 'utf8')
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null
      content = ''
    }
    const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), freezeNoteSchema), content)
    if (checked.success) return checked.output
    const guestAgent = guestOf(name)
    return guestAgent === null ? null : damagedNote(name, guestAgent)
  }

  async #makeFolder(): Promise<void> {
    const [first] = await makeFolder(this.folder, 0o700)
    if (first !== undefined) await syncFolder(dirname(first))
  }
}
