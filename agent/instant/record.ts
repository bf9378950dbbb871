// What is known of a machine that runs from the gateway: a record in its folder, and a list of such folders in the state folder.
import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readdir, readFile, realpath, rm } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import { layFile, syncFolder } from '../../protocol/host/durable.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { makeFolder } from '../make-folder.ts'
import { SOCKET_PATH_BYTES_MAX } from '../socket-path.ts'

/** The folder beside the disks that is there until they stand alone. */
const PRIVATE = '.varve-instant'

const RECORD = 'record.json'

/** Largest record that is read, in bytes. */
const RECORD_BYTES_MAX = 4 * 1024 * 1024

/** Where the state folder lists the folders. */
const LIST = 'instants'
const LISTED = /^[0-9a-f-]{36}\.json$/u

/** Largest name of a file, in bytes. */
const NAME_BYTES_MAX = 255

const text = v.pipe(v.string(), v.maxLength(8192))
const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

const diskSchema = v.object({
  name: text,
  /** Bytes. */
  size: natural,
  /** Its image, which holds what the guest writes and what has been brought in. */
  file: text,
  /** Needs the gateway no more: all of it is durable in its image. */
  alone: v.boolean(),
  /** Bytes that guests have written, as far as QEMU has told. */
  writtenBytes: natural,
})

/** How the gateway is reached: by the configuration of this host's agent, or with a person's token. */
const waySchema = v.union([
  v.object({ config: text }),
  /** `state` is the folder in which the person's work is noted. */
  v.object({ gateway: text, tokenFile: text, ca: v.optional(text), state: text }),
])
export type InstantWay = Readonly<v.InferOutput<typeof waySchema>>

/** A domain of libvirt that is defined once its disks stand alone, and until then is gone whenever it ends. */
const domainSchema = v.object({
  uri: text,
  name: text,
  uuid: text,
  /** The user that QEMU runs as, who is given the socket of the export; null where it is the one who serves. */
  owner: v.nullable(v.object({ uid: natural, gid: natural })),
})
export type InstantDomain = Readonly<v.InferOutput<typeof domainSchema>>

const recordSchema = v.object({
  /** Also of its use of the restore point. */
  id: v.pipe(v.string(), v.uuid()),
  point: text,
  machine: text,
  /** The point's instant. */
  timeMs: natural,
  begunMs: natural,
  way: waySchema,
  /** Null for a machine of plain QEMU. */
  domain: v.nullable(domainSchema),
  disks: v.pipe(v.array(diskSchema), v.minLength(1)),
  /** Files and folders beside the disks that are the machine's. */
  files: v.array(text),
  /** How long reads wait for the gateway, or for the process that serves them, in milliseconds. */
  reconnectMs: natural,
  cacheBytes: natural,
  /** Bytes of each disk that are brought in per second at most; 0 for no limit. */
  speed: natural,
  /** A machine has been seen on the disks. */
  hasRun: v.boolean(),
  /** Until when the gateway keeps the point without another word, by its clock; null where it does not. */
  keptUntilMs: v.nullable(natural),
  /** Why the last process that served it ended by itself; null where it did not. */
  problem: v.nullable(text),
})

export type InstantDisk = Readonly<v.InferOutput<typeof diskSchema>>
export type InstantRecord = Readonly<v.InferOutput<typeof recordSchema>>

/** Where everything of one lies. */
export interface Places {
  /** The disks and the start script. */
  readonly folder: string
  readonly private: string
  readonly record: string
  /** Where the disks are read from. */
  readonly nbd: string
  /** The machine's monitor for the process that brings the disks in. */
  readonly qmp: string
  /** There while that process has stopped a guest for a moment. */
  readonly mark: string
  /** There once the machine was started: it may run and end between two looks of that process. */
  readonly ran: string
  /** Where that process is asked. */
  readonly control: string
  readonly script: string
  /** In place of the script: the definition of a domain of libvirt, as it is for good. */
  readonly domain: string
  /** Small files that the machine needs. */
  readonly attachments: string
  /** The machine's monitor for backups. */
  readonly ownQmp: string
  readonly pid: string
}

export const placesIn = (folder: string): Places => {
  const inside = path.join(folder, PRIVATE)
  return {
    folder,
    private: inside,
    record: path.join(inside, RECORD),
    nbd: path.join(inside, 'nbd'),
    qmp: path.join(inside, 'qmp'),
    mark: path.join(inside, 'stopped'),
    ran: path.join(inside, 'ran'),
    control: path.join(inside, 'control'),
    script: path.join(folder, 'start.sh'),
    domain: path.join(folder, 'domain.xml'),
    attachments: path.join(folder, 'attachments'),
    ownQmp: path.join(folder, 'qmp.sock'),
    pid: path.join(folder, 'qemu.pid'),
  }
}

