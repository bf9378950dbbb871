// A random history of one machine: guest writes, backups, failures at random moments; after each step the promises are checked.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { asVarveError } from '../../protocol/errors.ts'
import type { Job } from '../../protocol/methods.ts'
import { Dice } from '../support/model-dice.ts'
import { MIB, type BlockObjects, type ModelDisk, type ModelMachine, type Snapshot } from '../support/model-machine.ts'
import { expectNothingLeft } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'
import { DISK_EVENTS, DiskEvents } from './disk-events.ts'
import { KnownDisks } from './known-disks.ts'
import { KeptPoints } from './kept-points.ts'
import { raceSnapshot } from './snapshot-race.ts'
import { Story } from './story.ts'

/** Slow enough that a backup of a few MiB can be met in its middle, in the words of the configuration. */
const BANDWIDTH = '4 MiB'

/** A failure comes at a random moment of this time after the start of a backup, in milliseconds. */
const FAILURE_WITHIN_MS = 1500

/** The same for a failure that is to come while the backup is being committed and its lease ends, in milliseconds. */
const END_WITHIN_MS = 150

const FAILURES = [
  'cut link',
  'kill agent',
  'stop agent',
  'interrupt agent',
  'kill gateway',
  'stop gateway',
  'crash QEMU',
  'restart QEMU',
  'cancel',
] as const
type Failure = (typeof FAILURES)[number]

const STEPS = [
  'write',
  'backup',
  'full backup',
  'failing backup',
  'failing backup',
  'failing backup',
  'racing snapshot',
  'racing snapshot',
  'crash QEMU',
  'restart QEMU',
  'restart agent',
  'restart gateway',
  ...DISK_EVENTS,
] as const

export class History implements AsyncDisposable {
  readonly #dice: Dice
  readonly #stand: Stand
  readonly #host: Host
  readonly #machine: ModelMachine
  readonly #points: KeptPoints
  readonly #known: KnownDisks
  readonly #events: DiskEvents
  readonly #story = new Story()
  /** A lease broke together with QEMU: its remains are removed with the next one, at the latest. */
  #unsettled = false

  private constructor(dice: Dice, stand: Stand, host: Host, machine: ModelMachine) {
    this.#dice = dice
    this.#stand = stand
    this.#points = new KeptPoints(stand)
    this.#host = host
    this.#machine = machine
    const known = new KnownDisks(machine.disks.map(({ id }) => id))
    this.#known = known
    this.#events = new DiskEvents({ dice, machine, known, tell: (line) => this.#story.tell(line) })
  }

  static async start(seed: number): Promise<History> {
    const dice = new Dice(seed)
    const disks: ModelDisk[] = [
      {
        id: 'vda',
        format: 'qcow2',
        size: 6 * MIB + 1536,
        content: Buffer.concat([dice.bytes(3 * MIB + 700), Buffer.alloc(3 * MIB + 836)]),
      },
      { id: 'vdb', format: 'raw', size: 4 * MIB, content: Buffer.concat([Buffer.alloc(3 * MIB), dice.bytes(MIB)]) },
      { id: 'vdc', format: 'qcow2', size: 5 * MIB, iothread: true },
    ]
    const stand = await Stand.start()
    try {
      const host = await stand.addHost({ settings: { bandwidth: BANDWIDTH } })
      const machine = await host.addMachine('db1', disks)
      await host.start()
      return new History(dice, stand, host, machine)
    } catch (error) {
      await stand[Symbol.asyncDispose]()
      throw error
    }
  }

  get pointCount(): number {
    return this.#points.count
  }

  /** Does so many steps with their checks, then restores every point once more. */
  async run(steps: number): Promise<void> {
    await this.#story.during(`the history of seed ${this.#dice.seed} breaks a promise`, async () => {
      await this.#write()
      await this.#backup(false)
      for (let step = 0; step < steps; step++) {
        await this.#step()
        await this.#check()
      }
      await this.#backup(false)
      await this.#check()
      await this.#points.expectKept()
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stand[Symbol.asyncDispose]()
  }

