// One history of a domain of libvirt that runs from the gateway: its guest writes, while every party is killed, ended and cut off by
// turns. What was written and flushed has to be there at the end, and everything else is the point's content.
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { askServer } from '../../agent/instant/control.ts'
import { findRecord, placesIn, type Places } from '../../agent/instant/record.ts'
import type { LibvirtDomain } from '../../agent/libvirt/types.ts'
import type { Dice } from '../support/model-dice.ts'
import { isAlive } from '../support/stand-program.ts'
import { eventually } from '../support/temp.ts'
import { DOMAIN, type DomainStand } from './domain-stand.ts'

const SECTOR_BYTES = 512

// prettier-ignore
const STEPS = [
  'write', 'write', 'write', 'pause', 'kill machine', 'kill machine', 'kill server', 'end server', 'kill libvirtd',
  'restart gateway', 'cut link', 'restart host',
] as const
type Step = (typeof STEPS)[number]

export interface DomainHistoryOptions {
  readonly at: DomainStand
  /** The point's content. */
  readonly disks: ReadonlyMap<string, Buffer>
  readonly dice: Dice
  /** Told of each step. */
  readonly onStep: (step: string) => void
}

export class DomainHistory {
  readonly #options: DomainHistoryOptions
  readonly #contents: ReadonlyMap<string, Buffer>
  #places: Places
  #domain: LibvirtDomain | null = null

  constructor(options: DomainHistoryOptions) {
    this.#options = options
    this.#contents = new Map([...options.disks].map(([name, content]) => [name, Buffer.from(content)]))
    this.#places = placesIn(options.at.temp.join(`history-${options.dice.seed}`))
  }

  /** Throws where a promise is broken. */
  async run(): Promise<void> {
    const { at, dice, onStep } = this.#options
    const speed = dice.pick(['1M', '4M', '16M', '64M'])
    onStep(`begin at ${speed}`)
    const name = `history-${dice.seed}`
    const folder = await at.begin(name, '--speed', speed)
    try {
      await this.#start()
      for (let steps = 3 + dice.below(8); steps > 0; steps--) await this.#step(dice.pick(STEPS))
      await this.#finish(folder)
    } finally {
      if ((await at.libvirt.control.listAllDomains({ active: true })).length > 0) await at.kill()
      if (await at.isDefined()) await at.libvirt.virsh('undefine', DOMAIN)
      const left = (await askServer(this.#places.control, 'status').catch(() => null))?.pid
      if (left !== undefined) process.kill(left, 'SIGKILL')
      await rm(folder, { recursive: true, force: true })
    }
  }

  get #isUnfinished(): Promise<boolean> {
    return findRecord(this.#places).then((record) => record !== null)
  }

  /** Whoever needs to has been started again, and serves. */
  async #served(): Promise<void> {
    await eventually(async () => {
      if (!(await this.#isUnfinished)) return true
      const state = await askServer(this.#places.control, 'status').catch(() => null)
      return state?.serving === true && state.away === null
    })
  }

  /** Of the domain that libvirt keeps already, as any other; else by who has its disks served. */
  async #start(): Promise<void> {
    const { at } = this.#options
    if (await this.#isUnfinished) {
      try {
        this.#domain = await at.runFrom(this.#places.folder)
        return
      } catch (error) {
        // it was complete in just this moment
        if (!(await at.isDefined())) throw error
      }
    }
    await at.libvirt.virsh('start', DOMAIN)
    this.#domain = await at.libvirt.control.domainByName(DOMAIN)
  }

  async #write(): Promise<void> {
    const { at, dice } = this.#options
    // a write to a part of a cluster reads the rest, which fails while nobody serves it
    await this.#served()
    const names = [...this.#contents.keys()]
    const place = dice.below(names.length)
    const content = this.#contents.get(names[place]!)!
    const sectors = 1 + dice.below(dice.pick([1, 8, 128, 512]))
    const offset = SECTOR_BYTES * dice.below(content.length / SECTOR_BYTES - sectors)
    const bytes = dice.bytes(sectors * SECTOR_BYTES)
    await at.write(this.#domain!, place, offset, bytes)
    content.set(bytes, offset)
  }

  async #endServer(signal: NodeJS.Signals): Promise<void> {
    const pid = (await askServer(this.#places.control, 'status').catch(() => null))?.pid
    if (pid === undefined) return
    process.kill(pid, signal)
    await eventually(async () => !(await isAlive(pid)))
  }

  async #step(step: Step): Promise<void> {
    const { at, dice, onStep } = this.#options
    onStep(step)
    if (step === 'write') for (let writes = 1 + dice.below(6); writes > 0; writes--) await this.#write()
    if (step === 'pause') await sleep(dice.below(2500))
    if (step === 'kill server' || step === 'end server')
      await this.#endServer(step === 'kill server' ? 'SIGKILL' : 'SIGTERM')
    if (step === 'kill libvirtd') await at.libvirt.restart('SIGKILL')
    if (step === 'restart gateway') {
      await at.stand.endGateway('SIGKILL')
      await at.stand.startGateway()
    }
    if (step === 'cut link') at.host.link.cut()
    if (step === 'kill machine' || step === 'restart host') {
      if (step === 'restart host') await this.#endServer('SIGKILL')
      await at.kill()
      await this.#start()
    }
  }

  async #finish(folder: string): Promise<void> {
    const { at, dice, onStep } = this.#options
    const mishap = dice.pick(['none', 'kill machine', 'kill server', 'off'] as const)
    onStep(`finish, ${mishap}`)
    if (mishap === 'off') await at.kill()
    if (await this.#isUnfinished) {
      const command = at.host.command('instant', 'finish', folder)
      await sleep(dice.below(3000))
      if (mishap === 'kill server') await this.#endServer('SIGKILL')
      if (mishap === 'kill machine') await at.kill()
      const { code, stderr } = await command.ended
      // one that found nothing to finish came too late
      if (code !== 0 && !stderr.includes('stand alone already')) throw new Error(`finish ended with ${code}: ${stderr}`)
    }
    onStep('alone')
    if (!(await at.isDefined())) throw new Error('libvirt does not keep the domain')
    if ((await at.libvirt.control.listAllDomains({ active: true })).length > 0) await at.kill()
    await at.checkAlone(folder, this.#contents)
  }
}
