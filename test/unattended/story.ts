// The unattended run: a plan of every minute, and everything that may happen to those who carry it out; nobody helps.
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError } from '../../protocol/errors.ts'
import { PLAN_RULES_DEFAULT, type Plan } from '../../protocol/plans.ts'
import { TENANT } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'
import { allChecks, MINUTE_MS, type Away, type Check, type Facts } from './checks.ts'
import { factsOf, leftCheck } from './facts.ts'
import { Proofs } from './proofs.ts'
import { Rig } from './rig.ts'
import { seriesChecks } from './series.ts'

/** How long the gateway stays away once it was killed, and the agent, in milliseconds. */
const GATEWAY_AWAY_MS = 20_000
const AGENT_AWAY_MS = 5000

/** How long one machine is off: its plan has it fresh within two minutes, so that is told, in milliseconds. */
const MACHINE_OFF_MS = 150_000

export const EVERY_MINUTE: Plan = {
  ...PLAN_RULES_DEFAULT,
  name: 'minutely',
  schedule: '* * * * *',
  rpoMs: 2 * MINUTE_MS,
  keep: { last: 2, hourly: 2, daily: 2, weekly: 1, monthly: 0, yearly: 0, withinDays: 0 },
  verifyDays: 1,
  covers: { ...PLAN_RULES_DEFAULT.covers, others: true },
}

export interface Told {
  readonly facts: Facts
  readonly checks: readonly Check[]
}

interface Asked {
  readonly minutes: number
  readonly say: (text: string) => void
  readonly signal: AbortSignal
}

class Story {
  readonly #rig: Rig
  readonly #asked: Asked
  readonly #proofs: Proofs
  readonly #away: Away[] = []
  readonly #startMs = Date.now()
  #fromMs = 0
  #mostBytes = 0

  constructor(rig: Rig, asked: Asked) {
    this.#rig = rig
    this.#asked = asked
    this.#proofs = new Proofs(rig)
  }

  async tell(): Promise<Told> {
    const { minutes } = this.#asked
    const { guests } = this.#rig
    const off = guests.at(-1)!
    await this.#begin()
    await this.#until(0.15 * minutes)
    this.#say(`${off.name} is shut down`)
    await off.off()
    await sleep(MACHINE_OFF_MS, undefined, { signal: this.#asked.signal })
    this.#say(`${off.name} runs again`)
    await off.on()
    await this.#until(0.5 * minutes)
    await this.#gatewayDies()
    await this.#until(0.75 * minutes)
    this.#say('the agent is killed')
    await this.#rig.killAgent()
    await this.#wait(AGENT_AWAY_MS)
    await this.#rig.raiseAgent()
    await this.#until(minutes)
    return await this.#end()
  }

  #say(text: string): void {
    const seconds = Math.round((Date.now() - this.#startMs) / 1000)
    this.#asked.say(`${String(Math.floor(seconds / 60)).padStart(2)}:${String(seconds % 60).padStart(2, '0')}  ${text}`)
  }

  #wait(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#asked.signal })
  }

  /** Waits until so many minutes after the plan was given; says meanwhile how it goes, and notes what the packs take. */
  async #until(minutes: number): Promise<void> {
    const untilMs = this.#fromMs + minutes * MINUTE_MS
    while (Date.now() < untilMs) {
      await this.#wait(Math.min(2000, Math.max(1, untilMs - Date.now())))
      await this.#weigh()
      const failed = this.#rig.guests.find(({ failure }) => failure !== null)
      if (failed !== undefined) throw new Error(`the guest of ${failed.name} cannot write`, { cause: failed.failure })
    }
  }

  async #weigh(): Promise<number> {
    const bytes = await this.#rig.look((catalog, tenant) => catalog.packs.tenantBytes({ tenant }))
    this.#mostBytes = Math.max(this.#mostBytes, bytes)
    return bytes
  }

  async #apply(plan: Plan): Promise<void> {
    await (await this.#rig.stand.peer('owner')).call('plans.apply', { plans: [plan] })
  }

  async #begin(): Promise<void> {
    const { guests, hook } = this.#rig
    await this.#rig.addTargets()
    // the receiver is down at first: messages are tried again
    hook.refuse = 2
    for (const guest of guests) guest.start()
    this.#say(`${guests.length} machines write; their plan has them backed up every minute`)
    await this.#apply(EVERY_MINUTE)
    this.#fromMs = Date.now()
    this.#proofs.begin()
  }

  async #gatewayDies(): Promise<void> {
    this.#say('the gateway is killed')
    const fromMs = Date.now()
    await this.#rig.killGateway()
    await this.#wait(GATEWAY_AWAY_MS)
    await this.#rig.raiseGateway()
    this.#away.push({ fromMs, toMs: Date.now() })
    this.#say('the gateway is back')
  }

  async #end(): Promise<Told> {
    const { stand, guests, host, prometheus } = this.#rig
    const toMs = Date.now()
    this.#say('the plan is disabled; what is under way comes to its end')
    await this.#apply({ ...EVERY_MINUTE, enabled: false })
    await eventually(() => this.#settled(), 180_000)
    for (const guest of guests) await guest.pause()
    await this.#proofs.end()
    const series = prometheus === null ? [] : await seriesChecks(prometheus, { machines: guests.length })
    const bytes = await this.#upkeepByHand()
    const facts = await factsOf(this.#rig, this.#proofs, {
      fromMs: this.#fromMs,
      toMs,
      gatewayAway: this.#away,
      mostBytes: this.#mostBytes,
      bytes,
    })
    const audit = await stand.done('audit', 'check')
    const chain = { what: 'the audit chain holds', ok: audit.code === 0, seen: audit.stdout.trim() }
    return { facts, checks: [...allChecks(facts), ...series, await leftCheck(host), chain] }
  }

  /** Whether no run is due or under way, and nothing holds that would still be told as good. */
  async #settled(): Promise<boolean> {
    return await this.#rig.look(async (catalog) => {
      const open = await catalog.runs.open()
      const holding = await catalog.conditions.all({ kind: 'machine.state' })
      return open.length === 0 && holding.length === 0
    })
  }

  /** What came since the last upkeep is pruned and collected by hand, which is upkeep too; what the packs take then. */
  async #upkeepByHand(): Promise<number> {
    const { stand } = this.#rig
    await stand.done('prune', '--tenant', TENANT)
    await stand.done('gc', '--tenant', TENANT)
    return await this.#weigh()
  }
}

/** Runs it; throws on a signal, and where something cannot go on. Nothing of it is left afterwards. */
export const runUnattended = async (asked: Asked): Promise<Told> => {
  await using rig = await Rig.start({ machines: 3, prometheus: true })
  const aborted = new Promise<never>((_, reject) => {
    const stop = (): void => reject(new Error('it was interrupted'))
    if (asked.signal.aborted) stop()
    asked.signal.addEventListener('abort', stop, { once: true })
  })
  const story = new Story(rig, asked).tell()
  // an interrupted story ends when what it waits for is gone
  story.catch(() => undefined)
  return await Promise.race([story, aborted]).catch((thrown: unknown) => {
    throw asVarveError(thrown).code === 'INTERNAL' ? thrown : asVarveError(thrown)
  })
}