/** TARGET_INVALID where the folder's path is too long for the sockets in it. */
export const checkLength = ({ folder, control }: Places): void => {
  if (Buffer.byteLength(control) > SOCKET_PATH_BYTES_MAX)
    throw new VarveError(
      'TARGET_INVALID',
      `${folder} is too long a path: sockets in it would have more than ${SOCKET_PATH_BYTES_MAX} bytes; name a shorter one`,
    )
}

/** The file of a disk: its name, with what no file's name may have, or what a shell would take amiss, escaped. */
export const imageNameOf = (disk: string): string => {
  const safe = encodeURIComponent(disk).replaceAll(/[^\w.%+-]|^\.|^-/gu, (one) =>
    Array.from(Buffer.from(one), (byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
  )
  const name = `${safe}.qcow2`
  if (Buffer.byteLength(name) > NAME_BYTES_MAX)
    throw new VarveError('TARGET_INVALID', `disk ${disk} has too long a name for a file: restore it with "restore"`)
  return name
}

export const newRecord = (of: Omit<InstantRecord, 'id' | 'hasRun' | 'keptUntilMs' | 'problem'>): InstantRecord => ({
  ...of,
  id: randomUUID(),
  hasRun: false,
  keptUntilMs: null,
  problem: null,
})

export const writeRecord = (places: Places, record: InstantRecord): Promise<void> =>
  layFile(places.record, `${JSON.stringify(record, null, 2)}\n`)

const contentOf = async (file: string): Promise<string | null> => {
  try {
    await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW)
    const { uid, size } = await handle.stat()
    // what it names is served, written and deleted
    if (uid !== process.geteuid?.())
      throw new VarveError('CONFIG_INVALID', `${file} is another user's: run this as that user`)
    return size > RECORD_BYTES_MAX ? '' : await handle.readFile('utf8')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null
    throw error
  }
}

/** Null where the folder has none; CONFIG_INVALID for a damaged one, or one of another user. */
export const findRecord = async ({ folder, record: file }: Places): Promise<InstantRecord | null> => {
  const content = await contentOf(file)
  if (content === null) return null
  const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), recordSchema), content)
  const files = checked.success ? [...checked.output.disks.map((disk) => disk.file), ...checked.output.files] : []
  if (checked.success && files.every((one) => path.dirname(one) === folder)) return checked.output
  throw new VarveError('CONFIG_INVALID', `${file} is damaged: the disks beside it are not complete without it`)
}

/** The folder as the system has it, with its record; NOT_FOUND where nothing runs from the gateway there. */
export const openRecord = async (named: string): Promise<{ places: Places; record: InstantRecord }> => {
  const places = placesIn(await realpath(named).catch(() => path.resolve(named)))
  const record = await findRecord(places)
  if (record !== null) return { places, record }
  throw new VarveError(
    'NOT_FOUND',
    `nothing in ${places.folder} runs from the gateway: its disks stand alone already, or it is another folder; "instant status" lists them`,
  )
}

/** The folders whose machines run from the gateway, in the state folder. */
export class InstantList {
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  static in(stateFolder: string): InstantList {
    return new InstantList(path.join(stateFolder, LIST))
  }

  async add(id: string, folder: string): Promise<void> {
    await makeFolder(this.#folder, 0o700)
    await layFile(this.#file(id), `${JSON.stringify({ folder })}\n`)
  }

  async remove(id: string): Promise<void> {
    await rm(this.#file(id), { force: true })
    await syncFolder(this.#folder).catch(() => undefined)
  }

  /** Those that are listed and have a record still. */
  async all(): Promise<Places[]> {
    const found: Places[] = []
    for (const name of await readdir(this.#folder).catch(() => [])) {
      if (!LISTED.test(name)) continue
      const read = await readFile(path.join(this.#folder, name), 'utf8').catch(() => '')
      const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), v.object({ folder: text })), read)
      if (!checked.success) continue
      const places = placesIn(checked.output.folder)
      const record = await findRecord(places).catch(() => undefined)
      if (record !== null) found.push(places)
    }
    return found.toSorted((a, b) => (a.folder < b.folder ? -1 : 1))
  }

  #file(id: string): string {
    return path.join(this.#folder, `${id}.json`)
  }
}
