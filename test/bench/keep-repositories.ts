// Equivalent repositories of Varve, restic and borg, and the times of the commands that keep them.
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { run } from '../rig/run.ts'
import { backupFigures, Site, type Host } from './fleet-site.ts'
import { benchImage } from './image.ts'
import { KeepCommands } from './keep-commands.ts'
import { borg, restic, UPKEEP, type Peer, type Upkeep } from './keep-peers.ts'
import { folderBytes } from './keep-size.ts'
import { writeVersion } from './keep-versions.ts'
import { measure, type Command, type Measurement, type Watched } from './measure.ts'
import { touchFreeMemory } from './memory.ts'
import type { ScenarioContext } from './scenario.ts'
import { DISK } from './stand.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30
const TENANT = 'bench'
const VARVE = 'Varve'

const COMMAND_TIMEOUT_MS = 15 * 60_000

export interface Extent {
  readonly imageBytes: number
  readonly diskBytes: number
  readonly versions: number
  readonly keep: number
}

export const FULL: Extent = { imageBytes: 2 * GIB, diskBytes: 2 * GIB, versions: 12, keep: 4 }
/** The beginning of a larger image. */
export const QUICK: Extent = { imageBytes: GIB, diskBytes: 128 * MIB, versions: 3, keep: 1 }

export type Operation = Upkeep | 'dryRun' | 'repairCheck'

export const OPERATIONS: { readonly [O in Operation]: string } = {
  ...UPKEEP,
  dryRun: 'what a collection would do (gc --dry-run)',
  repairCheck: 'packs against index and catalog (repair --check)',
}

export interface Sample extends Omit<Measurement, 'output'> {
  readonly program: string
  readonly operation: Operation
  readonly round: number
}

/** Length of a repository's files with all versions, and with those that were kept, in bytes. */
export interface Sizes {
  readonly program: string
  readonly before: number
  readonly after: number
}

/** The repositories of a run: each is made in the place where it is used later, and kept beside it between the rounds. */
export class Repositories {
  readonly samples: Sample[] = []
  readonly sizes: Sizes[] = []
  readonly #context: ScenarioContext
  readonly #extent: Extent
  readonly #used: string
  readonly #kept: string
  #peers: readonly Peer[] = []
  #round = 0

  constructor(context: ScenarioContext, extent: Extent) {
    this.#context = context
    this.#extent = extent
    this.#used = path.join(context.folder, 'used')
    this.#kept = path.join(context.folder, 'kept')
  }

