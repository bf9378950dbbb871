// Which checkpoints of a domain this agent has: libvirt itself is not left with its notes of them.
//
// Other programs look through libvirt's list: virtnbdbackup refuses a domain with a checkpoint that is not its own, and libvirt
// refuses or asks for more where a domain has one. The bitmaps in the images are all that an increment needs, so between two
// backups the checkpoint is not in the list; the next one has libvirt note it again.

import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import { layFile } from '../../../protocol/host/durable.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'
import { makeFolder } from '../../make-folder.ts'

/** Most checkpoints of one domain that are noted. */
const NAMES_MAX = 4096

const namesSchema = v.pipe(v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(512))), v.maxLength(NAMES_MAX))

/** The folder `checkpoints` of a state folder: one file for each domain, by its uuid. */
export class CheckpointNotes {
  readonly #folder: string

  constructor(stateFolder: string) {
    this.#folder = join(stateFolder, 'checkpoints')
  }

  /**
   * Names of the checkpoints whose bitmaps the domain's images may have. A damaged file is none; one that is there and cannot be
   * read now is INTERNAL, as its names must not be overwritten.
   */
  async of(uuid: string): Promise<readonly string[]> {
    const text = await this.#read(uuid)
    try {
      return v.parse(namesSchema, JSON.parse(text))
    } catch {
      return []
    }
  }

  async add(uuid: string, name: string): Promise<void> {
    const names = await this.of(uuid)
    if (!names.includes(name)) await this.#write(uuid, [...names, name].slice(-NAMES_MAX))
  }

  async remove(uuid: string, name: string): Promise<void> {
    const names = await this.of(uuid)
    if (names.includes(name)) await this.#write(uuid, names.toSpliced(names.indexOf(name), 1))
  }

  /** Empty where there is no file. */
  async #read(uuid: string): Promise<string> {
    const file = this.#file(uuid)
    try {
      return await readFile(file, 'utf8')
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return ''
      const why = cause instanceof Error ? cause.message : String(cause)
      const sentence = `the notes of a domain's checkpoints, ${file}, cannot be read, and are kept as they are: ${why}; make them readable for the agent, or remove the file if it is lost`
      throw new VarveError('INTERNAL', sentence, { details: { file }, cause })
    }
  }

  async #write(uuid: string, names: readonly string[]): Promise<void> {
    if (names.length === 0) return await rm(this.#file(uuid), { force: true })
    await makeFolder(this.#folder, 0o700)
    await layFile(this.#file(uuid), JSON.stringify(names))
  }

  #file(uuid: string): string {
    return join(this.#folder, `${encodeURIComponent(uuid)}.json`)
  }
}
