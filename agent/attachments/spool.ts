// Keeps what was gathered for a backup until it is uploaded: the point has the files of its instant, also after a restart.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { announcedAttachment, attachments, missingAttachments } from '../../protocol/attachments.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import type { AttachmentSource } from './source.ts'
import { gather } from './gather.ts'

/** Name of the list; it is there once all files are. */
const LIST = 'list.json'

const listSchema = v.object({ files: attachments(announcedAttachment), missing: missingAttachments })

/** A file that goes with a point; `size` is bytes, `path` where its bytes are. */
export interface SpooledFile {
  readonly name: string
  readonly size: number
  readonly path: string
}

/** What goes with a point, and what should and could not be had. */
export interface Attached {
  readonly files: readonly SpooledFile[]
  readonly missing: v.InferOutput<typeof missingAttachments>
}

export const NOTHING_ATTACHED: Attached = { files: [], missing: [] }

export class AttachmentSpool {
  readonly #folder: string

  /** In a state folder. */
  constructor(stateFolder: string) {
    this.#folder = join(stateFolder, 'attachments')
  }

  /** What was gathered for a job, or is now. Rejects with the file system's errors. */
  async of(
    job: string,
    sources: () => Promise<readonly AttachmentSource[]>,
    disks: readonly string[],
  ): Promise<Attached> {
    const kept = await this.#read(job)
    if (kept !== null) return kept
    const folder = join(this.#folder, job)
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const files: SpooledFile[] = []
    const missing = await gather(await sources(), new Set(disks), async (name, bytes) => {
      const path = join(folder, String(files.length))
      await using file = await open(path, 'wx', 0o600)
      await file.writeFile(bytes)
      files.push({ name, size: bytes.length, path })
    })
    const list = { files: files.map(({ name, size }) => ({ name, size })), missing }
    await using file = await open(join(folder, `${LIST}.new`), 'wx', 0o600)
    await file.writeFile(JSON.stringify(list))
    await rename(join(folder, `${LIST}.new`), join(folder, LIST))
    return { files, missing }
  }

  /** Forgets a job. */
  async remove(job: string): Promise<void> {
    await rm(join(this.#folder, job), { recursive: true, force: true })
  }

  /** Forgets all jobs but these. */
  async sweep(jobs: ReadonlySet<string>): Promise<void> {
    let kept: string[]
    try {
      kept = await readdir(this.#folder)
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return
      throw error
    }
    for (const job of kept) if (!jobs.has(job)) await this.remove(job)
  }

  /** Null where it was not gathered whole. */
  async #read(job: string): Promise<Attached | null> {
    const folder = join(this.#folder, job)
    try {
      const { files, missing } = v.parse(listSchema, JSON.parse(await readFile(join(folder, LIST), 'utf8')))
      return { files: files.map((file, index) => ({ ...file, path: join(folder, String(index)) })), missing }
    } catch {
      return null
    }
  }
}
