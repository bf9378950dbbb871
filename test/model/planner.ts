// Plans what a life does and what fails in it, by dice.
import path from 'node:path'
import { FAILPOINTS, type FailpointName } from '../../gateway/common/failpoint.ts'
import type { Dice } from '../support/model-dice.ts'
import type { Fleet } from './fleet.ts'
import { drawMishap, MISHAPS, type Mishap, type MishapName } from './mishap.ts'
import type { BackupOp, Fault, LifePlan, ModelMachine, Op } from './plan.ts'
import type { ModelPoint, ModelState } from './state.ts'

/** Small, so that packs fill, seal and are rewritten. */
const PACK_BYTES_MAX = 192 * 1024

const DAY_MS = 24 * 60 * 60 * 1000

/** How far ahead or behind the clock of one life may be, by mistake: locks of the test last longer. */
const OFF_MS_MAX = 400 * DAY_MS

/** How often it is. */
const OFF_CHANCE = 0.15

/** A copy of the catalog is taken within the first so many transactions of a life. */
const COPY_TRANSACTIONS = 150

/** How long a lock lasts: longer than a history, with all that its clocks may be off. */
const LOCK_MS = 1000 * DAY_MS

/** Failpoints from one faulty life of a history to the next: prime to their number, so that all get their turn. */
const TURN = 7

/** Passes of a life at failpoints that it comes to often; a fault is made at one of them. */
const PASSES: Partial<Record<FailpointName, number>> = {
  'pack.create': 6,
  'pack.created': 6,
  'pack.append': 16,
  'pack.append.half': 20,
  'pack.sync': 12,
  'pack.synced': 12,
  'pack.read': 40,
  'transaction.before': 80,
  'transaction.after': 80,
  'index.commit': 10,
  'manifest.write': 3,
  'manifest.written': 3,
}

/** Failpoints that only a collection comes to, or hardly anything else. */
const COLLECTING: ReadonlySet<FailpointName> = new Set([
  'pack.seal',
  'pack.remove',
  'pack.unlinked',
  'pack.removed',
  'mark',
  'sweep',
  'rewrite.copy',
  'rewrite.move',
  'doom',
  'unlink',
])

/** How often something is done to the folder between two lives. */
const MISHAP_CHANCE = 0.25

/** The tenants of a history. */
export const TENANTS = ['acme', 'beta'] as const

export interface PlannerOptions {
  /** The one failpoint of all faults, or null for all of them in turn. */
  readonly at: FailpointName | null
  /** The one mishap that happens after the first life, or null for any in turn, now and then. */
  readonly mishap?: MishapName | null
  /** Where all faults come from, at the first passes; by default both are drawn for each life. */
  readonly faultsFrom?: LifePlan['faultsFrom']
}

export class Planner {
  readonly #dice: Dice
  readonly #options: PlannerOptions
  readonly #root: string
  readonly #machines: readonly ModelMachine[]
  readonly #fleet: Fleet
  readonly #state: ModelState
  #clockMs: number
  #turn: number
  #copies = 0

  /** `root` is the folder that holds the store. */
  constructor(parts: {
    dice: Dice
    options: PlannerOptions
    root: string
    machines: readonly ModelMachine[]
    fleet: Fleet
    state: ModelState
  }) {
    this.#dice = parts.dice
    this.#options = parts.options
    this.#root = parts.root
    this.#machines = parts.machines
    this.#fleet = parts.fleet
    this.#state = parts.state
    this.#turn = parts.dice.seed
    this.#clockMs = Date.UTC(2026, 5, 1) + parts.dice.below(365) * DAY_MS
  }

