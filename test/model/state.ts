// What a client of the gateway may rely on, in memory: which restore points must be there, which may, and what each holds.
import type { CollectionReport, VerifyReport } from '../../protocol/maintenance.ts'
import type { DiskContent } from './contents.ts'
import type { Fact, LifePlan, ListedPoint, OpenBackup, Op } from './plan.ts'

export interface ModelPoint {
  readonly id: string
  readonly tenant: string
  readonly machine: string
  readonly disks: readonly DiskContent[]
  /** It was acknowledged, or seen, and not removed since; others may be there or not. */
  sure: boolean
  /** Null where an answer was lost, until the point is looked at. */
  held: boolean | null
  lockedUntilMs: number | null
}

/** A prune whose answer was lost. */
interface LostPrune {
  readonly points: readonly string[]
  /** All of them or none. */
  readonly whole: boolean
}

type Doing = Extract<Fact, { fact: 'doing' }>

/** Codes that a failing disk or database gives. */
const STORE_CODES: ReadonlySet<string> = new Set(['STORE_FULL', 'STORE_FAILED'])

/** What a refusal says that names a way out. */
const WAY_OUT = /varve-gateway [a-z]|put .+ back/u

export class ModelState {
  readonly points = new Map<string, ModelPoint>()
  /** Backups that their agents still hold a lease for, by job. */
  readonly open = new Map<string, OpenBackup>()
  /** Damage that the test made and nothing has healed: what restores may fail at. */
  damaged: (point: ModelPoint) => boolean = () => false
  /** Told of every verification that ended well. */
  onVerified: (tenant: string, report: VerifyReport) => void = () => {}
  /** Told of every collection that ended well. */
  onCollected: (tenant: string, report: CollectionReport, thresholdPercent: number) => void = () => {}
  /** Told of every point that is acknowledged, with how its disks were read. */
  onCommitted: (point: ModelPoint, full: boolean) => void = () => {}
  restores = 0
  readonly #gone = new Set<string>()
  /** What a prune of the present life may remove. */
  readonly #pruning = new Set<string>()
  #lostPrunes: LostPrune[] = []
  #refusals: readonly string[] = []
  readonly #tenantOf: (machine: string) => string

  constructor(tenantOf: (machine: string) => string) {
    this.#tenantOf = tenantOf
  }

  /** Restore points that are there for sure. */
  sure(tenant?: string): ModelPoint[] {
    return [...this.points.values()].filter((point) => point.sure && (tenant === undefined || point.tenant === tenant))
  }

  /** Takes over what a life said; throws at the first broken promise. `faulty` when a fault was made in it. */
  follow(plan: LifePlan, facts: readonly Fact[], faulty: boolean): void {
    const doing = new Map<number, Doing>()
    this.#pruning.clear()
    this.#refusals = plan.refusals
    for (const fact of facts) {
      switch (fact.fact) {
        case 'broken':
          throw new Error(fact.message)
        case 'audit':
          if (fact.brokenSeq !== null) throw new Error(`the audit log is broken at ${fact.brokenSeq}`)
          break
        case 'listed':
          this.#listed(fact.tenant, fact.points)
          break
        case 'restored':
          this.#restored(fact, faulty)
          break
        case 'started': {
          const { fact: _, ...open } = fact
          this.open.set(open.job, open)
          this.#add(open)
          break
        }
        case 'begun':
          this.open.set(fact.job, { ...this.open.get(fact.job)!, begun: true })
          break
        case 'committed':
          this.#committed(fact.job)
          break
        case 'failed':
          if (fact.job !== null) this.open.delete(fact.job)
          this.#failed(plan, fact, faulty)
          break
        case 'doing':
          doing.set(fact.id, fact)
          if (fact.op.op === 'prune') for (const { id } of this.sure(fact.op.tenant)) this.#pruning.add(id)
          break
        case 'done':
          this.#done(fact, doing.get(fact.id)!)
          doing.delete(fact.id)
          break
        case 'ended':
          if (!faulty && !this.#isRefusal(fact))
            throw new Error(`a life that nothing disturbed ended: ${fact.code} ${fact.message}`)
          break
        case 'refused':
          this.#refused(fact, faulty)
          break
        case 'opened':
        case 'checked':
        case 'closed':
        case 'fault':
        case 'synced':
        case 'removing':
        case 'removed':
      }
    }
    for (const { op, points, alone } of doing.values()) this.#lost(op, points, alone)
  }

  /** Whether this is how what was done to the folder may show; it must name a way out. */
  #isRefusal({ code, message }: { readonly code: string; readonly message: string }): boolean {
    if (!this.#refusals.includes(code)) return false
    if (!WAY_OUT.test(message)) throw new Error(`a refusal names no way out: ${code} ${message}`)
    return true
  }

  #add({ job, machine, disks }: OpenBackup): void {
    const plain = disks.map(({ name, size, chunks }) => ({ name, size, chunks }))
    const tenant = this.#tenantOf(machine)
    this.points.set(job, { id: job, tenant, machine, disks: plain, sure: false, held: false, lockedUntilMs: null })
  }

