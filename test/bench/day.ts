// A scripted day: machines with churn are backed up while the store is pruned, collected and verified; then every kept
// point is compared and the store weighed.
import { constants, zstdCompressSync } from 'node:zlib'
import path from 'node:path'
import { PACKS_NAME } from '../../gateway/folder/layout.ts'
import { run as runProgram } from '../rig/run.ts'
import { Dice } from '../support/model-dice.ts'
import { DayKeeper } from './day-keeper.ts'
import { DayMachine, type Backup } from './day-machine.ts'
import { dayReport, type Day, type DayBackup, type Weighed } from './day-report.ts'
import { Site } from './fleet-site.ts'
import { requireSpace } from './host.ts'
import { KeepCommands } from './keep-commands.ts'
import { folderBytes } from './keep-size.ts'
import { peakBytes } from './process-use.ts'
import type { Scenario, ScenarioContext } from './scenario.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30
const TENANT = 'bench'
const SEED = 4

/** Disk space that a run may take at one time, in bytes. */
const SPACE_BYTES = 6 * GIB

/** Machines that are backed up at once, over and over. */
const WAVES = [1, 2, 1, 4, 1, 3]

const KEEP_LAST = 6

/** After so many increments each machine's newest point is held, for good. */
const HELD_AFTER = [3, 9]

/** What a machine keeps in the end. */
const RULES = ['--keep-last', String(KEEP_LAST)]

interface Extent {
  readonly machines: number
  readonly diskBytes: number
  /** Increments with the keeper at work, and increments without, half of them before and half after. */
  readonly increments: number
  readonly quiet: number
}

const FULL: Extent = { machines: 8, diskBytes: 96 * MIB, increments: 200, quiet: 48 }
const QUICK: Extent = { machines: 3, diskBytes: 24 * MIB, increments: 18, quiet: 12 }

/** Restores that run at once. */
const RESTORES_AT_ONCE = 2

/** What distinct chunks take when each is compressed by itself, reckoned without the gateway; zeroes take nothing. */
class UniqueChunks {
  readonly #seen = new Set<string>()
  chunks = 0
  plainBytes = 0
  compressedBytes = 0

  add(digest: Buffer, chunk: Buffer): void {
    const name = digest.toString('latin1')
    if (this.#seen.has(name)) return
    this.#seen.add(name)
    if (chunk.equals(Buffer.alloc(chunk.length))) return
    const params = { [constants.ZSTD_c_compressionLevel]: 1 }
    this.chunks++
    this.plainBytes += chunk.length
    this.compressedBytes += Math.min(chunk.length, zstdCompressSync(chunk, { params }).length)
  }
}

class ScriptedDay {
  readonly #context: ScenarioContext
  readonly #extent: Extent
  readonly #commands: KeepCommands
  readonly #keeper: DayKeeper
  readonly #site: Site
  readonly #machines: readonly DayMachine[]
  readonly #dice = new Dice(SEED)
  readonly #firsts: Backup[] = []
  readonly #increments: DayBackup[] = []
  #wave = 0
  #failure: { readonly error: unknown } | null = null

  constructor(options: { context: ScenarioContext; extent: Extent; site: Site; machines: readonly DayMachine[] }) {
    const { context, extent, site, machines } = options
    this.#context = context
    this.#extent = extent
    this.#site = site
    this.#machines = machines
    this.#commands = new KeepCommands(site.data, TENANT)
    this.#keeper = new DayKeeper({ commands: this.#commands, rules: RULES, signal: context.signal })
  }