  /** Backs every version up with every program; the newest one is restored and compared. */
  async build(): Promise<void> {
    const { cache, folder, signal } = this.#context
    const { imageBytes, diskBytes } = this.#extent
    const image = await benchImage(cache, imageBytes, signal)
    const raw = path.join(folder, 'disk.raw')
    await run('cp', ['--sparse=always', image.raw, raw], { timeoutMs: COMMAND_TIMEOUT_MS, signal })
    await run('truncate', ['-s', String(diskBytes), raw], { signal })
    const qcow2 = path.join(folder, 'disk.qcow2')
    await run('qemu-img', ['convert', '-q', '-f', 'raw', '-O', 'qcow2', raw, qcow2], {
      timeoutMs: COMMAND_TIMEOUT_MS,
      signal,
    })
    await mkdir(this.#used)
    await mkdir(this.#kept)
    this.#peers = [
      await restic(this.#home('restic')),
      await borg(this.#home('borg'), 'borg', 4 * MIB),
      await borg(this.#home('borg, 64 KiB'), 'borg, 64 KiB', 64 * 1024),
    ]
    for (const { init } of this.#peers) await this.#run(init)
    await this.#versions(raw, qcow2)
    for (const name of await readdir(this.#used)) await rename(path.join(this.#used, name), path.join(this.#kept, name))
    await rm(raw)
    await rm(qcow2)
  }

  /** Times the commands of every program once, each on a fresh copy of its repository; another program is first each time. */
  async round(): Promise<void> {
    const groups = [() => this.#varve(), ...this.#peers.map((peer) => () => this.#peer(peer))]
    const first = this.#round++ % groups.length
    for (const group of [...groups.slice(first), ...groups.slice(0, first)]) await group()
  }

  #home(program: string): string {
    return path.join(this.#used, program.replaceAll(/[^a-z0-9]+/giu, '-'))
  }

  async #versions(raw: string, qcow2: string): Promise<void> {
    await using site = await Site.start(this.#home(VARVE))
    await site.explained(this.#context.signal, async () => {
      const disk = { id: DISK, format: 'qcow2' as const, file: qcow2, size: this.#extent.diskBytes }
      await this.#backups(await site.addHost({ name: 'bench', tenant: TENANT, disks: [disk] }), raw)
    })
  }

  async #backups(host: Host, raw: string): Promise<void> {
    const { say, folder, signal } = this.#context
    const { versions, diskBytes } = this.#extent
    let point = ''
    for (let version = 1; version <= versions; version++) {
      if (version > 1) {
        await using file = await open(raw, 'r+')
        await writeVersion(version, diskBytes, file, host)
      }
      const output = await this.#run(host.backup())
      point = backupFigures(output, version === 1 ? 'first' : 'bitmap').point
      for (const peer of this.#peers) await this.#run(peer.backup(version, raw))
      say(`version ${version} of ${versions} is backed up`)
    }
    const restored = path.join(folder, 'restored.raw')
    await this.#run(host.restore(point, DISK, restored))
    await run('cmp', [restored, raw], { timeoutMs: COMMAND_TIMEOUT_MS, signal })
    await rm(restored)
  }

  async #varve(): Promise<void> {
    const { signal } = this.#context
    const folder = await this.#fresh(VARVE)
    {
      await using site = await Site.start(folder)
      await site.explained(signal, () => this.#timeVarve(site))
    }
    await rm(folder, { recursive: true })
  }

  async #timeVarve(site: Site): Promise<void> {
    const { keep, versions } = this.#extent
    const commands = new KeepCommands(site.data, TENANT)
    const time = async (operation: Operation, command: Command): Promise<string> => {
      const { output, ...measured } = await this.#measure(command, [site.gateway])
      this.#note({ program: VARVE, operation, round: this.#round, ...measured })
      return output
    }
    const sizeBefore = await folderBytes(site.data)
    const data = commands.verify()
    await time('dryRun', commands.collect('--dry-run').command)
    await time('repairCheck', commands.check().command)
    const { points, good } = data.read(await time('data', data.command))
    if (points !== versions || good !== versions) throw new Error(`${good} of ${versions} versions are good`)
    const forget = commands.prune('--keep-last', String(keep))
    const { removed } = forget.read(await time('forget', forget.command))
    if (removed !== versions - keep) throw new Error(`${removed} points were pruned`)
    await time('reclaim', commands.collect().command)
    if (this.#round === 1) this.sizes.push({ program: VARVE, before: sizeBefore, after: await folderBytes(site.data) })
  }

  async #peer(peer: Peer): Promise<void> {
    const folder = await this.#fresh(peer.name)
    const { keep } = this.#extent
    const repository = path.join(folder, 'repository')
    const before = await folderBytes(repository)
    for (const [operation, command] of Object.entries(peer.upkeep(keep)) as [Upkeep, Command | null][]) {
      if (command === null) continue
      const { output: _, ...measured } = await this.#measure(command, [])
      this.#note({ program: peer.name, operation, round: this.#round, ...measured })
    }
    const left = (await this.#run(peer.list)).trimEnd().split('\n').length
    if (left !== keep) throw new Error(`${peer.name} has ${left} versions left, expected ${keep}`)
    if (this.#round === 1) this.sizes.push({ program: peer.name, before, after: await folderBytes(repository) })
    await rm(folder, { recursive: true })
  }

  /** A copy of a kept repository, at the path where it was made. */
  async #fresh(program: string): Promise<string> {
    const { signal } = this.#context
    const used = this.#home(program)
    await run('cp', ['-a', path.join(this.#kept, path.basename(used)), used], { timeoutMs: COMMAND_TIMEOUT_MS, signal })
    return used
  }

  async #measure(command: Command, watched: readonly Watched[]): Promise<Measurement> {
    const { folder, signal } = this.#context
    await touchFreeMemory(folder, this.#extent.diskBytes, signal)
    return measure(command, { watched, syncFolder: folder, signal })
  }

  #note(sample: Sample): void {
    this.samples.push(sample)
    const { round, seconds, program, operation } = sample
    this.#context.say(`round ${round}  ${seconds.toFixed(2).padStart(7)} s  ${program}: ${OPERATIONS[operation]}`)
  }

  #run({ program, args, env, cwd }: Command): Promise<string> {
    const { signal } = this.#context
    const variables = Object.entries(env ?? {}).map((pair) => pair.join('='))
    const options = { timeoutMs: COMMAND_TIMEOUT_MS, signal, ...(cwd === undefined ? {} : { cwd }) }
    return run('env', [...variables, program, ...args], options)
  }
}
