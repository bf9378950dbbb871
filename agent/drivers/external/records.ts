// What is known of the machines whose leases others hold: where the bitmaps of each disk began, and what was seen in them since.

import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { syncFolder } from '../../../protocol/host/durable.ts'
import { writeSecret } from '../../../protocol/host/secret-file.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'
import { diskBytes, diskName, name as machineName, timeMs, uuid } from '../../../protocol/schemas.ts'
import { processMarkSchema } from '../../process-mark.ts'

/** Ranges of one disk that are kept of a bitmap; of one with more nothing is proved after a failed backup. */
export const RANGES_MAX = 64 * 1024

const range = v.tuple([diskBytes, diskBytes])
const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

const diskSchema = v.object({
  name: diskName,
  size: diskBytes,
  bitmap: text,
  /** The restore point at whose instant the bitmap began. */
  point: text,
  /** Who had the bitmap; null where that could not be seen. */
  exporter: v.nullable(processMarkSchema),
  /** When the disk was read in full last. */
  fullMs: timeMs,
  /**
   * What the bitmap said in backups that came to nothing since, offset and length in bytes: all of it must still be changed. Null
   * where it was too much to keep.
   */
  seen: v.nullable(v.pipe(v.array(range), v.maxLength(RANGES_MAX))),
})
export type KnownDisk = Readonly<v.InferOutput<typeof diskSchema>>

const recordSchema = v.object({
  version: v.literal(1),
  machine: machineName,
  uuid: v.nullable(uuid),
  /** Who served its disks last: while that runs, the machine runs here. */
  exporter: v.nullable(processMarkSchema),
  disks: v.array(diskSchema),
})
export type MachineRecord = Readonly<v.InferOutput<typeof recordSchema>>

const ENDING = '.json'

/** The folder `external` of an agent's state folder, one file for each machine. */
export class Records {
  readonly #folder: string

  constructor(stateFolder: string) {
    this.#folder = path.join(stateFolder, 'external')
  }

  /** Names of the machines that were backed up this way. */
  async machines(): Promise<string[]> {
    try {
      const names = (await readdir(this.#folder)).filter((file) => file.endsWith(ENDING))
      return names.map((file) => file.slice(0, -ENDING.length)).filter((name) => v.is(machineName, name))
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return []
      throw error
    }
  }

  /** Nothing is known of one whose file cannot be understood: then nothing is proved. */
  async of(machine: string): Promise<MachineRecord> {
    try {
      const record = v.parse(recordSchema, JSON.parse(await readFile(this.#file(machine), 'utf8')))
      if (record.machine === machine) return record
    } catch {
      // as below
    }
    return { version: 1, machine, uuid: null, exporter: null, disks: [] }
  }

  /** Durable when this returns. */
  async write(record: MachineRecord): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    await writeSecret(this.#folder, `${record.machine}${ENDING}`, `${JSON.stringify(v.parse(recordSchema, record))}\n`)
  }

  async remove(machine: string): Promise<void> {
    await rm(this.#file(machine), { force: true })
    await syncFolder(this.#folder).catch(() => {})
  }

  #file(machine: string): string {
    return path.join(this.#folder, `${machine}${ENDING}`)
  }
}
