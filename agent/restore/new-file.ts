// A file that is written under a temporary name in the same folder and renamed when it is complete.
import { randomBytes } from 'node:crypto'
import { link, lstat, open, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { syncFolder } from '../../protocol/host/durable.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { keepAttributes, otherNames } from './attributes.ts'
import type { RestoreNotes } from './restore-notes.ts'
import { sameContent } from './same-content.ts'
import { targetError } from './target-error.ts'
import { checkUnused, guardTarget, type KnownMachine, type TargetGuard } from './target-guard.ts'

/** Errors of link(2) on a file system without hard links, such as FAT. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'])

/** How a file takes its name. */
export interface Naming {
  /** Replaces what has the name. */
  readonly force: boolean
  /** To name the machine of a QEMU that uses what would be replaced. */
  readonly machines?: readonly KnownMachine[]
  /** Kept while the file has its temporary name, so that a killed restore's is found. */
  readonly notes?: RestoreNotes
  /** Goes on with the file that an earlier restore left under a name of its own, and leaves it for a later one. */
  readonly resume?: boolean
  /** A file of the same content that has the name already counts as this one. */
  readonly again?: boolean
}

/** Takes an unused name; false where the file system has no hard links. */
const linkNew = async (temporary: string, final: string): Promise<boolean> => {
  try {
    await link(temporary, final)
    return true
  } catch (error) {
    if (NO_LINKS.has((error as NodeJS.ErrnoException).code)) return false
    throw error
  }
}

/** A temporary name in the same folder, so that the rename stays on one file system; always short. */
export const temporaryName = (final: string): string =>
  path.join(path.dirname(final), `.varve-restore-${randomBytes(8).toString('hex')}`)

/** The name of a file that a later restore may go on with. */
export const partialName = (final: string): string => `${final}.partial`

const exists = async (file: string): Promise<boolean> => {
  try {
    await stat(file)
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
}

/** Whether an earlier restore's file is there, and nobody else's. TARGET_INVALID, TARGET_IN_USE. */
const takePartial = async (partial: string, machines: readonly KnownMachine[]): Promise<boolean> => {
  if (!(await exists(partial))) return false
  const found = await lstat(partial)
  if (!found.isFile() || found.uid !== process.geteuid?.() || found.nlink !== 1)
    throw new VarveError(
      'TARGET_INVALID',
      `${partial} is not the file of a restore that was broken off (it is a link, has other names or another owner): look at it, and remove it`,
    )
  await checkUnused(partial, machines, new AbortController().signal)
  return true
}

export class NewFile implements AsyncDisposable {
  readonly temporary: string
  readonly final: string
  /** The file was there already, from an earlier restore. */
  readonly isKept: boolean
  readonly #naming: Naming
  #guard: TargetGuard | null
  readonly #note: AsyncDisposable | null
  #published = false

  private constructor(parts: {
    final: string
    temporary: string
    isKept: boolean
    naming: Naming
    guard: TargetGuard | null
    note: AsyncDisposable | null
  }) {
    this.final = parts.final
    this.temporary = parts.temporary
    this.isKept = parts.isKept
    this.#naming = parts.naming
    this.#guard = parts.guard
    this.#note = parts.note
  }

  /**
   * Makes the empty file, accessible only to its owner, or takes the one to go on with; what it will replace is locked until
   * the end. TARGET_INVALID, and TARGET_IN_USE where what is replaced or gone on with is in use.
   */
  static async make(final: string, naming: Naming): Promise<NewFile> {
    await using resources = new AsyncDisposableStack()
    try {
      const { resume = false, machines = [] } = naming
      const temporary = resume ? partialName(final) : temporaryName(final)
      const replaces = naming.force && (await exists(final))
      const guard = replaces ? resources.use(await guardTarget(final, machines)) : null
      const isKept = resume && (await takePartial(temporary, machines))
      const note = resume ? null : resources.use((await naming.notes?.begin(final, temporary)) ?? null)
      if (!isKept) await (await open(temporary, 'wx', 0o600)).close()
      const file = new NewFile({ final, temporary, isKept, naming, guard, note })
      resources.move()
      return file
    } catch (error) {
      if (hasCode(error, 'ENOENT') && (await exists(path.dirname(final))))
        throw new VarveError('TARGET_INVALID', `cannot write ${final}: its file system does not accept files (ENOENT)`)
      throw targetError(`cannot write ${final}`, error)
    }
  }

  /**
   * Looks whether the name may be taken now: it is free, or with `force` nobody uses what has it, which stays locked.
   * TARGET_EXISTS, TARGET_IN_USE, TARGET_INVALID.
   */
  async check(): Promise<void> {
    try {
      const there = await exists(this.final)
      if (there && !this.#naming.force && !(await this.#isThere())) throw this.#taken()
      // what appeared since the restore began may be in use too
      if (there && this.#naming.force) this.#guard ??= await guardTarget(this.final, this.#naming.machines ?? [])
      await this.#guard?.check()
    } catch (error) {
      throw targetError(`cannot give ${this.final} its name`, error)
    }
  }

  /**
   * After `check`: gives the finished file its name; without `force` an existing one is never replaced, even one made meanwhile.
   * Returns sentences about what is not as it was before. TARGET_EXISTS, TARGET_IN_USE, TARGET_INVALID.
   */
  async publish(): Promise<string[]> {
    try {
      const remarks = this.#naming.force ? await this.#replace() : await this.#take()
      this.#published = true
      await syncFolder(path.dirname(this.final))
      return remarks
    } catch (error) {
      if (hasCode(error, 'EEXIST')) throw this.#taken()
      throw targetError(`cannot give ${this.final} its name`, error)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#published && this.#naming.resume !== true) await rm(this.temporary, { force: true })
    await this.#note?.[Symbol.asyncDispose]()
    await this.#guard?.[Symbol.asyncDispose]()
  }

  #taken(): VarveError {
    return new VarveError('TARGET_EXISTS', `${this.final} exists; --force replaces it`)
  }

  /** Whether what has the name is what an earlier restore gave it to. */
  async #isThere(): Promise<boolean> {
    return this.#naming.again === true && (await sameContent(this.final, this.temporary))
  }

  async #take(): Promise<string[]> {
    if (await this.#isThere()) await rm(this.temporary)
    else if (await linkNew(this.temporary, this.final)) await rm(this.temporary)
    else {
      // without hard links the name is taken by an empty file first, so that here too nothing made meanwhile is lost
      await (await open(this.final, 'wx', 0o600)).close()
      await rename(this.temporary, this.final)
    }
    return []
  }

  async #replace(): Promise<string[]> {
    const there = await exists(this.final)
    // it may have come, or gone to another, since the last check
    if (there && this.#guard === null) throw this.#taken()
    await this.#guard?.same()
    const remarks = there ? [await otherNames(this.final), await keepAttributes(this.final, this.temporary)] : []
    await rename(this.temporary, this.final)
    return remarks.filter((remark) => remark !== null)
  }
}
