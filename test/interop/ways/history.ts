// A random history of one machine that is backed up in every way: under QEMU, under libvirt, off, moved between two hosts.
// Failures come at random moments; after each step the promises are checked.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { MODES, type Mode } from '../../../agent/drivers/qmp/modes.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import type { Job } from '../../../protocol/methods.ts'
import { Dice } from '../../support/model-dice.ts'
import type { Snapshot } from '../../support/model-machine.ts'
import type { Host } from '../../support/stand-host.ts'
import { Stand } from '../../support/stand.ts'
import { eventually } from '../../support/temp.ts'
import { KeptPoints } from '../kept-points.ts'
import { Story } from '../story.ts'
import { MACHINE, type LibvirtCarrier, type QmpCarrier } from './carriers.ts'
import { WaysMachine, type Way } from './machine.ts'
import { Tracks } from './tracks.ts'

/** Slow enough that a backup of a few MiB can be met in its middle, in the words of the configuration. */
const BANDWIDTH = '8 MiB'

/** A failure comes at a random moment of this time after the start of a backup, in milliseconds. */
const FAILURE_WITHIN_MS = 1_000

const SITE = 'rack-1'

const FAILURES = ['cut link', 'kill agent', 'stop agent', 'interrupt agent', 'kill gateway', 'crash', 'cancel'] as const
type Failure = (typeof FAILURES)[number]

/** These end a lease, so that a backup which they meet may fail. */
const MAY_FAIL: ReadonlySet<Failure> = new Set(['interrupt agent', 'crash', 'cancel'])

const STEPS = [
  'backup',
  'backup',
  'full backup',
  'failing backup',
  'failing backup',
  'off',
  'crash',
  'turn',
  'migrate',
] as const
const STEPS_OFF = ['backup', 'failing backup', 'turn', 'turn'] as const

export class WaysHistory implements AsyncDisposable {
  readonly #dice: Dice
  readonly #stand: Stand
  readonly #hosts: readonly [Host, Host]
  readonly #machine: WaysMachine
  readonly #tracks: Tracks
  readonly #points: KeptPoints
  readonly #story = new Story()
  /** How a QEMU's disks come to the agent. */
  #mode: Mode = 'pull'
  /** The machine crashed under a lease, whose remains wait until it runs the same way again. */
  #leaseCrashed = false

  private constructor(dice: Dice, stand: Stand, hosts: readonly [Host, Host], machine: WaysMachine) {
    this.#dice = dice
    this.#stand = stand
    this.#points = new KeptPoints(stand)
    this.#hosts = hosts
    this.#machine = machine
    this.#tracks = new Tracks(machine.disks)
  }