  #committed(job: string): void {
    const open = this.open.get(job)
    const point = this.points.get(job)!
    point.sure = true
    this.open.delete(job)
    this.onCommitted(point, open !== undefined && open.disks.every(({ incremental }) => !incremental))
  }

  #listed(tenant: string, listed: readonly ListedPoint[]): void {
    const there = new Map(listed.map((point) => [point.id, point]))
    for (const { points, whole } of this.#lostPrunes.splice(0)) {
      const other = points.filter((id) => this.points.get(id)?.tenant !== tenant)
      if (other.length > 0) {
        this.#lostPrunes.push({ points, whole })
        continue
      }
      const left = points.filter((id) => there.has(id))
      if (whole && left.length > 0 && left.length < points.length)
        throw new Error(`a prune of ${points.join(' ')} removed only a part: ${left.join(' ')} are left`)
    }
    for (const { id } of listed) {
      if (this.points.get(id)?.tenant !== tenant) throw new Error(`${tenant} sees ${id}, which is not its own`)
      if (this.#gone.has(id)) throw new Error(`${id} was removed and is back`)
    }
    for (const point of this.points.values()) {
      if (point.tenant !== tenant) continue
      const found = there.get(point.id)
      if (found !== undefined) this.#look(point, found)
      else if (point.sure) throw new Error(`${point.id} of ${point.machine} is lost`)
      // whoever still holds its lease may yet commit it
      else if (!this.open.has(point.id)) this.#remove(point.id)
    }
  }

  #look(point: ModelPoint, found: ListedPoint): void {
    const { id, held, lockedUntilMs } = point
    if (found.machine !== point.machine) throw new Error(`${id} is said to be of ${found.machine}`)
    if (held !== null && held !== found.held) throw new Error(`${id}: held is ${found.held}`)
    if ((found.lockedUntilMs ?? 0) < (lockedUntilMs ?? 0)) throw new Error(`${id}: its lock was shortened`)
    if (found.lostBytes > 0 && !this.damaged(point)) throw new Error(`${id} has ${found.lostBytes} lost bytes`)
    point.sure = true
    point.held = found.held
    point.lockedUntilMs = found.lockedUntilMs
  }

  #restored({ point: id, wrong, code, message }: Extract<Fact, { fact: 'restored' }>, faulty: boolean): void {
    const point = this.points.get(id)
    if (wrong !== null) throw new Error(`${id} restores wrong bytes from chunk ${wrong} on (${code})`)
    if (code === null) {
      this.restores++
      return
    }
    if (code === 'DATA_DAMAGED' && point !== undefined && this.damaged(point)) return
    if (faulty && STORE_CODES.has(code)) return
    if (this.#isRefusal({ code, message })) return
    // it may be removed by what runs beside the restore
    if (code === 'NOT_FOUND' && (point === undefined || !point.sure || this.#pruning.has(id))) return
    throw new Error(`${id} does not restore: ${code} ${message}`)
  }

  #failed(plan: LifePlan, { machine, code, message, job }: Extract<Fact, { fact: 'failed' }>, faulty: boolean): void {
    if (faulty || this.#isRefusal({ code, message })) return
    const ops = plan.steps.flat()
    const given = ops.some(
      (op) => op.op === 'backup' && op.machine === machine && op.cut !== null && op.cut.after !== 'resume',
    )
    const late = ops.some((op) => op.op === 'resume' && op.job === job)
    if (given && (code === 'LEASE_LOST' || code === 'JOB_RUNNING' || code === 'AGENT_OFFLINE')) return
    if (late && code === 'JOB_ENDED') return
    if (code === 'DATA_DAMAGED' && [...this.points.values()].some((point) => this.damaged(point))) return
    throw new Error(`a backup of ${machine} that nothing disturbed failed: ${code} ${message}`)
  }

  #done({ op, points, report }: Extract<Fact, { fact: 'done' }>, { points: planned }: Doing): void {
    if (op.op === 'hold' || op.op === 'lock') {
      // what was removed beside it, behind it, needs it no more; before it, it would have been refused
      const point = this.points.get(op.point)
      if (point === undefined) throw new Error(`${op.op} of ${op.point}, which was removed, is acknowledged`)
      if (op.op === 'hold') point.held = op.held
      else point.lockedUntilMs = op.untilMs
    }
    if (op.op === 'verify') this.onVerified(op.tenant, report as VerifyReport)
    if (op.op === 'collect') this.onCollected(op.tenant, report as CollectionReport, op.thresholdPercent)
    if (op.op !== 'prune') return
    if (op.points !== null && points.length !== planned.length)
      throw new Error(`a prune of ${planned.length} points removed ${points.length}`)
    for (const id of points) {
      this.#mayGo(id)
      this.#remove(id)
      this.#gone.add(id)
    }
  }

  #mayGo(id: string): void {
    const point = this.points.get(id)
    if (point?.held === true) throw new Error(`${id} was held and is removed`)
    if (point?.lockedUntilMs !== null && point !== undefined) throw new Error(`${id} was locked and is removed`)
  }

  /** An answer that never came. */
  #lost(op: Op, planned: readonly string[], alone: boolean): void {
    const point = op.op === 'hold' ? this.points.get(op.point) : undefined
    if (point !== undefined) point.held = null
    if (op.op !== 'prune') return
    const free = this.sure(op.tenant).filter(({ held, lockedUntilMs }) => held !== true && lockedUntilMs === null)
    const whole = op.points !== null || alone
    const points = whole ? planned : free.map(({ id }) => id)
    for (const id of points) {
      const point = this.points.get(id)
      if (point !== undefined) point.sure = false
    }
    this.#lostPrunes.push({ points, whole })
  }

  #refused(fact: Extract<Fact, { fact: 'refused' }>, faulty: boolean): void {
    const { op, code, message } = fact
    if (faulty || this.#isRefusal({ code, message })) return
    if (code === 'MAINTENANCE_RUNNING') return
    if (op.op === 'prune' && op.points !== null && code === 'POINT_HELD') return
    const about = op.op === 'prune' ? (op.points ?? []) : op.op === 'hold' || op.op === 'lock' ? [op.point] : []
    if (code === 'NOT_FOUND' && about.some((id) => !this.points.has(id) || this.#pruning.has(id))) return
    const spoiled = [...this.points.values()].some((point) => this.damaged(point))
    // it removes nothing while a tree cannot be walked
    if (op.op === 'collect' && code === 'TREE_UNREADABLE' && spoiled) return
    throw new Error(`${JSON.stringify(op)} failed though nothing disturbed it: ${code} ${message}`)
  }

  #remove(id: string): void {
    this.points.delete(id)
  }
}
