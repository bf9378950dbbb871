// What runs now and what is due: jobs with the course of each, their agents, and runs of plans and upkeep.
import type { Result } from '../../../protocol/methods.ts'
import { RUN_KINDS, type Run, type RunState } from '../../../protocol/runs.ts'
import type { Job } from '../../../protocol/views.ts'
import type { Link } from '../net/link.ts'
import { Resource } from '../net/resource.ts'
import { withSample, type Sample } from '../pictures/rate.ts'

/** How often jobs are asked for while somebody looks, in milliseconds. */
const JOBS_MS = 2000

/** The same for agents and runs. */
const REST_MS = 10_000

const JOBS_MAX = 100
const AGENTS_MAX = 250
const RUNS_MAX = 50

export interface Tracked {
  readonly job: Job
  readonly samples: readonly Sample[]
}

const sampleOf = (job: Job, atMs: number): Sample => ({
  atMs,
  doneBytes: job.disks.reduce((sum, { doneBytes }) => sum + doneBytes, 0) + job.comparedBytes,
  sentBytes: job.bytesSent,
})

/** The jobs with what was seen of each so far; those that have ended are let go. */
export const tracked = (before: readonly Tracked[], jobs: readonly Job[], atMs: number): readonly Tracked[] => {
  const known = new Map(before.map(({ job, samples }) => [job.id, samples]))
  return jobs.map((job) => ({ job, samples: withSample(known.get(job.id) ?? [], sampleOf(job, atMs)) }))
}

/** Answered by the gateway alone: an agent that hangs holds nothing up. */
export const runningJobs = (link: Link, elapsed = (): number => performance.now()): Resource<readonly Tracked[]> => {
  let seen: readonly Tracked[] = []
  return new Resource({
    link,
    everyMs: JOBS_MS,
    read: async (signal) => {
      const { jobs } = await link.call('jobs.list', { machine: null, running: true, limit: JOBS_MAX }, { signal })
      seen = tracked(seen, jobs, elapsed())
      return seen
    },
  })
}

export type Agent = Result<'agents.list'>['agents'][number]

/** By id; none where the person may not ask. */
export const agentsById = (link: Link): Resource<ReadonlyMap<string, Agent>> =>
  new Resource({
    link,
    everyMs: REST_MS,
    read: async (signal) => {
      if (!link.may('agents.list')) return new Map()
      const { agents } = await link.call('agents.list', { limit: AGENTS_MAX }, { signal })
      return new Map(agents.map((agent) => [agent.id, agent]))
    },
  })

export interface RunsFound {
  readonly runs: readonly Run[]
  /** Whether there are more than these. */
  readonly isCut: boolean
}

/** The newest runs of a state, by when they were due; of what is due, what comes first. */
export const runsOf = (link: Link, state: RunState): Resource<RunsFound> =>
  new Resource({
    link,
    everyMs: REST_MS,
    read: async (signal) => {
      const { runs, next } = await link.call('runs.list', { state, limit: RUNS_MAX }, { signal })
      return { runs, isCut: next !== null }
    },
  })

const UPKEEP = RUN_KINDS.filter((kind) => kind !== 'backup')

/** Upkeep that runs, newest first: each kind is asked for, as thousands of backups would hide it. */
export const upkeepOf = (link: Link): Resource<RunsFound> =>
  new Resource({
    link,
    everyMs: REST_MS,
    read: async (signal) => {
      const pages = await Promise.all(
        UPKEEP.map((kind) => link.call('runs.list', { kind, state: 'running', limit: RUNS_MAX }, { signal })),
      )
      const runs = pages.flatMap((page) => page.runs).toSorted((a, b) => b.dueMs - a.dueMs)
      return { runs, isCut: pages.some(({ next }) => next !== null) }
    },
  })