  static async start(seed: number): Promise<WaysHistory> {
    const dice = new Dice(seed)
    const stand = await Stand.start()
    try {
      const settings = { bandwidth: BANDWIDTH }
      const hosts = [await stand.addHost({ settings }), await stand.addHost({ settings })] as const
      const owner = await stand.peer()
      for (const { agentId: agent } of hosts) await owner.call('agents.setSite', { agent, site: SITE })
      const machine = await WaysMachine.make(stand.folder.join('machine'), randomUUID())
      const history = new WaysHistory(dice, stand, hosts, machine)
      await machine.start('host 0')
      for (const [index, host] of hosts.entries()) await host.start({ tables: [history.#table(index, 'host 0')] })
      await history.#settled()
      return history
    } catch (error) {
      await stand[Symbol.asyncDispose]()
      throw error
    }
  }

  get pointCount(): number {
    return this.#points.count
  }

  /** How many disks of all points were increments, and how many full reads. */
  get reads(): { readonly incremental: number; readonly full: number } {
    return this.#tracks.reads
  }

  /** Does so many steps with their checks, then restores every point once more. */
  async run(steps: number): Promise<void> {
    await this.#story.during(`the history of seed ${this.#dice.seed} breaks a promise`, async () => {
      await this.#write()
      await this.#backup(false)
      for (let step = 0; step < steps; step++) {
        await this.#write()
        await this.#step()
        await this.#check()
      }
      await this.#backup(false)
      await this.#check()
      await this.#points.expectKept()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // agents first: they give their leases back while the machine is there
    for (const host of this.#hosts) if (host.hasAgent) await host.end('SIGINT')
    await this.#machine[Symbol.asyncDispose]()
    await this.#stand[Symbol.asyncDispose]()
  }

  async #step(): Promise<void> {
    const step = this.#dice.pick<(typeof STEPS)[number]>(this.#machine.isOff ? STEPS_OFF : STEPS)
    switch (step) {
      case 'backup':
        return await this.#backup(false)
      case 'full backup':
        return await this.#backup(true)
      case 'failing backup':
        return await this.#failingBackup()
      case 'off':
        return await this.#end(false)
      case 'crash':
        return await this.#end(true)
      case 'turn':
        return await this.#turn()
      case 'migrate':
        return await this.#migrate()
    }
  }

  async #end(crash: boolean): Promise<void> {
    if (this.#machine.isOff) return
    this.#story.tell(crash ? 'it crashes' : 'it is shut down')
    await this.#machine.stop(crash)
    this.#tracks.ended(crash)
  }

  /** Runs it in some way, from being off; the configuration says which. */
  async #turn(): Promise<void> {
    await this.#end(false)
    const way = this.#dice.pick(['host 0', 'libvirt'] as const)
    this.#story.tell(`it runs: ${way}`)
    await this.#machine.start(way)
    this.#tracks.started()
    await this.#configure(way)
  }

  async #configure(way: Way): Promise<void> {
    for (const [index, host] of this.#hosts.entries()) await host.reload({ tables: [this.#table(index, way)] })
    await this.#settled()
  }

  /** The machine as an agent's configuration has it; libvirt is on the first host. */
  #table(host: number, way: Way): string {
    if (way === 'libvirt') {
      if (host === 1) return ''
      const { uri } = this.#machine.carrier('libvirt') as LibvirtCarrier
      return `[[machine]]\nname = "${MACHINE}"\ndomain = "${MACHINE}"\nuri = "${uri}"\n`
    }
    const { qmpPath } = this.#machine.carrier(host === 0 ? 'host 0' : 'host 1') as QmpCarrier
    const disks = this.#machine.disks.map(
      ({ id, file, format }) => `{ name = "${id}", path = "${file}", format = "${format}" }`,
    )
    return `[[machine]]\nname = "${MACHINE}"\nqmp = "${qmpPath}"\nmode = "${this.#mode}"\ndisks = [${disks.join(', ')}]\n`
  }

  async #migrate(): Promise<void> {
    if (this.#machine.way === 'libvirt') return await this.#turn()
    // QEMU migrates no inconsistent bitmap
    const withBitmaps = this.#dice.chance(0.7) && !this.#tracks.crashed
    this.#story.tell(`it moves away from ${this.#machine.way} ${withBitmaps ? 'with' : 'without'} its bitmaps`)
    await this.#machine.migrate(withBitmaps)
    this.#tracks.moved(withBitmaps)
    await this.#settled()
  }

  /** Waits until the gateway knows on which host the machine is, and its agent how it runs. */
  async #settled(): Promise<void> {
    if (this.#machine.isOff) return
    const { way } = this.#machine
    const { agentId } = this.#hosts[way === 'host 1' ? 1 : 0]
    await eventually(async () => {
      try {
        const owner = await this.#stand.peer()
        const { machines } = await owner.call('machines.list', { machine: null, limit: 10 })
        if (!machines.some(({ name, agent }) => name === MACHINE && agent === agentId)) return false
        const { runState, hypervisor } = await owner.call('machines.status', { machine: MACHINE })
        return hypervisor !== null && runState !== 'shut off' && hypervisor.includes('libvirt') === (way === 'libvirt')
      } catch (thrown) {
        const { code, endsConnection } = asVarveError(thrown)
        if (endsConnection || code === 'AGENT_OFFLINE') return false
        throw thrown
      }
    })
  }

  async #write(): Promise<void> {
    const count = 1 + this.#dice.below(6)
    if (!this.#machine.isOff) this.#story.tell(`${count} writes`)
    for (let done = 0; done < count; done++) await this.#machine.touch(this.#dice)
  }

  /** Draws how the next backup is made. */
  async #drawMode(): Promise<string> {
    if (this.#machine.isOff) return 'off'
    const { way } = this.#machine
    if (way === 'libvirt') return way
    const mode = this.#dice.pick(MODES)
    if (mode !== this.#mode) {
      this.#mode = mode
      await this.#configure(way)
    }
    return `${way}, ${mode}`
  }

