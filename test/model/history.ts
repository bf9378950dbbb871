// A random history of one datastore: lives that back up, prune, collect, verify and restore, and die or fail at failpoints;
// after each, every promise is checked.
import { randomUUID } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../gateway/datastore/datastore.ts'
import type { CollectionReport, VerifyReport } from '../../protocol/maintenance.ts'
import { PACK_HEADER_BYTES } from '../../gateway/packs/format.ts'
import { addAgent, addMachine } from '../gateway/catalog.ts'
import { Dice } from '../support/model-dice.ts'
import { CHUNK_BYTES } from './contents.ts'
import { Damage, merged, type Range } from './damage.ts'
import { DataFolder } from './data-folder.ts'
import { Fleet } from './fleet.ts'
import { Ordeal } from './ordeal.ts'
import type { Fact, LifePlan, ModelMachine, Op } from './plan.ts'
import { Planner, TENANTS, type PlannerOptions } from './planner.ts'
import { Durable } from './power.ts'
import { runLife } from './process.ts'
import { ModelState } from './state.ts'
import type { Tally } from './tally.ts'
import { tellFacts, tellOp } from './tell.ts'

const MACHINES = [
  { tenant: 'acme', name: 'db1' },
  { tenant: 'acme', name: 'db2' },
  { tenant: 'beta', name: 'web' },
] as const

/** Backups after which all damage is healed: the first may come before anybody has looked at what lies below a lost node. */
const HEALING_ROUNDS = 2

/** Records of one tenant's state. */
const STATE_RECORDS_MAX = 4

const DAY_MS = 24 * 60 * 60 * 1000

/** How often something is damaged between two lives. */
const DAMAGE_CHANCE = 0.15

const within = (inner: Range, outer: Range): boolean =>
  inner.disk === outer.disk && inner.from >= outer.from && inner.to <= outer.to

export interface HistoryOptions extends PlannerOptions {
  /** Lives in which something fails; one follows in which nothing does. */
  readonly lives: number
  /** Whether the last life backs up, prunes, collects and verifies, or only looks whether everything is there. */
  readonly thorough: boolean
}

export class History implements AsyncDisposable {
  readonly #dice: Dice
  readonly #options: HistoryOptions
  readonly #tally: Tally
  readonly #root: string
  readonly #planner: Planner
  readonly #state: ModelState
  readonly #durable = new Durable()
  readonly #told: string[] = []
  readonly #damage: Damage
  readonly #ordeal: Ordeal
  /** Ranges that the verifications of the last life found lost. */
  #lost = 0
  /** Whether nothing fails any more and no upload is open. */
  #last = false

