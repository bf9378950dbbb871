// What tests of upkeep share: a real datastore with a tenant, its works, a planner, a clock moved by hand, and rounds that do
// what is due as the scheduler does.
import { randomUUID } from 'node:crypto'
import type { MachineRow } from '../../../gateway/catalog/machines.ts'
import type { RunRow } from '../../../gateway/catalog/runs.ts'
import { manifestOf } from '../../../gateway/catalog/manifest.ts'
import { Events } from '../../../gateway/events/events.ts'
import { Maintenance } from '../../../gateway/maintenance/maintenance.ts'
import { UpkeepPlanner, type UpkeepPlannerOptions } from '../../../gateway/scheduler/upkeep-planner.ts'
import { upkeepWorks, type UpkeepParts } from '../../../gateway/scheduler/upkeep-works.ts'
import type { Work } from '../../../gateway/scheduler/work.ts'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { FIRST_PLAN, type Plan } from '../../../protocol/plans.ts'
import { beginJob, fullDisk, startJob } from '../catalog.ts'
import { sizeOf, Stand, type Plains } from '../chains/script.ts'
import { HandClock } from '../../support/hand-clock.ts'

const LEASE_MS = 3_600_000

const ROOM = { freeBytes: 2 ** 40, totalBytes: 2 ** 41, reserveBytes: 2 ** 30 }

/** A restore point of an instant. */
export const backedUp = async (
  stand: Stand,
  machine: MachineRow,
  { plains, nowMs }: { readonly plains: Plains; readonly nowMs: number },
): Promise<string> => {
  const { catalog } = stand.datastore
  const { agent } = machine
  const id = await startJob(catalog, stand.tenant, machine, { full: true, nowMs })
  await beginJob(catalog, { id, agent }, [fullDisk('vda', sizeOf(plains), 'requested')], { timeMs: nowMs })
  await stand.uploadAll({ id, machine }, plains)
  const complete = await catalog.jobs.complete({ job: id, agent })
  const figures = { bytesRead: 0, nowMs: nowMs + 1, lockedUntilMs: null }
  using kept = await stand.datastore.tenantStore(stand.tenant).writeManifest(manifestOf(complete, figures))
  await catalog.jobs.commit({ job: id, agent, ...figures, manifest: kept.id })
  return id
}

export class UpkeepBench implements AsyncDisposable {
  readonly stand: Stand
  readonly clock: HandClock
  readonly events: Events
  readonly maintenance: Maintenance
  readonly works: ReadonlyMap<string, Work>
  readonly planner: UpkeepPlanner
  /** What maintenance fails with; null for what it does. */
  failure: VarveError | null = null
  readonly #resources: AsyncDisposableStack

  private constructor(
    stand: Stand,
    clock: HandClock,
    options: Partial<UpkeepPlannerOptions>,
    resources: AsyncDisposableStack,
  ) {
    this.stand = stand
    this.clock = clock
    const { datastore } = stand
    const { catalog } = datastore
    const log = openLog({ level: 'silent' })
    this.events = resources.use(new Events({ catalog, clock, log }))
    this.maintenance = resources.use(new Maintenance({ datastore, clock, log }))
    const { events } = this
    const parts: UpkeepParts = {
      datastore,
      maintenance: {
        run: async (...args) => {
          if (this.failure !== null) throw this.failure
          return await this.maintenance.run(...args)
        },
      },
      events,
      clock,
      log,
      verifyBytesPerSecond: null,
    }
    this.works = new Map(upkeepWorks(parts).map((work) => [work.kind, work]))
    const space = { room: async () => ROOM }
    this.planner = new UpkeepPlanner({
      catalog,
      space,
      clock,
      enabled: true,
      quietHours: null,
      timeZone: 'UTC',
      ...options,
    })
    this.#resources = resources
  }

  /** At this instant. */
  static async open(nowMs: number, options: Partial<UpkeepPlannerOptions> = {}): Promise<UpkeepBench> {
    await using resources = new AsyncDisposableStack()
    const stand = resources.use(await Stand.open())
    const clock = new HandClock(1000)
    clock.set(nowMs)
    return new UpkeepBench(stand, clock, options, resources.move())
  }

  get catalog(): Stand['datastore']['catalog'] {
    return this.stand.datastore.catalog
  }

  get tenant(): string {
    return this.stand.tenant.id
  }

  async plan(rules: Partial<Plan>): Promise<Plan> {
    const plan = { ...FIRST_PLAN, ...rules }
    await this.catalog.plans.apply({ tenant: this.tenant, plans: [plan] })
    return plan
  }

  /** A restore point of now. */
  backup(machine: MachineRow, plains: Plains): Promise<string> {
    return backedUp(this.stand, machine, { plains, nowMs: this.clock.now() })
  }

  /** Plans what is due and does it, one after the other, until nothing is; what was run. */
  async round(): Promise<RunRow[]> {
    const { catalog, clock } = this
    await catalog.runs.plan({ runs: await this.planner.due(clock.now()) })
    const open = await catalog.runs.open()
    for (const run of open) await this.run(run)
    return open
  }

  /** One run, as the scheduler does it. */
  async run({ id, kind, tenant }: Pick<RunRow, 'id' | 'kind' | 'tenant'>): Promise<void> {
    const { catalog, clock, stand } = this
    const owner = randomUUID()
    const nowMs = clock.now()
    if (!(await catalog.runs.claim({ id, owner, nowMs, leaseMs: LEASE_MS }))) return
    const from = { state: 'running', owner } as const
    const signal = new AbortController().signal
    try {
      const ended = await this.works.get(kind)!.run(tenant === null ? null : stand.tenant, signal)
      const state =
        'skipped' in ended ? ({ state: 'skipped', skipped: ended.skipped } as const) : ({ state: 'done' } as const)
      await catalog.runs.end({ id, from, ...state, summary: ended.summary ?? '', nowMs: clock.now() })
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      await catalog.runs.end({ id, from, state: 'failed', error: { code, message }, nowMs: clock.now() })
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync()
  }
}
