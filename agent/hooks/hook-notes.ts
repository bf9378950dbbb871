// Notes of hooks whose command after the instant is still owed: written before the one before it is started.
import { readFile, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { layFile, syncFolder } from '../../protocol/host/durable.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { makeFolder } from '../make-folder.ts'
import { processMarkSchema } from '../process-mark.ts'
import { HOOK_LIMIT_MAX_S, WORDS_MAX } from './settings.ts'

/** Largest note, in bytes: as many words as a command may have. */
const NOTE_BYTES_MAX = 512 * 1024

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

const hookSchema = v.object({
  words: v.pipe(v.array(v.string()), v.minLength(1), v.maxLength(WORDS_MAX), v.readonly()),
  limitMs: v.pipe(v.number(), v.minValue(1), v.maxValue(HOOK_LIMIT_MAX_S * 1000)),
})

export const hookNoteSchema = v.object({
  version: v.literal(1),
  id: v.pipe(v.string(), v.uuid()),
  machine: text,
  lease: text,
  after: hookSchema,
  /** The process that runs it. */
  runner: v.nullable(processMarkSchema),
})
export type HookNote = Readonly<v.InferOutput<typeof hookNoteSchema>>

/** The folder `hooks` of an agent's state folder: one file for each lease whose hook is under way. */
export class HookNotes {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  static in(stateFolder: string): HookNotes {
    return new HookNotes(join(stateFolder, 'hooks'))
  }

  async write(note: HookNote): Promise<void> {
    await makeFolder(this.folder, 0o700)
    await layFile(join(this.folder, `${note.id}.json`), JSON.stringify(note))
  }

  async remove(id: string): Promise<void> {
    await rm(join(this.folder, `${id}.json`), { force: true })
    await syncFolder(this.folder)
  }

  /** What cannot be read is passed over: nothing tells what its command was. */
  async list(): Promise<HookNote[]> {
    const notes: HookNote[] = []
    for (const name of await this.#names()) {
      const path = join(this.folder, name)
      try {
        if ((await stat(path)).size > NOTE_BYTES_MAX) continue
        const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), hookNoteSchema), await readFile(path, 'utf8'))
        if (checked.success && `${checked.output.id}.json` === name) notes.push(checked.output)
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error
      }
    }
    return notes
  }

  async #names(): Promise<readonly string[]> {
    try {
      return (await readdir(this.folder)).filter((name) => name.endsWith('.json')).toSorted()
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENOTDIR')) return []
      throw error
    }
  }
}