  /** A life in which something fails at a failpoint; the first one begins with a backup of every machine. */
  faulty(first: boolean, at: FailpointName): LifePlan {
    const dice = this.#dice
    const steps: Op[][] = []
    const resumed = [...this.#state.open.values()].filter(({ begun }) => begun && dice.chance(0.8))
    for (const [job, { machine }] of this.#state.open)
      if (!resumed.some((one) => one.job === job)) this.#state.open.delete(job)
      else steps.push([{ op: 'resume', machine, job, window: 8 + dice.below(60) }])
    const count = 1 + dice.below(3)
    for (let index = 0; index < count; index++) steps.push(this.#step(first && index === 0))
    steps.push(...this.#leadingTo(at))
    const early = dice.chance(0.25) || at === 'index.forget'
    const faultsFrom = this.#options.faultsFrom ?? (early ? 'start' : 'steps')
    return this.steps(steps, this.#faults(at, faultsFrom === this.#options.faultsFrom), faultsFrom, dice.chance(0.7))
  }

  /** Work that comes to a failpoint which a backup does not come to. */
  #leadingTo(at: FailpointName): Op[][] {
    if (!COLLECTING.has(at) && at !== 'prune') return []
    const tenant = this.#dice.pick(TENANTS)
    const steps: Op[][] = [[{ op: 'prune', tenant, points: null, keepLast: 1 }]]
    if (at !== 'prune') steps.push([{ op: 'collect', tenant, thresholdPercent: 100 }])
    return steps
  }

  /** The failpoint of the next faulty life: by seed and life all of them get their turn. */
  failpoint(): FailpointName {
    this.#turn += TURN
    return this.#options.at ?? FAILPOINTS[this.#turn % FAILPOINTS.length]!
  }

  /** What is done to the folder between this life, by its number, and the next; null for nothing. */
  mishap(life: number): Mishap | null {
    const { mishap = null, at } = this.#options
    if (mishap !== null) return life === 0 ? drawMishap(mishap, this.#dice) : null
    if (at !== null || !this.#dice.chance(MISHAP_CHANCE)) return null
    return drawMishap(MISHAPS[(this.#dice.seed + life) % MISHAPS.length]!, this.#dice)
  }

  /** Nothing fails any more: everything is backed up, pruned, collected, verified. */
  last(): LifePlan {
    const steps: Op[][] = [this.#machines.map(({ name }) => this.backup(name, true))]
    for (const tenant of this.#dice.chance(0.3) ? TENANTS : (['acme'] as const)) {
      steps.push([{ op: 'prune', tenant, points: null, keepLast: 2 }])
      steps.push([{ op: 'collect', tenant, thresholdPercent: 90 }])
      steps.push([{ op: 'verify', tenant }])
    }
    for (const { id, machine } of this.#state.sure()) steps.push([{ op: 'restore', machine, point: id }])
    return this.steps(steps, [], 'steps', true)
  }

  /** A life of these steps. */
  steps(steps: Op[][], faults: Fault[], faultsFrom: LifePlan['faultsFrom'], close: boolean): LifePlan {
    const dice = this.#dice
    // now and then the clock is set back, though never by so much that locks of the test would end
    this.#clockMs += dice.chance(0.1) ? -dice.below(3 * DAY_MS) : dice.below(DAY_MS)
    // and now and then it is far off for one life
    const clockOffMs = dice.chance(OFF_CHANCE) ? dice.pick([-1, 1]) * dice.below(OFF_MS_MAX) : 0
    const into = path.join(this.#root, 'copies', String(++this.#copies))
    return {
      folder: path.join(this.#root, 'data'),
      journal: path.join(this.#root, 'journal'),
      aside: path.join(this.#root, 'aside'),
      clockMs: this.#clockMs + clockOffMs,
      clockOffMs,
      copy: { after: dice.below(COPY_TRANSACTIONS), into },
      packBytesMax: PACK_BYTES_MAX,
      machines: this.#machines,
      known: Object.fromEntries([...this.#state.points].map(([id, { disks }]) => [id, disks])),
      open: [...this.#state.open.values()],
      faults,
      faultsFrom,
      look: true,
      steps,
      close,
      refusals: [],
    }
  }

  /** The time by the gateway's clock, when that is right. */
  get nowMs(): number {
    return this.#clockMs
  }

  /** Work while something is amiss: what could destroy what is hidden, what is to be kept of it, and what goes on beside it. */
  trouble(affected: readonly ModelPoint[]): LifePlan {
    const dice = this.#dice
    const steps: Op[][] = []
    const kept = affected.length > 0 ? dice.pick(affected) : null
    if (kept !== null && dice.chance(0.7))
      steps.push([{ op: 'hold', tenant: kept.tenant, point: kept.id, held: kept.held === false }])
    if (kept !== null && dice.chance(0.5))
      steps.push([{ op: 'lock', tenant: kept.tenant, point: kept.id, untilMs: this.#clockMs + LOCK_MS }])
    const work: Op[][] = []
    for (const tenant of TENANTS) {
      const machines = this.#machines.filter((machine) => machine.tenant === tenant)
      for (const { name } of machines) if (dice.chance(0.5)) this.#fleet.rollBack(this.#fleet.guest(name))
      work.push(
        [{ op: 'collect', tenant, thresholdPercent: 100 }],
        [{ op: 'collect', tenant, thresholdPercent: dice.pick([50, 100]) }],
        [{ op: 'prune', tenant, points: null, keepLast: 1 + dice.below(2) }],
        [this.backup(dice.pick(machines).name, false)],
      )
      if (dice.chance(0.5)) work.push([{ op: 'verify', tenant }])
    }
    while (work.length > 0) steps.push(...work.splice(dice.below(work.length), 1))
    return this.steps(steps, [], 'steps', dice.chance(0.7))
  }

  /** What finds that something is back. */
  glance(tenant: string): Op {
    return this.#dice.chance(0.7) ? { op: 'collect', tenant, thresholdPercent: 100 } : { op: 'verify', tenant }
  }

  #faults(at: FailpointName, atOnce: boolean): Fault[] {
    const dice = this.#dice
    if (atOnce) return [{ at, hit: dice.below(4), times: 1, action: 'die' }]
    if (this.#options.at === null) {
      if (dice.chance(0.06)) return []
      if (dice.chance(0.08))
        return [{ at: 'writes', hit: dice.below(80), times: Number.MAX_SAFE_INTEGER, action: 'EROFS' }]
      if (dice.chance(0.08))
        return [{ at: 'writes', hit: dice.below(150), times: 1 + dice.below(20), action: 'ENOSPC' }]
    }
    const action =
      at === 'pack.read'
        ? dice.pick(['die', 'EIO'] as const)
        : dice.pick(['die', 'die', 'die', 'ENOSPC', 'EIO'] as const)
    const times = action === 'die' || dice.chance(0.5) ? 1 : 1 + dice.below(4)
    return [{ at, hit: dice.below(PASSES[at] ?? 2), times, action }]
  }

  #step(first: boolean): Op[] {
    const dice = this.#dice
    if (!first && dice.chance(0.2)) return this.#race()
    if (first) return this.#machines.map(({ name }) => this.backup(name, false))
    const ops: Op[] = []
    const busy = new Set<string>()
    const count = 1 + dice.below(4)
    for (let index = 0; index < count; index++) {
      const op = this.#op()
      const about = op === null ? [] : aboutOf(op)
      if (op === null || about.some((one) => busy.has(one))) continue
      for (const one of about) busy.add(one)
      ops.push(op)
    }
    return ops
  }

  /** Uploads of content that was there before, beside a collection that may just take it away. */
  #race(): Op[] {
    const tenant = this.#dice.pick(TENANTS)
    const machines = this.#machines.filter((machine) => machine.tenant === tenant)
    for (const { name } of machines) this.#fleet.rollBack(this.#fleet.guest(name))
    const backups = machines.map(({ name }) => this.backup(name, false))
    return [{ op: 'collect', tenant, thresholdPercent: 100 }, ...backups]
  }

  #op(): Op | null {
    const dice = this.#dice
    const tenant = dice.pick(['acme', 'acme', 'beta'])
    const points = this.#state.sure(tenant)
    const kind = dice.pick([
      'backup',
      'backup',
      'backup',
      'restore',
      'prune',
      'prune',
      'collect',
      'collect',
      'verify',
      'hold',
      'lock',
    ] as const)
    if (kind === 'backup') return this.backup(dice.pick(this.#machines).name, false)
    if (kind === 'collect') return { op: 'collect', tenant, thresholdPercent: dice.pick([50, 90, 100]) }
    if (kind === 'verify') return { op: 'verify', tenant }
    if (points.length === 0) return null
    const point = dice.pick(points)
    if (kind === 'restore') return { op: 'restore', machine: point.machine, point: point.id }
    if (kind === 'prune') return this.#prune(tenant, points)
    if (kind === 'hold') return { op: 'hold', tenant, point: point.id, held: point.held === false }
    return dice.chance(0.3) ? { op: 'lock', tenant, point: point.id, untilMs: this.#clockMs + LOCK_MS } : null
  }

  #prune(tenant: string, points: readonly ModelPoint[]): Op {
    const dice = this.#dice
    if (dice.chance(0.5)) return { op: 'prune', tenant, points: null, keepLast: 1 + dice.below(3) }
    const chosen = points.filter(
      ({ held, lockedUntilMs }) => held === false && lockedUntilMs === null && dice.chance(0.3),
    )
    const [first = dice.pick(points)] = chosen
    return { op: 'prune', tenant, points: [first, ...chosen.slice(1)].map(({ id }) => id), keepLast: 0 }
  }

  /** A backup of what a machine's disks hold by then. */
  backup(name: string, undisturbed: boolean): BackupOp {
    const dice = this.#dice
    const guest = this.#fleet.guest(name)
    if (dice.chance(0.7)) this.#fleet.write(guest)
    const { disks } = guest
    const cut = !undisturbed && dice.chance(0.25)
    return {
      op: 'backup',
      machine: name,
      full: dice.chance(0.15),
      timeMs: this.#clockMs,
      disks,
      window: dice.pick([7, 32, 64, 256]),
      touchEvery: dice.pick([3, 50, 10_000]),
      cut: cut
        ? {
            at: dice.below(disks[0]!.chunks.length),
            after: dice.pick(['resume', 'resume', 'abandon', 'leave'] as const),
          }
        : null,
    }
  }
}

/** What two pieces of work of one step must not both be about. */
const aboutOf = (op: Op): readonly string[] => {
  if (op.op === 'backup') return [op.machine]
  if (op.op === 'hold' || op.op === 'lock') return [op.point]
  if (op.op === 'prune') return op.points ?? [`rules of ${op.tenant}`]
  return []
}
