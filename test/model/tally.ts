// How many faults were made at each failpoint, and how they went.
import { FAILPOINTS, type FailpointName } from '../../gateway/common/failpoint.ts'
import { MISHAPS, type MishapName } from './mishap.ts'
import type { Fact, LifePlan } from './plan.ts'

interface Faults {
  deaths: number
  errors: number
}

export class Tally {
  histories = 0
  lives = 0
  deaths = 0
  /** Of them those before the store was open. */
  deathsWhileOpening = 0
  errors = 0
  powerLosses = 0
  restores = 0
  damages = 0
  verified = 0
  collected = 0
  /** Starts that were refused with a way out, and rebuilds that found everything. */
  refusedStarts = 0
  rebuilds = 0
  /** Lives with backups whose clock was off. */
  ahead = 0
  behind = 0
  readonly #mishaps = new Map<MishapName, number>(MISHAPS.map((name) => [name, 0]))
  readonly #faults = new Map<FailpointName, Faults>(FAILPOINTS.map((name) => [name, { deaths: 0, errors: 0 }]))

  /** Counts what a life met; `closed` when it came to its end. */
  lived({ clockOffMs }: LifePlan, facts: readonly Fact[], closed: boolean): void {
    this.lives++
    if (clockOffMs !== 0 && facts.some(({ fact }) => fact === 'committed')) this[clockOffMs > 0 ? 'ahead' : 'behind']++
    if (!closed && !facts.some(({ fact }) => fact === 'ended')) {
      this.deaths++
      if (!facts.some(({ fact }) => fact === 'opened')) this.deathsWhileOpening++
    }
    for (const fact of facts) {
      if (fact.fact === 'restored' && fact.code === null) this.restores++
      if (fact.fact !== 'fault') continue
      const faults = this.#faults.get(fact.at)!
      if (fact.fault.action === 'die') faults.deaths++
      else {
        faults.errors++
        this.errors++
      }
    }
  }

  /** Counts a mishap that was lived through. */
  happened(name: MishapName): void {
    this.#mishaps.set(name, this.#mishaps.get(name)! + 1)
  }

  /** Mishaps that have not happened yet. */
  get unmet(): MishapName[] {
    return [...this.#mishaps].filter(([, count]) => count === 0).map(([name]) => name)
  }

  /** Failpoints at which nothing has failed yet. */
  get untried(): FailpointName[] {
    return [...this.#faults].filter(([, { deaths, errors }]) => deaths + errors === 0).map(([name]) => name)
  }

  toString(): string {
    const rows = [...this.#faults].map(
      ([name, { deaths, errors }]) =>
        `  ${name.padEnd(20)} ${String(deaths).padStart(6)} deaths ${String(errors).padStart(6)} errors`,
    )
    const {
      histories,
      lives,
      deaths,
      deathsWhileOpening,
      errors,
      powerLosses,
      restores,
      damages,
      verified,
      collected,
    } = this
    const total = `${histories} histories, ${lives} lives: ${deaths} deaths (${deathsWhileOpening} while it recovered, ${powerLosses} with loss of power) and ${errors} errors survived, ${restores} disks restored, ${damages} packs damaged and healed, ${verified} verifications and ${collected} collections checked`
    const mishaps = [...this.#mishaps].map(([name, count]) => `${name} ${count}`).join(', ')
    const met = `mishaps: ${mishaps}, clock ahead ${this.ahead}, clock behind ${this.behind}; ${this.refusedStarts} starts refused, ${this.rebuilds} rebuilds`
    return [...rows, met, total].join('\n')
  }
}
