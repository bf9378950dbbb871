// A random history of slow freezes, with the agent, its freezer or both killed or stopped anywhere in them: the guest is
// thawed, always.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { FreezeNotes } from '../../agent/guest/freeze-notes.ts'
import { ScriptedGuestAgent } from '../support/guest-agent.ts'
import { Dice } from '../support/model-dice.ts'
import { MIB, type ModelMachine } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'
import { Story } from './story.ts'

/** A freeze takes at most so long, and what is done to a process comes at most so long after another, in milliseconds. */
const FREEZE_WITHIN_MS = 3000
const GAP_WITHIN_MS = 300

type Party = 'agent' | 'freezer' | 'gateway'

/** What is done to whom, in this order. */
type Deed = readonly [Party, NodeJS.Signals]

export class FreezeHistory implements AsyncDisposable {
  readonly #dice: Dice
  readonly #stand: Stand
  readonly #host: Host
  readonly #machine: ModelMachine
  readonly #guest: ScriptedGuestAgent
  readonly #script: { freezeDelayMs: number }
  readonly #story = new Story()

  private constructor(parts: {
    dice: Dice
    stand: Stand
    host: Host
    machine: ModelMachine
    guest: ScriptedGuestAgent
    script: { freezeDelayMs: number }
  }) {
    this.#dice = parts.dice
    this.#stand = parts.stand
    this.#host = parts.host
    this.#machine = parts.machine
    this.#guest = parts.guest
    this.#script = parts.script
  }

  static async start(seed: number): Promise<FreezeHistory> {
    const dice = new Dice(seed)
    const stand = await Stand.start()
    try {
      const script = { freezeDelayMs: 0, oneClient: dice.chance(0.5) }
      const guest = await ScriptedGuestAgent.listen(stand.folder.join('qga.sock'), script)
      const host = await stand.addHost()
      const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: MIB }], {
        guestAgent: guest.socketPath,
      })
      await host.start()
      return new FreezeHistory({ dice, stand, host, machine, guest, script })
    } catch (error) {
      await stand[Symbol.asyncDispose]()
      throw error
    }
  }

  async run(rounds: number): Promise<void> {
    await this.#story.during(
      `the freezes of seed ${this.#dice.seed} break a promise`,
      async () => {
        for (let round = 0; round < rounds; round++) {
          await this.#round()
          await this.#goOn()
        }
      },
      () => `frozen: ${this.#guest.frozen}, last commands: ${this.#guest.commands.slice(-8).join(' ')}`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stand[Symbol.asyncDispose]()
    await this.#guest[Symbol.asyncDispose]()
  }

  get #notes(): FreezeNotes {
    return FreezeNotes.in(this.#host.stateFolder)
  }

  #deeds(): Deed[] {
    const deeds: (Deed | null)[] = [
      this.#dice.pick([null, ['agent', 'SIGKILL'], ['agent', 'SIGSTOP'], ['agent', 'SIGTERM']] as const),
      this.#dice.pick([null, ['freezer', 'SIGKILL'], ['freezer', 'SIGSTOP']] as const),
      this.#dice.chance(0.5) ? ['gateway', 'SIGKILL'] : null,
    ]
    const order = deeds.map((deed) => ({ deed, rank: this.#dice.below(1000) }))
    return order.toSorted((one, other) => one.rank - other.rank).flatMap(({ deed }) => (deed === null ? [] : [deed]))
  }

  /** One backup whose freeze is slow and disturbed: the guest is thawed in the end. */
  async #round(): Promise<void> {
    const delayMs = this.#dice.below(FREEZE_WITHIN_MS)
    const afterMs = this.#dice.below(delayMs + GAP_WITHIN_MS)
    const deeds = this.#deeds()
    const list = deeds.map(([party, signal]) => `${party} ${signal}`).join(', ')
    this.#story.tell(`a freeze of ${delayMs} ms; ${afterMs} ms after it was asked for: ${list}`)
    this.#script.freezeDelayMs = delayMs
    const asked = this.#guest.commands.length
    await this.#stand.startBackup('db1')
    await eventually(() => this.#guest.commands.slice(asked).includes('guest-fsfreeze-freeze'))
    const freezer = (await this.#notes.list())[0]?.freezer?.pid ?? null
    await sleep(afterMs)
    for (const [party, signal] of deeds) {
      if (party === 'gateway') await this.#stand.endGateway(signal)
      else if (party === 'agent') this.#host.agent.signal(signal)
      else if (freezer !== null) kill(freezer, signal)
      await sleep(this.#dice.below(GAP_WITHIN_MS))
    }
    const parties = deeds.map(([party]) => party)
    // with both gone or stopped it is for the next start, as soon as it comes, whatever else is away
    if (parties.includes('agent') && parties.includes('freezer')) await this.#nextStart()
    await this.#thawed()
    const last = deeds.find(([party]) => party === 'agent')?.[1]
    if (last !== 'SIGSTOP' && !parties.includes('freezer') && last !== undefined) await this.#host.end(last)
  }

  async #nextStart(): Promise<void> {
    await this.#host.end('SIGKILL')
    this.#host.launch()
  }

  async #thawed(): Promise<void> {
    const guest = this.#guest
    await eventually(async () => !guest.freezing && !guest.frozen && (await this.#notes.list()).length === 0)
  }

  /** Everyone is there again: the next backup finds a guest that it can freeze, and leaves it thawed. */
  async #goOn(): Promise<void> {
    if (!this.#stand.hasGateway) await this.#stand.startGateway()
    // one that is stopped goes on or is ended, as a person would do it
    if (this.#host.hasAgent && this.#dice.chance(0.5)) this.#host.agent.signal('SIGCONT')
    else if (this.#host.hasAgent) await this.#host.end('SIGKILL')
    if (!this.#host.hasAgent) await this.#host.start()
    await this.#thawed()
    this.#script.freezeDelayMs = 0
    await this.#machine.touch(this.#dice)
    const model = this.#machine.snapshot()
    const job = await this.#stand.startBackup('db1')
    expect(await this.#stand.ended(job)).toMatchObject({ state: 'committed', error: null })
    const { consistency, note } = await this.#stand.point(job)
    expect({ consistency, note }).toEqual({ consistency: 'frozen', note: null })
    expect(this.#guest.frozen).toBe(false)
    expectDisks(await this.#stand.restore(job), model, job)
  }
}

const kill = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal)
  } catch {
    // its work was done already
  }
}