  async #backup(full: boolean): Promise<void> {
    const state = await this.#drawMode()
    this.#story.tell(`${full ? 'full backup' : 'backup'} (${state})`)
    const job = await this.#stand.startBackup(MACHINE, full)
    await this.#stand.begun(job)
    const model = this.#machine.snapshot()
    for (let done = 0; done < 3; done++) await this.#machine.touch(this.#dice)
    const ended = await this.#stand.ended(job)
    expect(ended, 'a backup that nothing disturbs').toMatchObject({ state: 'committed', error: null })
    await this.#committed(ended, model, full)
  }

  async #failingBackup(): Promise<void> {
    const failure = this.#dice.pick(FAILURES)
    const afterMs = this.#dice.below(FAILURE_WITHIN_MS)
    const state = await this.#drawMode()
    this.#story.tell(`backup (${state}) with "${failure}" after ${afterMs} ms`)
    const job = await this.#stand.startBackup(MACHINE)
    const early = this.#dice.chance(0.5)
    if (!early) await this.#stand.begun(job)
    const model = this.#machine.snapshot()
    if (!early) for (let done = 0; done < 2; done++) await this.#machine.touch(this.#dice)
    await sleep(afterMs)
    await this.#fail(failure, job)
    // one that had not begun may do so now: until then nothing is written
    const begun = await this.#stand.begun(job)
    if (early && begun.state === 'running') for (let done = 0; done < 2; done++) await this.#machine.touch(this.#dice)
    const ended = await this.#stand.ended(job)
    this.#story.tell(`  ${ended.state} ${ended.error?.code ?? ''}`)
    if (ended.state === 'committed') await this.#committed(ended, model, null)
    else if (!early) expect(MAY_FAIL, 'only these end a lease').toContain(failure)
    this.#tracks.disturbed()
  }

  async #fail(failure: Failure, job: string): Promise<void> {
    const host = this.#hosts[this.#machine.way === 'host 1' ? 1 : 0]
    switch (failure) {
      case 'cut link':
        return host.link.cut()
      case 'kill agent':
      case 'stop agent':
      case 'interrupt agent':
        await host.end(failure === 'kill agent' ? 'SIGKILL' : failure === 'stop agent' ? 'SIGTERM' : 'SIGINT')
        return await host.start()
      case 'kill gateway':
        await this.#stand.endGateway('SIGKILL')
        return await this.#stand.startGateway()
      case 'crash':
        this.#leaseCrashed = true
        return await this.#end(true)
      case 'cancel':
        await (await this.#stand.peer()).call('jobs.cancel', { job }).catch((thrown: unknown) => {
          if (asVarveError(thrown).code !== 'JOB_ENDED') throw thrown
        })
    }
  }

  /** Checks a new restore point, and notes what its disks must say from now on; `full` is null where it was disturbed. */
  async #committed(job: Job, model: Snapshot, full: boolean | null): Promise<void> {
    await this.#points.add(job.id, model)
    for (const { name, kind, reason } of job.disks)
      expect(reason === 'bitmap', `${name}: ${kind} ${reason}`).toBe(kind === 'incremental')
    const ran = this.#machine.isOff ? 'offline' : this.#machine.way === 'libvirt' ? 'libvirt' : 'qmp'
    for (const { name, reason } of job.disks) {
      const expected = this.#tracks.reasons(name, ran, full, this.#mode)
      if (expected !== null) expect(expected, `${name}: ${reason}`).toContain(reason)
    }
    this.#tracks.committed(job.disks, ran, this.#mode)
  }

  /** Nothing is missing from the list of points, and nothing of a lease is left on a host. */
  async #check(): Promise<void> {
    await this.#points.expectListed()
    for (const host of this.#hosts) {
      const clean = async (): Promise<boolean> => {
        const { scratch, journal, sockets } = await host.residue()
        return scratch.length + sockets.length + (this.#leaseCrashed ? 0 : journal.length) === 0
      }
      // what a lease left in a machine that is off waits for its start
      if (!this.#machine.isOff) await eventually(clean)
    }
  }
}