  async #step(): Promise<void> {
    const step = this.#dice.pick(STEPS)
    switch (step) {
      case 'write':
        return await this.#write()
      case 'backup':
        return await this.#backup(false)
      case 'full backup':
        return await this.#backup(true)
      case 'failing backup':
        await this.#write()
        return await this.#failingBackup()
      case 'racing snapshot':
        return await this.#racingSnapshot()
      case 'crash QEMU':
      case 'restart QEMU':
        this.#story.tell(step)
        return await this.#events.restart(step === 'crash QEMU')
      case 'restart agent':
        this.#story.tell(step)
        await this.#host.end(this.#dice.pick(['SIGTERM', 'SIGINT', 'SIGKILL']))
        return await this.#host.start()
      case 'restart gateway':
        this.#story.tell(step)
        await this.#stand.endGateway(this.#dice.pick(['SIGTERM', 'SIGKILL']))
        return await this.#stand.startGateway()
      case 'resize':
      case 'cut':
      case 'swap':
      case 'copy':
      case 'front':
      case 'snapshot':
      case 'rebase':
      case 'rewrite':
        return await this.#events.happen(step)
    }
  }

  async #write(): Promise<void> {
    const count = 1 + this.#dice.below(10)
    this.#story.tell(`${count} writes`)
    for (let done = 0; done < count; done++) await this.#machine.touch(this.#dice)
  }

  async #backup(full: boolean): Promise<void> {
    this.#story.tell(full ? 'full backup' : 'backup')
    const job = await this.#stand.startBackup('db1', full)
    await this.#stand.begun(job)
    const model = this.#machine.snapshot()
    for (let done = 0; done < 3; done++) await this.#machine.touch(this.#dice)
    const ended = await this.#stand.ended(job)
    expect(ended, 'a backup that nothing disturbs').toMatchObject({ state: 'committed', error: null })
    this.#expectReasons(ended, full)
    await this.#committed(ended, model)
  }

  /** A snapshot of a disk while a backup begins: it begins anew, and holds what was written before its instant. */
  async #racingSnapshot(): Promise<void> {
    const disk = this.#events.pickForSnapshot()
    if (disk === null) return
    const job = await this.#stand.startBackup('db1')
    const race = await raceSnapshot(this.#machine, { disk, dice: this.#dice })
    const ended = await this.#stand.ended(job)
    this.#story.tell(`backup with a snapshot of ${disk} ${race.told}`)
    expect(ended, 'a backup that meets a snapshot').toMatchObject({ state: 'committed', error: null })
    const { timeMs } = await this.#stand.point(job)
    const model = race.stateIn(await this.#stand.restore(job), timeMs)
    const came = race.came(timeMs)
    if (came === 'before') this.#known.set(disk, { checkpoint: 'lost' })
    if (came === 'unknown') this.#known.set(disk, { checkpoint: 'unknown' })
    this.#expectReasons(ended, false)
    await this.#committed(ended, model)
    if (came === 'after') this.#known.set(disk, { checkpoint: 'lost' })
    if (came === 'unknown') this.#known.set(disk, { checkpoint: 'unknown' })
  }

  async #failingBackup(): Promise<void> {
    const failure = this.#dice.pick(FAILURES)
    const moment = this.#dice.pick(['start', 'instant', 'end'] as const)
    const afterMs = this.#dice.below(moment === 'end' ? END_WITHIN_MS : FAILURE_WITHIN_MS)
    this.#story.tell(`backup with "${failure}" ${afterMs} ms after its ${moment}`)
    const job = await this.#stand.startBackup('db1')
    if (moment === 'start') {
      // until the instant the guest writes nothing, so that the model holds whenever it is
      await sleep(afterMs)
      await this.#fail(failure, job)
    }
    await this.#stand.begun(job)
    const model = this.#machine.snapshot()
    for (let done = 0; done < 3; done++) await this.#machine.touch(this.#dice)
    if (moment !== 'start') {
      if (moment === 'end') await this.#uploaded(job)
      await sleep(afterMs)
      await this.#fail(failure, job)
    }
    for (let done = 0; done < 3; done++) await this.#machine.touch(this.#dice)
    const ended = await this.#stand.ended(job)
    this.#story.tell(`  ${ended.state} ${ended.error?.code ?? ''}`)
    if (ended.state === 'committed') {
      await this.#committed(ended, model)
      if (failure.endsWith('QEMU')) this.#known.committed(ended.disks, 'unknown')
      return
    }
    this.#known.failed(ended.disks)
    const mayFail: readonly Failure[] = ['interrupt agent', 'crash QEMU', 'restart QEMU', 'cancel']
    if (moment !== 'start') expect(mayFail, 'only these end a lease').toContain(failure)
  }

  /** Waits until all of a job's disks are uploaded, or it has ended. */
  async #uploaded(job: string): Promise<void> {
    await eventually(async () => {
      const found = await this.#stand.job(job)
      return (
        found !== null && (found.state !== 'running' || found.disks.every(({ size, doneBytes }) => doneBytes === size))
      )
    })
  }

  async #fail(failure: Failure, job: string): Promise<void> {
    const host = this.#host
    switch (failure) {
      case 'cut link':
        return host.link.cut()
      case 'kill agent':
      case 'stop agent':
      case 'interrupt agent':
        await host.end(failure === 'kill agent' ? 'SIGKILL' : failure === 'stop agent' ? 'SIGTERM' : 'SIGINT')
        return await host.start()
      case 'kill gateway':
      case 'stop gateway':
        await this.#stand.endGateway(failure === 'kill gateway' ? 'SIGKILL' : 'SIGTERM')
        return await this.#stand.startGateway()
      case 'crash QEMU':
      case 'restart QEMU':
        this.#unsettled = true
        return await this.#events.restart(failure === 'crash QEMU')
      case 'cancel':
        await (await this.#stand.peer()).call('jobs.cancel', { job }).catch((thrown: unknown) => {
          if (asVarveError(thrown).code !== 'JOB_ENDED') throw thrown
        })
    }
  }

  /** Checks the reasons of a backup that nothing has disturbed. */
  #expectReasons({ disks }: Job, full: boolean): void {
    for (const { name, size, reason } of disks)
      expect([...this.#known.reasons(name, size, full)], `${name}: ${reason}`).toContain(reason)
    this.#unsettled = false
  }

  /** Checks a new restore point, and what it says of the machine from now on. */
  async #committed(job: Job, model: Snapshot): Promise<void> {
    await this.#points.add(job.id, model)
    for (const { name, kind, reason } of job.disks)
      expect(reason === 'bitmap', `${name}: ${kind} ${reason}`).toBe(kind === 'incremental')
    this.#known.committed(job.disks, 'kept')
  }

  /** Nothing is left, nothing is missing: objects in QEMU, the host's folders, the list of points. */
  async #check(): Promise<void> {
    const last = this.#points.last!
    await this.#points.expectListed()
    if (this.#unsettled) return
    const checkpoint = this.#host.checkpoint(last)
    const bitmapsOf = (...states: Parameters<KnownDisks['withCheckpoint']>[0]): string[] =>
      this.#known.withCheckpoint(states).flatMap(([disk, index]) => checkpoint(index).map((name) => `${disk}/${name}`))
    const maybe = new Set(bitmapsOf('crashed', 'unknown'))
    const bitmaps = bitmapsOf('kept').toSorted()
    const nodes = this.#machine.disks.map(({ id }) => id).toSorted()
    const objects = async (): Promise<BlockObjects> => {
      const own = await this.#machine.ownObjects()
      return { ...own, bitmaps: own.bitmaps.filter((name) => !maybe.has(name)) }
    }
    await expectNothingLeft(this.#host, { objects }, { exports: [], jobs: [], nodes, bitmaps, nbdServer: false })
  }
}
