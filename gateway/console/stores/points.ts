// A machine with its restore points: how it stands, what keeps its points, what each takes, and what is done to them.
import type { Covered } from '../../../protocol/coverage.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import type { PrunedPoint, UsageRow } from '../../../protocol/maintenance.ts'
import type { Result } from '../../../protocol/methods.ts'
import type { KeepReason } from '../../../protocol/retention.ts'
import type { Point } from '../../../protocol/schemas.ts'
import type { Job } from '../../../protocol/views.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'
import { Resource } from '../net/resource.ts'

/** How often what a machine is and has is asked for while somebody looks, in milliseconds. */
const REFRESH_MS = 15_000

/** The same for its last job. */
const JOB_MS = 1500

const PAGE_ROWS = 100

/** Who goes through all points of a machine, asks for more at once, and less often. */
const ALL_REFRESH_MS = 60_000
const ALL_PAGE_ROWS = 250

export type Machine = Result<'machines.list'>['machines'][number]

export interface MachineFacts {
  readonly machine: Machine
  /** Whether it is protected; null where the person may not ask. */
  readonly covered: Covered | null
}

/** NOT_FOUND where there is no such machine. */
export const factsOf = (link: Link, name: string): Resource<MachineFacts> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => {
      const [{ machines }, coverage] = await Promise.all([
        link.call('machines.list', { machine: name }, { signal }),
        link.may('coverage.list') ? link.call('coverage.list', { machine: name }, { signal }) : null,
      ])
      return { machine: machines[0]!, covered: coverage?.machines[0] ?? null }
    },
  })

/** What its hypervisor says; AGENT_OFFLINE. */
export const statusOf = (link: Link, machine: string): Resource<Result<'machines.status'>> =>
  new Resource({
    link,
    everyMs: null,
    read: (signal) => link.call('machines.status', { machine }, { signal }),
  })

/** Its restore points, newest first; `all` where every one of them will be asked for. */
export const pointsOf = (link: Link, machine: string, { all = false } = {}): Pages<Point> =>
  new Pages({
    link,
    everyMs: all ? ALL_REFRESH_MS : REFRESH_MS,
    read: async (after, signal) => {
      const given = { machine, limit: all ? ALL_PAGE_ROWS : PAGE_ROWS }
      const { points, next } = await link.call('points.list', after === null ? given : { ...given, after }, { signal })
      return { rows: points, next }
    },
  })

/** One of its points by its id; null where it is not there (any more). */
export const pointOf = (link: Link, machine: string, id: string): Resource<{ readonly point: Point | null }> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => {
      try {
        const { point } = await link.call('points.get', { point: id }, { signal })
        return { point: point.machine === machine ? point : null }
      } catch (thrown) {
        if (asVarveError(thrown).code === 'NOT_FOUND') return { point: null }
        throw thrown
      }
    },
  })

/** The job that was started last; null where there was none. */
export const lastJobOf = (link: Link, machine: string): Resource<{ readonly job: Job | null }> =>
  new Resource({
    link,
    everyMs: JOB_MS,
    read: async (signal) => ({
      job: (await link.call('jobs.list', { machine, limit: 1 }, { signal })).jobs[0] ?? null,
    }),
  })

/** Why each point stays by the plans as they are, none for one that goes. */
export type Keeps = ReadonlyMap<string, readonly KeepReason[]>

export const keepsOf = (link: Link, machine: string): Resource<Keeps> =>
  new Resource({
    link,
    everyMs: null,
    read: async (signal) => {
      const asked = { machine, group: null, rules: null, points: null, dryRun: true }
      const { points } = await link.call('points.prune', asked, { signal })
      return new Map(points.map(({ point, keptBy }: PrunedPoint) => [point, keptBy]))
    },
  })

/** What each point alone takes: a walk over all of the tenant's trees. */
export type Usage = ReadonlyMap<string, UsageRow>

export const usageOf = async (link: Link, machine: string): Promise<Usage> => {
  const call = link.open('store.usage', { machine, points: true })
  const { rows } = await call.result
  return new Map(rows.flatMap((row) => (row.point === null ? [] : [[row.point, row]])))
}

export const backUp = (link: Link, machine: string, full: boolean): Promise<{ readonly job: string }> =>
  link.call('backup.start', { machine, full })

export const cancelJob = (link: Link, job: string): Promise<unknown> => link.call('jobs.cancel', { job })

export const holdPoint = (link: Link, point: string, held: boolean): Promise<unknown> =>
  link.call('points.hold', { point, held })

export const lockPoint = (link: Link, point: string, untilMs: number): Promise<unknown> =>
  link.call('points.lock', { point, untilMs })
