// What is known of a machine's targets: what each has read last, and the lease that one holds. One file for each machine.
import { readFile, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { TARGETS_MAX } from '../../protocol/leases.ts'
import * as s from '../../protocol/schemas.ts'
import { layFile, syncFolder } from '../../protocol/host/durable.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { makeFolder } from '../make-folder.ts'

/** Largest file, in bytes. */
const FILE_BYTES_MAX = 16 * 1024 * 1024

const SUFFIX = '.json'

const targetSchema = v.object({
  target: s.name,
  /** The last success, in the order of its bitmaps' numbers; null for none. */
  base: v.nullable(
    v.object({
      lease: s.uuid,
      timeMs: s.timeMs,
      disks: s.disks(v.object({ name: s.diskName, size: s.diskBytes, evidence: v.string() })),
    }),
  ),
  /** Written before a lease begins. */
  held: v.nullable(v.object({ lease: s.uuid, expiresMs: s.timeMs })),
})
export type TargetNote = Readonly<v.InferOutput<typeof targetSchema>>

const fileSchema = v.object({
  version: v.literal(1),
  targets: v.pipe(v.array(targetSchema), v.maxLength(TARGETS_MAX)),
})

/** The folder `targets` of an agent's state folder. */
export class TargetNotes {
  readonly folder: string
  /** One change after the other. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(stateFolder: string) {
    this.folder = join(stateFolder, 'targets')
  }

  /** The machines with targets. */
  async machines(): Promise<readonly string[]> {
    try {
      const names = await readdir(this.folder)
      return names.filter((name) => name.endsWith(SUFFIX)).map((name) => name.slice(0, -SUFFIX.length))
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return []
      throw error
    }
  }

  /** Of a file that cannot be read nothing is known: each target's next lease reads all. */
  async of(machine: string): Promise<readonly TargetNote[]> {
    const path = this.#path(machine)
    try {
      if ((await stat(path)).size > FILE_BYTES_MAX) return []
      const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), fileSchema), await readFile(path, 'utf8'))
      return checked.success ? checked.output.targets : []
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return []
      throw error
    }
  }

  /** Changes durably what is known of a target: null before it is known, and once it is forgotten. */
  change(machine: string, target: string, change: (note: TargetNote | null) => TargetNote | null): Promise<void> {
    const changed = this.#turn.then(() => this.#change(machine, target, change))
    this.#turn = changed.catch(() => undefined)
    return changed
  }

  async #change(
    machine: string,
    target: string,
    change: (note: TargetNote | null) => TargetNote | null,
  ): Promise<void> {
    const before = await this.of(machine)
    const known = before.find((one) => one.target === target) ?? null
    const note = change(known)
    if (note === known) return
    const others = before.filter((one) => one.target !== target)
    const targets = note === null ? others : [...others, note]
    if (targets.length === 0) {
      await rm(this.#path(machine), { force: true })
      await syncFolder(this.folder).catch(() => undefined)
      return
    }
    await makeFolder(this.folder, 0o700)
    await layFile(this.#path(machine), JSON.stringify({ version: 1, targets }))
  }

  #path(machine: string): string {
    return join(this.folder, `${machine}${SUFFIX}`)
  }
}
