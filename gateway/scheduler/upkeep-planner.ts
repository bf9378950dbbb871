// The planner of upkeep: every few minutes it gathers what is known of all tenants, has it planned, and looks again before a run
// is made.
import { randomUUID } from 'node:crypto'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { NewRun } from '../catalog/runs.ts'
import type { UpkeepTenant } from '../catalog/upkeep.ts'
import type { Space } from '../datastore/space.ts'
import { coveringOf } from '../plans/covering.ts'
import { slotAfter } from '../plans/deadline.ts'
import { jitterMs } from '../plans/jitter.ts'
import { isOpen } from '../plans/window.ts'
import { isPrunable } from './prunable.ts'
import { keyOf, planUpkeep, type DueUpkeep, type TenantWorld, type UpkeepWorld } from './upkeep-plan.ts'
import { dueVerifications } from './verify-plan.ts'
import type { Planner } from './work.ts'

/** How often upkeep is planned, in milliseconds. */
export const PLAN_INTERVAL_MS = 5 * 60_000

/** How often it is looked which machines are to be verified, in milliseconds. */
const VERIFIABLE_INTERVAL_MS = 3_600_000

/** How often the day's sample is written, in milliseconds. */
const SAMPLE_INTERVAL_MS = 3_600_000

/** The disk is low where less than this part of it is free beyond the reserve. */
const DISK_LOW_PART = 0.05

export interface UpkeepPlannerOptions {
  readonly catalog: Catalog
  readonly space: Pick<Space, 'room'>
  readonly clock: Clock
  /** False: nothing is planned, only samples are written. */
  readonly enabled: boolean
  /** When collections and verifications may begin, such as `20:00-06:00`, in the zone; null for always. */
  readonly quietHours: string | null
  readonly timeZone: string
}

type Verifications = TenantWorld['verifications']

const NONE: Verifications = { due: 0, overdue: 0 }

export class UpkeepPlanner implements Planner {
  readonly #options: UpkeepPlannerOptions
  #plannedMs = Number.NEGATIVE_INFINITY
  #sampledMs = Number.NEGATIVE_INFINITY
  /** By tenant: what was to be verified when it was looked at. */
  readonly #verifiable = new Map<string, Verifications & { readonly lookedMs: number }>()

  constructor(options: UpkeepPlannerOptions) {
    this.#options = options
  }

