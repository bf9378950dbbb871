// A logical volume that is made for a restored disk: under a temporary name until it is complete, and removed unless it is.
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { runTool, ToolError, type RunTool } from '../drivers/offline/tools.ts'
import { BlockDeviceTarget } from './raw-target.ts'
import type { RestoreNotes } from './restore-notes.ts'
import type { KnownMachine } from './target-guard.ts'
import type { Target } from './target.ts'

const PREFIX = 'lvm:'

/** A name as LVM takes it; no option can be meant by it. */
const NAME = /^[a-zA-Z0-9_.+][a-zA-Z0-9_.+-]{0,126}$/u

/** The size of a sector, in bytes. */
const SECTOR_BYTES = 512

export interface VolumeOptions {
  readonly machines?: readonly KnownMachine[]
  readonly notes?: RestoreNotes
  /** Where volumes are found by group and name. */
  readonly devices?: string
  readonly run?: RunTool
}

export const isVolume = (text: string): boolean => text.startsWith(PREFIX)

interface Names {
  readonly group: string
  readonly name: string
}

const parse = (text: string): Names => {
  const [group = '', name = '', ...rest] = text.slice(PREFIX.length).split('/')
  if (rest.length > 0 || !NAME.test(group) || !NAME.test(name))
    throw new VarveError('TARGET_INVALID', `${text}: a volume is named lvm:GROUP/NAME`)
  return { group, name }
}

const said = (what: string, error: unknown): VarveError => {
  if (!(error instanceof ToolError) || error.code === 'TOOL_MISSING') return error as VarveError
  return new VarveError('TARGET_INVALID', `cannot ${what}: ${error.said}`, { cause: error })
}

/** Whether a group has a volume of this name; TARGET_INVALID where there is no such group. */
const exists = async (run: RunTool, { group, name }: Names): Promise<boolean> => {
  try {
    const listed = await run('lvs', ['--noheadings', '-o', 'lv_name', group])
    return listed.split('\n').some((line) => line.trim() === name)
  } catch (error) {
    throw said(`look at the volume group ${group}`, error)
  }
}

export class VolumeTarget implements Target {
  readonly #names: Names
  readonly #temporary: string
  readonly #run: RunTool
  readonly #device: BlockDeviceTarget
  readonly #resources: AsyncDisposableStack
  #published = false

  private constructor(parts: {
    names: Names
    temporary: string
    run: RunTool
    device: BlockDeviceTarget
    resources: AsyncDisposableStack
  }) {
    this.#names = parts.names
    this.#temporary = parts.temporary
    this.#run = parts.run
    this.#device = parts.device
    this.#resources = parts.resources
  }

  /** TARGET_EXISTS where the volume is there; TARGET_INVALID with what LVM says; TOOL_MISSING. */
  static async make(text: string, size: number, options: VolumeOptions): Promise<VolumeTarget> {
    const { machines = [], notes, devices = '/dev', run = runTool } = options
    const names = parse(text)
    const { group, name } = names
    if (await exists(run, names))
      throw new VarveError('TARGET_EXISTS', `the volume ${group}/${name} exists: --onto ${devices}/${group}/${name}`)
    const temporary = `varve-restore-${randomBytes(8).toString('hex')}`
    const volume = `${group}/${temporary}`
    await using resources = new AsyncDisposableStack()
    const note = await notes?.begin(text, null, { volume })
    if (note !== undefined) resources.use(note)
    const bytes = Math.max(1, Math.ceil(size / SECTOR_BYTES)) * SECTOR_BYTES
    try {
      // signatures of what was there before would be asked about
      const how = ['--yes', '--wipesignatures', 'n', '--name', temporary, '--size', `${bytes}b`]
      await run('lvcreate', [...how, group])
    } catch (error) {
      throw said(`make the volume ${group}/${name}`, error)
    }
    let made: VolumeTarget | null = null
    resources.defer(async () => {
      if (made?.published !== true) await run('lvremove', ['--yes', volume])
    })
    const device = resources.use(await BlockDeviceTarget.open(path.join(devices, group, temporary), size, { machines }))
    made = new VolumeTarget({ names, temporary, run, device, resources: resources.move() })
    return made
  }

  get published(): boolean {
    return this.#published
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#device.write(offset, bytes)
  }

  zero(offset: number, length: number): Promise<void> {
    return this.#device.zero(offset, length)
  }

  /** Also zeroes what a volume is larger by than the disk: it may hold what another volume has left. */
  async seal(): Promise<void> {
    await this.#device.zeroRest()
    await this.#device.seal()
  }

  async check(): Promise<void> {
    const { group, name } = this.#names
    if (await exists(this.#run, this.#names))
      throw new VarveError('TARGET_EXISTS', `the volume ${group}/${name} was made by somebody meanwhile`)
  }

  async publish(): Promise<readonly string[]> {
    const { group, name } = this.#names
    try {
      await this.#run('lvrename', [group, this.#temporary, name])
    } catch (error) {
      throw said(`give the volume ${group}/${name} its name`, error)
    }
    this.#published = true
    return []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}
