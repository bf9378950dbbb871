// Notes of restores under way, in the state folder, by which the remains of a killed one are removed or reported.
import { randomUUID } from 'node:crypto'
import { lstat, readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { syncFolder, writeNew } from '../../protocol/host/durable.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { markProcess, processMarkSchema, processState } from '../process-mark.ts'
import { runTool, ToolError } from '../drivers/offline/tools.ts'
import { makeFolder } from '../make-folder.ts'

/** Largest note that is read, in bytes. */
const NOTE_BYTES_MAX = 64 * 1024

const FOLDER = 'restores'
const NOTE = /^[0-9a-f-]{36}\.json$/u

/** The names of files that restores make; nothing else is ever removed. */
export const TEMPORARY_NAME = /^\.varve-restore-[0-9a-f]{16}$/u

/** The name of a file while it is written in place, so that nothing takes it for whole. */
export const incompleteName = (file: string): string => `${file}.varve-incomplete`

/** Logical volumes that restores make, by their groups. */
const TEMPORARY_VOLUME = /^[a-zA-Z0-9_.+][a-zA-Z0-9_.+-]{0,126}\/varve-restore-[0-9a-f]{16}$/u

const text = v.pipe(v.string(), v.maxLength(8192))

const noteSchema = v.object({
  target: text,
  /** The file beside the target, null where a device is written in place. */
  temporary: v.nullable(
    v.pipe(
      text,
      v.check((file) => path.isAbsolute(file) && TEMPORARY_NAME.test(path.basename(file))),
    ),
  ),
  /** Whether it was written in place, and held something before. */
  onto: v.optional(v.boolean(), false),
  /** The logical volume that was made for it, null for none. */
  volume: v.optional(v.nullable(v.pipe(text, v.regex(TEMPORARY_VOLUME))), null),
  writer: processMarkSchema,
})
type Note = v.InferOutput<typeof noteSchema>

export class RestoreNotes {
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  static in(stateFolder: string): RestoreNotes {
    return new RestoreNotes(path.join(stateFolder, FOLDER))
  }

  /** Notes a restore durably before it makes anything; disposed once nothing is left. A failed note does not stop the restore. */
  async begin(
    target: string,
    temporary: string | null,
    { onto = false, volume = null }: { readonly onto?: boolean; readonly volume?: string | null } = {},
  ): Promise<AsyncDisposable> {
    const writer = markProcess()
    const file = path.join(this.#folder, `${randomUUID()}.json`)
    try {
      await makeFolder(this.#folder, 0o700)
      await writeNew(file, `${JSON.stringify({ target, temporary, onto, volume, writer })}\n`)
      await syncFolder(this.#folder)
    } catch {
      await rm(file, { force: true }).catch(() => undefined)
    }
    return { [Symbol.asyncDispose]: () => rm(file, { force: true }).catch(() => undefined) }
  }

  /** Removes what killed restores left, and returns a sentence for each; what cannot be removed now stays noted. */
  async settle(): Promise<string[]> {
    const sentences: string[] = []
    for (const name of await readdir(this.#folder).catch(() => [])) {
      if (!NOTE.test(name)) continue
      const file = path.join(this.#folder, name)
      const note = await this.#read(file)
      // one being written now, or by an unknown program
      if (note === null || processState(note.writer) !== 'gone') continue
      const { sentence, done } = await clear(note)
      if (sentence !== null) sentences.push(sentence)
      if (done) await rm(file, { force: true }).catch(() => undefined)
    }
    return sentences
  }

  /** A target is whole now: what was noted of earlier restores onto it holds no more. */
  async completed(target: string): Promise<void> {
    for (const name of await readdir(this.#folder).catch(() => [])) {
      if (!NOTE.test(name)) continue
      const file = path.join(this.#folder, name)
      const note = await this.#read(file)
      if (note?.onto === true && note.target === target) await rm(file, { force: true }).catch(() => undefined)
    }
  }

  /** Whether a restore onto a target is noted that has not written it whole. */
  async isCutOff(target: string): Promise<boolean> {
    for (const name of await readdir(this.#folder).catch(() => [])) {
      if (!NOTE.test(name)) continue
      const note = await this.#read(path.join(this.#folder, name))
      if (note?.onto === true && note.target === target) return true
    }
    return false
  }

  async #read(file: string): Promise<Note | null> {
    try {
      if ((await stat(file)).size > NOTE_BYTES_MAX) return null
      return v.parse(noteSchema, JSON.parse(await readFile(file, 'utf8')))
    } catch {
      return null
    }
  }
}

interface Cleared {
  readonly sentence: string | null
  /** Nothing is left to be cleared. */
  readonly done: boolean
}

const removeVolume = async (target: string, volume: string): Promise<Cleared> => {
  try {
    await runTool('lvremove', ['--yes', volume])
    return { sentence: `removed the volume ${volume}, left by a killed restore to ${target}`, done: true }
  } catch (error) {
    if (error instanceof ToolError && /failed to find/iu.test(error.said)) return { sentence: null, done: true }
    const { message } = error as Error
    const sentence = `cannot remove the volume ${volume}, left by a killed restore to ${target}: ${message}`
    return { sentence, done: false }
  }
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  )

/** A file has another name as long as it is incomplete; of a device this is told until it is written whole. */
const tellOnto = async (target: string): Promise<Cleared> => {
  const incomplete = incompleteName(target)
  const isFile = await exists(incomplete)
  if (!isFile && !(await exists(target))) return { sentence: null, done: true }
  const what = isFile ? `what is there, as ${incomplete},` : 'what is there'
  const sentence = `a restore onto ${target} was cut off: ${what} is neither what it was nor a restore point: run it again, which completes it`
  return { sentence, done: isFile }
}

const clear = async ({ target, temporary, onto, volume }: Note): Promise<Cleared> => {
  if (volume !== null) return await removeVolume(target, volume)
  if (onto) return await tellOnto(target)
  if (temporary === null) {
    const sentence = `a restore to ${target} was killed: the device holds only part of the disk; restore it again`
    return { sentence, done: true }
  }
  try {
    const { size, blocks } = await lstat(temporary)
    await rm(temporary)
    const sentence = `removed ${temporary} (${blocks * 512} of ${size} bytes written), left by a killed restore to ${target}`
    return { sentence, done: true }
  } catch (error) {
    const { message } = error as Error
    if (!hasCode(error, 'ENOENT', 'ENOTDIR'))
      return {
        sentence: `cannot remove ${temporary}, left by a killed restore to ${target}: ${message}`,
        done: false,
      }
  }
  if (await exists(path.dirname(temporary))) return { sentence: null, done: true }
  const sentence = `a killed restore to ${target} may have left ${temporary}, whose folder is missing now: remove the file when the folder is back`
  return { sentence, done: true }
}