  async due(nowMs: number): Promise<NewRun[]> {
    const { catalog, clock, space, enabled, quietHours, timeZone } = this.#options
    const elapsedMs = clock.elapsed()
    if (elapsedMs - this.#plannedMs < PLAN_INTERVAL_MS) return []
    this.#plannedMs = elapsedMs
    const { freeBytes, totalBytes, reserveBytes } = await space.room()
    if (elapsedMs - this.#sampledMs >= SAMPLE_INTERVAL_MS) {
      await catalog.upkeep.sample({ day: Math.floor(nowMs / DAY_MS), diskBytes: totalBytes - freeBytes })
      this.#sampledMs = elapsedMs
    }
    if (!enabled) return []
    const { tenants, platform } = await catalog.upkeep.facts()
    const open = new Set((await catalog.runs.open()).map(({ tenant, kind }) => keyOf(tenant, kind)))
    this.#forget(tenants)
    const world = {
      platform,
      open,
      diskLow: freeBytes - reserveBytes < totalBytes * DISK_LOW_PART,
      quiet: isOpen(quietHours, timeZone, nowMs),
      tenants: await this.#all(tenants, open, nowMs),
    }
    return (await this.#confirmed(planUpkeep(world, nowMs), world, nowMs)).map(({ tenant, kind, dueMs }) => ({
      id: randomUUID(),
      tenant,
      kind,
      machine: null,
      plan: null,
      dueMs,
    }))
  }

  async #all(tenants: readonly UpkeepTenant[], open: ReadonlySet<string>, nowMs: number): Promise<TenantWorld[]> {
    const all: TenantWorld[] = []
    for (const tenant of tenants) {
      const busy = (['prune', 'collect', 'verify'] as const).some((kind) => open.has(keyOf(tenant.tenant, kind)))
      const verifications = busy || tenant.points === 0 ? NONE : await this.#verifications(tenant.tenant, nowMs)
      all.push({ ...tenant, backupDueMs: null, verifications })
    }
    return all
  }

  /** What costs more than a look is looked at only where all else says that it is due. */
  async #confirmed(due: readonly DueUpkeep[], world: UpkeepWorld, nowMs: number): Promise<DueUpkeep[]> {
    const confirmed: DueUpkeep[] = []
    for (const one of due) {
      const tenant = world.tenants.find((other) => other.tenant === one.tenant)
      if (tenant === undefined) confirmed.push(one)
      else if (one.kind === 'prune') confirmed.push(...(await this.#pruneOrRest(one, tenant, world, nowMs)))
      else if (one.kind !== 'collect' || (await this.#isQuiet(tenant, world, nowMs))) confirmed.push(one)
    }
    return confirmed
  }

  /** A prune that would remove something; else what would have been due without it. */
  async #pruneOrRest(
    prune: DueUpkeep,
    tenant: TenantWorld,
    world: UpkeepWorld,
    nowMs: number,
  ): Promise<readonly DueUpkeep[]> {
    const { catalog } = this.#options
    if (await isPrunable(catalog, tenant.tenant, nowMs)) return [prune]
    const kind = 'prune'
    const note = JSON.stringify({ seq: tenant.newestSeq })
    await catalog.upkeep.note({ tenant: tenant.tenant, kind, nowMs, ok: true, note })
    const looked = { kind, triedMs: nowMs, doneMs: nowMs, failures: 0, note } as const
    const notes = [...tenant.notes.filter((other) => other.kind !== kind), looked]
    const alone = { ...world, tenants: [{ ...tenant, notes }] }
    const rest = planUpkeep(alone, nowMs).filter((due) => due.kind === 'collect' || due.kind === 'verify')
    return await this.#confirmed(rest, alone, nowMs)
  }

  /** Whether a collection is due also where the next backup is known. */
  async #isQuiet(tenant: TenantWorld, world: UpkeepWorld, nowMs: number): Promise<boolean> {
    const backupDueMs = await this.#nextBackupMs(tenant.tenant, nowMs)
    const alone = { ...world, tenants: [{ ...tenant, backupDueMs }] }
    return planUpkeep(alone, nowMs).some(({ kind }) => kind === 'collect')
  }

  async #verifications(tenant: string, nowMs: number): Promise<Verifications> {
    const { catalog, clock } = this.#options
    const known = this.#verifiable.get(tenant)
    // a run that has ended since is seen by its note
    if (known !== undefined && clock.elapsed() - known.lookedMs < VERIFIABLE_INTERVAL_MS) return known
    const plans = await catalog.plans.list({ tenant })
    const asked = plans.some(({ verifyDays }) => verifyDays !== null)
    const machines = asked ? await catalog.upkeep.verifiable({ tenant, nowMs }) : []
    const due = dueVerifications(tenant, machines, plans, nowMs)
    const found = {
      due: due.length,
      overdue: due.filter(({ overdue }) => overdue).length,
      lookedMs: clock.elapsed(),
    }
    this.#verifiable.set(tenant, found)
    return found
  }

  /** When the next backup of the tenant that a plan's schedule asks for starts; null where none does. */
  async #nextBackupMs(tenant: string, nowMs: number): Promise<number | null> {
    const { catalog } = this.#options
    const planOf = coveringOf(await catalog.plans.list({ tenant }))
    let nextMs: number | null = null
    for (const machine of await catalog.plans.machines({ tenant })) {
      const plan = planOf(machine)
      if (plan === null || !plan.enabled) continue
      const jitter = jitterMs({ tenant, machine: machine.name, plan: plan.name }, plan.jitterMs)
      const slotMs = slotAfter(plan, jitter, nowMs)
      if (slotMs !== null && (nextMs === null || slotMs < nextMs)) nextMs = slotMs
    }
    return nextMs
  }

  /** Tenants that are gone. */
  #forget(tenants: readonly UpkeepTenant[]): void {
    const there = new Set(tenants.map(({ tenant }) => tenant))
    for (const tenant of this.#verifiable.keys()) if (!there.has(tenant)) this.#verifiable.delete(tenant)
  }
}