  private constructor(
    dice: Dice,
    options: HistoryOptions,
    tally: Tally,
    root: string,
    folder: DataFolder,
    machines: readonly ModelMachine[],
    keys: ReadonlyMap<string, Uint8Array>,
  ) {
    this.#dice = dice
    this.#options = options
    this.#tally = tally
    this.#root = root
    this.#state = new ModelState((machine) => machines.find(({ name }) => name === machine)!.tenant)
    this.#damage = new Damage(folder.path, keys)
    this.#state.damaged = (point) => this.#damage.touches(point)
    this.#state.onVerified = (tenant, report) => this.#verified(tenant, report)
    this.#state.onCollected = (tenant, report, threshold) => this.#collected(tenant, report, threshold)
    this.#state.onCommitted = (point, full) => {
      if (full && this.#damage.exact && this.#damage.found.has(point.tenant)) this.#damage.heal(point)
    }
    this.#planner = new Planner({ dice, options, root, machines, fleet: new Fleet(machines, dice), state: this.#state })
    this.#ordeal = new Ordeal({
      planner: this.#planner,
      state: this.#state,
      damage: this.#damage,
      folder,
      tally,
      live: (plan) => this.#live(plan),
      tell: (line) => this.#tell(line),
    })
  }

  static async start(seed: number, options: HistoryOptions, tally: Tally): Promise<History> {
    const dice = new Dice(seed)
    const root = mkdtempSync(path.join(tmpdir(), 'varve-model-'))
    const folder = new DataFolder(root)
    using catalog = openLocal(path.join(folder.path, CATALOG_NAME))
    const machines: ModelMachine[] = []
    const keys = new Map<string, Uint8Array>()
    for (const { tenant: name, name: machine } of MACHINES) {
      // one is from before the last tenant was added
      if (name === TENANTS.at(-1)) folder.keepCatalog('copies/0')
      const tenant =
        (await catalog.tenants.byName({ name })) ??
        (await catalog.tenants.add({
          name,
          id: randomUUID(),
          idKey: new Uint8Array(dice.bytes(32)),
          chunkBytes: CHUNK_BYTES,
          nowMs: 1,
        }))
      keys.set(name, tenant.idKey)
      const agent = await addAgent(catalog, tenant)
      await addMachine(catalog, tenant, agent, machine)
      machines.push({ tenant: name, name: machine, agent })
    }
    return new History(dice, options, tally, root, folder, machines, keys)
  }

  /** Lives and dies as often as told, then once more without a fault. Throws, with the story so far, at a broken promise. */
  async run(): Promise<void> {
    try {
      for (let life = 0; life < this.#options.lives; life++) {
        const at = this.#planner.failpoint()
        // only who meets damage comes there
        const spoils = at === 'index.forget' && life > 0
        if (!spoils) await this.#live(this.#planner.faulty(life === 0, at))
        if (spoils || this.#dice.chance(DAMAGE_CHANCE)) await this.#spoil()
        const mishap = this.#planner.mishap(life)
        if (mishap !== null) await this.#ordeal.run(mishap)
      }
      this.#state.open.clear()
      this.#last = true
      await this.#live(this.#options.thorough ? this.#planner.last() : this.#planner.steps([], [], 'steps', true))
      this.#tally.histories++
    } catch (cause) {
      this.#tell(await this.#damageTold())
      const story = this.#told.map((line) => `  ${line}`).join('\n')
      throw new Error(
        `seed ${this.#dice.seed} breaks a promise (npm run model -- ${this.#arguments} repeats it)\n${story}\n${String(cause)}`,
        { cause },
      )
    }
  }

  /** What the long run is told to make just this history. */
  get #arguments(): string {
    const { lives, thorough, at, faultsFrom, mishap } = this.#options
    const given = [`--seeds 1 --from ${this.#dice.seed} --lives ${lives}`]
    if (!thorough) given.push('--brief')
    if (at !== null) given.push(`--at ${at}`)
    if (mishap !== undefined && mishap !== null) given.push(`--mishap ${mishap}`)
    if (faultsFrom !== undefined) given.push(`--faults-from ${faultsFrom}`)
    return given.join(' ')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#root, { recursive: true, force: true })
  }

  /** Damages a record or a pack, lets life go on for a while or not, verifies, and heals by backups of the same content. */
  async #spoil(): Promise<void> {
    const dice = this.#dice
    const { told, records } = this.#damage.strike(this.#state.sure(), dice)
    this.#tell(`damage: ${told}`)
    if (records === 0) return
    this.#tally.damages++
    const spoilsOnly = this.#options.at === 'index.forget'
    this.#damage.exact = records === 1 && dice.chance(0.5) && !spoilsOnly
    if (!this.#damage.exact) await this.#live(this.#planner.faulty(false, 'index.forget'))
    this.#state.open.clear()
    const steps: Op[][] = []
    const affected = this.#state.sure().filter((point) => this.#damage.touches(point))
    for (const tenant of TENANTS) steps.push([{ op: 'verify', tenant }])
    for (const { id, machine } of affected) steps.push([{ op: 'restore', machine, point: id }])
    const verified = this.#planner.steps(steps, [], 'steps', dice.chance(0.5))
    await this.#live({ ...verified, look: dice.chance(0.5) })
    await this.#heal()
  }

  /** What was damaged comes again. Unless a verification has found all of it, some shows only then. */
  async #heal(): Promise<void> {
    const steps: Op[][] = []
    const affected = this.#state.sure().filter((point) => this.#damage.touches(point))
    for (const { machine, disks } of affected)
      steps.push([
        {
          ...this.#planner.backup(machine, true),
          full: true,
          disks,
        },
      ])
    for (const tenant of TENANTS) steps.push([{ op: 'verify', tenant }])
    for (const { id, machine } of this.#state.sure()) steps.push([{ op: 'restore', machine, point: id }])
    const rounds = this.#damage.exact ? 1 : HEALING_ROUNDS
    for (let round = 0; round < rounds; round++) {
      this.#lost = 0
      await this.#live({ ...this.#planner.steps(steps, [], 'steps', true), look: false })
      if (this.#lost === 0) break
    }
    if (this.#lost > 0) throw new Error('the same content came again and the damage is still there')
    this.#damage.forget()
  }

  /** What a verification must have found: with `exact` every lost range and no other, else no other. */
  #verified(tenant: string, { lost }: VerifyReport): void {
    const reported = new Map<string, Range[]>()
    for (const { point, disk, offset, length } of lost)
      reported.set(point, [...(reported.get(point) ?? []), { disk, from: offset, to: offset + length }])
    for (const point of this.#state.sure(tenant)) {
      const expected = this.#damage.lost(point)
      const got = merged(reported.get(point.id) ?? [])
      const right = this.#damage.exact
        ? isDeepStrictEqual(got, expected)
        : got.every((one) => expected.some((range) => within(one, range)))
      if (!right)
        throw new Error(`${point.id}: verify says ${JSON.stringify(got)} is lost, not ${JSON.stringify(expected)}`)
      reported.delete(point.id)
    }
    this.#lost += lost.length
    this.#damage.found.add(tenant)
    this.#tally.verified++
  }

  /** What a collection beside which nothing ran must have left: what points need, and little else. */
  #collected(tenant: string, { live, missing, bytesAfter, packs }: CollectionReport, thresholdPercent: number): void {
    if (!this.#last) return
    const points = this.#state.sure(tenant)
    // besides them a manifest for each point, and the tenant's state
    const other = live.records - this.#damage.needed(points) - points.length
    if (missing > 0 || other < 0 || other > STATE_RECORDS_MAX)
      throw new Error(
        `a collection of ${tenant} takes ${live.records} records for live, ${missing} missing: ${other} too many`,
      )
    const room = (bytesAfter - packs.after * PACK_HEADER_BYTES) * (thresholdPercent / 100)
    if (room > live.bytes)
      throw new Error(`a collection of ${tenant} leaves ${bytesAfter} bytes of ${live.bytes} live ones`)
    this.#tally.collected++
  }

  async #live(plan: LifePlan): Promise<readonly Fact[]> {
    this.#tell(
      `life${plan.close ? '' : ' killed at its end'}${plan.clockOffMs === 0 ? '' : `, its clock off by ${Math.round(plan.clockOffMs / DAY_MS)} days`}, faults ${JSON.stringify(plan.faults)} from ${plan.faultsFrom}`,
    )
    for (const step of plan.steps) this.#tell(`  ${step.map(tellOp).join(' | ')}`)
    const { facts, failure } = await runLife(plan)
    this.#tell(`  ${tellFacts(facts)}`)
    if (failure !== null) throw new Error(`a life went wrong: ${failure}`)
    const faults = facts.filter((fact) => fact.fact === 'fault')
    const closed = facts.some(({ fact }) => fact === 'closed')
    const died = !closed && faults.some(({ fault }) => fault.action === 'die')
    if (!closed && !died && plan.close && faults.length === 0 && plan.refusals.length === 0)
      throw new Error('a life that nothing disturbed did not close')
    this.#durable.follow(facts)
    this.#state.follow(plan, facts, faults.length > 0)
    this.#tally.lived(plan, facts, closed)
    if (!closed && this.#dice.chance(0.5)) {
      this.#tally.powerLosses++
      for (const line of this.#durable.lose(plan.folder, this.#dice)) this.#tell(`  power: ${line}`)
    } else this.#durable.settle()
    return facts
  }

  /** What the store itself says is damaged, as far as its catalog can be read. */
  async #damageTold(): Promise<string> {
    try {
      using catalog = openLocal(path.join(this.#root, 'data', CATALOG_NAME))
      const lines: string[] = []
      for (const tenant of await catalog.damage.tenants())
        for (const { id, type, pack, reason } of await catalog.damage.page({ tenant, after: null, limit: 1000 }))
          lines.push(`damage ${id} type ${type} in ${pack}: ${reason}`)
      return lines.join('\n  ')
    } catch (error) {
      return `the catalog cannot be read: ${String(error)}`
    }
  }

  #tell(line: string): void {
    this.#told.push(line)
  }
}
