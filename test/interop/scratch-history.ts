// A random history of backups whose scratch space fills, with one party or another absent: no guest write fails.
import { setTimeout as sleep } from 'node:timers/promises'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB, type BlockObjects, type ModelMachine } from '../support/model-machine.ts'
import { bare, expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'
import { Story } from './story.ts'

/** The scratch file system, what stays free on it, and the disk, which does not fit: in bytes. */
const SCRATCH_BYTES = 24 * MIB
const RESERVE = '12 MiB'
const DISK_BYTES = 32 * MIB

/** What changes between two backups, so that one lasts longer than the scratch space. */
const CHANGED_BYTES = 16 * MIB
const BANDWIDTH = '1 MiB'

/** The guest writes so much at once, and rests so long: the reserve lasts for seconds, on a busy machine too. */
const PIECE_BYTES = 512 * KIB
const REST_MS = 150

/** So much is written before somebody goes, at most. */
const BEFORE_PIECES = 12

export const ABSENCES = [
  'nobody',
  'agent stopped',
  'agent killed',
  'guard killed',
  'guard stopped',
  'gateway away',
  'gateway away, agent stopped',
  'gateway away, agent killed',
  'gateway away, agent restarted',
] as const
export type Absence = (typeof ABSENCES)[number]

export class ScratchHistory implements AsyncDisposable {
  readonly #dice: Dice
  readonly #stand: Stand
  readonly #host: Host
  readonly #machine: ModelMachine
  readonly #before: BlockObjects
  readonly #story = new Story()

  private constructor(parts: { dice: Dice; stand: Stand; host: Host; machine: ModelMachine; before: BlockObjects }) {
    this.#dice = parts.dice
    this.#stand = parts.stand
    this.#host = parts.host
    this.#machine = parts.machine
    this.#before = parts.before
  }

  static async start(seed: number): Promise<ScratchHistory> {
    const dice = new Dice(seed)
    const stand = await Stand.start()
    try {
      const host = await stand.addHost({ stateBytes: SCRATCH_BYTES, settings: { scratchReserve: RESERVE } })
      const content = dice.bytes(DISK_BYTES)
      const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: DISK_BYTES, content }])
      const before = bare(await machine.objects())
      await host.start()
      await host.backup('db1')
      await host.end('SIGTERM')
      await host.start({ bandwidth: BANDWIDTH })
      return new ScratchHistory({ dice, stand, host, machine, before })
    } catch (error) {
      await stand[Symbol.asyncDispose]()
      throw error
    }
  }

  /** One backup for each absence; the last one is let end and holds all. */
  async run(absences: readonly Absence[]): Promise<void> {
    await this.#story.during(`scratch space of seed ${this.#dice.seed} breaks a promise`, async () => {
      for (const absence of absences) await this.#round(absence)
      await this.#host.end('SIGTERM')
      await this.#host.start({ bandwidth: '1 GiB' })
      const { point } = await this.#host.backup('db1', '--wait')
      expectDisks(await this.#stand.restore(point), this.#machine.snapshot(), point)
      const after = withCheckpoint(this.#before, this.#host.checkpoint(point), this.#machine.disks)
      await expectNothingLeft(this.#host, this.#machine, after)
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stand[Symbol.asyncDispose]()
  }

  async #round(absence: Absence): Promise<void> {
    const piecesBefore = this.#dice.below(BEFORE_PIECES)
    this.#story.tell(`${absence} after ${piecesBefore} pieces`)
    for (let at = 0; at < CHANGED_BYTES; at += MIB) await this.#machine.write('vda', at, this.#dice.bytes(MIB))
    const job = await this.#stand.startBackup('db1')
    const { state, error } = await this.#stand.begun(job)
    if (state !== 'running') throw new Error(`the backup ${state} too early: ${error?.message}`)
    const guards = await this.#host.agent.children()
    // from the end, so that what is uploaded last is overwritten first
    for (let piece = 0; piece < DISK_BYTES / PIECE_BYTES; piece++) {
      if (piece === piecesBefore) await this.#leave(absence, guards)
      await this.#machine.write('vda', DISK_BYTES - (piece + 1) * PIECE_BYTES, this.#dice.bytes(PIECE_BYTES))
      await sleep(REST_MS)
    }
    await eventually(async () => (await this.#machine.objects()).jobs.length === 0)
    await this.#comeBack(guards)
    const ended = await this.#stand.ended(job)
    this.#story.tell(`  ${ended.state} ${ended.error?.code ?? ''}`)
  }

  async #leave(absence: Absence, guards: readonly number[]): Promise<void> {
    if (absence.startsWith('gateway away')) await this.#stand.endGateway('SIGKILL')
    if (absence.endsWith('agent stopped')) this.#host.agent.signal('SIGSTOP')
    if (absence.endsWith('agent killed')) await this.#host.end('SIGKILL')
    if (absence.endsWith('agent restarted')) {
      await this.#host.end(this.#dice.pick(['SIGKILL', 'SIGTERM']))
      this.#host.launch()
    }
    if (!absence.startsWith('guard')) return
    for (const guard of guards) process.kill(guard, absence === 'guard killed' ? 'SIGKILL' : 'SIGSTOP')
  }

  async #comeBack(guards: readonly number[]): Promise<void> {
    if (!this.#stand.hasGateway) await this.#stand.startGateway()
    if (this.#host.hasAgent) this.#host.agent.signal('SIGCONT')
    else await this.#host.start()
    for (const guard of guards) {
      try {
        process.kill(guard, 'SIGCONT')
      } catch {
        // it has ended
      }
    }
  }
}