  async run(packsFolder: string): Promise<Day> {
    const { say } = this.#context
    const { increments, quiet } = this.#extent
    await using keeper = this.#keeper
    for (const machine of this.#machines) this.#firsts.push(await machine.backup('first'))
    say(`${this.#machines.length} first fulls are made; ${quiet / 2} increments without anything beside`)
    await this.#backups(quiet / 2, false)
    say(`${increments} increments, pruned, collected and verified beside`)
    const startMs = performance.now()
    keeper.start((error) => (this.#failure = { error }))
    await this.#backups(increments, true)
    await keeper.stop()
    const daySeconds = (performance.now() - startMs) / 1000
    const beside = { collections: keeper.collections.length, verifications: keeper.verifications.length }
    await this.#backups(quiet / 2, false)
    say('the last prune, collection and verification')
    await keeper.prune()
    const last = await keeper.collect()
    await this.#expectPoints()
    const packBytes = await folderBytes(packsFolder)
    const weighed = await this.#compareAll()
    await keeper.verify()
    const { prunes, collections, verifications } = keeper
    return {
      machines: this.#machines.length,
      diskBytes: this.#extent.diskBytes,
      firsts: this.#firsts,
      increments: this.#increments,
      daySeconds,
      prunes,
      collections: collections.slice(0, beside.collections),
      verifications: verifications.slice(0, beside.verifications),
      last,
      packBytes,
      gatewayPeakBytes: (await peakBytes(this.#site.gateway.pid)) ?? Number.NaN,
      weighed,
    }
  }

  async #backups(count: number, kept: boolean): Promise<void> {
    for (let done = 0; done < count;) {
      const wave = Math.min(WAVES[this.#wave++ % WAVES.length]!, count - done, this.#machines.length)
      const chosen = new Set<DayMachine>()
      while (chosen.size < wave) chosen.add(this.#dice.pick(this.#machines))
      await Promise.all([...chosen].map((machine) => this.#increment(machine, wave, kept)))
      if (this.#failure !== null) throw this.#failure.error
      done += wave
    }
  }

  async #increment(machine: DayMachine, together: number, kept: boolean): Promise<void> {
    await machine.churn(this.#dice)
    const { point, seconds, figures } = await machine.backup('bitmap')
    this.#increments.push({ seconds, together, kept, sentBytes: figures.bytesSent, storedBytes: figures.bytesStored })
    if (!HELD_AFTER.includes(machine.points.length - 1)) return
    const { program, args } = this.#commands.hold(point)
    await runProgram(program, args, { signal: this.#context.signal })
    machine.held.add(point)
  }

  /** The restore points that the rules and the holds leave. */
  #kept(): { machine: DayMachine; known: DayMachine['points'][number] }[] {
    return this.#machines.flatMap((machine) =>
      machine.points
        .filter(({ point }, index) => machine.held.has(point) || index >= machine.points.length - KEEP_LAST)
        .map((known) => ({ machine, known })),
    )
  }

  /** Throws unless the gateway lists exactly the points that must be left. */
  async #expectPoints(): Promise<void> {
    const { command, read } = this.#commands.points()
    const output = await runProgram(command.program, command.args, { signal: this.#context.signal })
    const found = read(output).map(({ id }) => id)
    const expected = this.#kept().map(({ known }) => known.point)
    const wrong = [
      ...found.filter((id) => !expected.includes(id)).map((id) => `${id} should have gone`),
      ...expected.filter((id) => !found.includes(id)).map((id) => `${id} is gone`),
    ]
    if (wrong.length > 0) throw new Error(`after the last prune: ${wrong.join('; ')}`)
  }

  /** Restores every kept point and compares it; throws where one differs. */
  async #compareAll(): Promise<Weighed> {
    const unique = new UniqueChunks()
    const kept = this.#kept()
    this.#context.say(`restoring ${kept.length} points and comparing every chunk`)
    // a machine's restores come one after the other, as they share a file
    const queue = this.#machines.map((machine) => kept.filter((one) => one.machine === machine))
    const work = async (): Promise<void> => {
      for (let own = queue.pop(); own !== undefined; own = queue.pop())
        for (const { machine, known } of own) await machine.compare(known, (digest, chunk) => unique.add(digest, chunk))
    }
    await Promise.all(Array.from({ length: RESTORES_AT_ONCE }, work))
    const { chunks, plainBytes, compressedBytes } = unique
    return { points: kept.length, chunks, plainBytes, compressedBytes }
  }
}

export const run: Scenario['run'] = async (context) => {
  const { folder, quick, signal, say } = context
  await requireSpace(folder, SPACE_BYTES)
  const extent = quick ? QUICK : FULL
  await using site = await Site.start(path.join(folder, 'site'))
  return await site.explained(signal, async () => {
    await using stack = new AsyncDisposableStack()
    const machines: DayMachine[] = []
    say(`starting ${extent.machines} machines`)
    for (let index = 0; index < extent.machines; index++)
      machines.push(
        stack.use(await DayMachine.make({ site, tenant: TENANT, index, folder, sizeBytes: extent.diskBytes, signal })),
      )
    const day = new ScriptedDay({ context, extent, site, machines })
    return dayReport(await day.run(path.join(site.data, PACKS_NAME)))
  })
}
