// Backups: started and watched by people, carried out by the agent that serves the machine.
import * as v from 'valibot'
import type { BACKUP_METHODS } from '../../protocol/backup-methods.ts'
import type { Clock } from '../../protocol/peer.ts'
import * as s from '../../protocol/schemas.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Backups } from '../jobs/backups.ts'
import type { StepNotes } from '../jobs/step-notes.ts'
import { tookOf } from '../jobs/took.ts'
import type { ActionsOf } from './action.ts'
import { keyBehind, nextOf } from './page.ts'

const JOB_KEY = v.strictTuple([s.uuid])

export const backupActions = ({
  backups,
  catalog,
  steps: notes,
  clock,
}: {
  readonly backups: Backups
  readonly steps: StepNotes
  readonly clock: Clock
  readonly catalog: Pick<Catalog, 'jobs'>
}): ActionsOf<keyof typeof BACKUP_METHODS> => ({
  'backup.start': {
    run: async ({ machine, full, compare }, { actor, tenant, machine: find }) =>
      backups.start({ tenant, machine: await find(machine), subject: actor.subject, full, compare }),
  },

  'jobs.list': {
    turn: 'listing',
    run: async ({ machine, running, after, limit }, { actor, tenant, machine: find }) => {
      if (machine !== null) await find(machine)
      const list = `jobs.list ${running ? 'running ' : ''}${machine ?? ''}`
      const behind = keyBehind(list, after, JOB_KEY)?.[0] ?? null
      const asked = { tenant: tenant.id, agent: actor.agent, machine, running, after: behind, limit }
      const { jobs: rows, more } = await catalog.jobs.list(asked)
      const jobs = rows.map((row) => backups.view(tenant, row))
      return { jobs, next: nextOf(list, { rows, more }, ({ job }) => [job.id]) }
    },
  },

  'jobs.watch': {
    run: async ({ job }, { tenant, job: find, call, inTurn }) => {
      await inTurn(() => find(job))
      return backups.watch(tenant, job, call, inTurn)
    },
  },

  'jobs.cancel': {
    run: async ({ job }, { actor, job: find, change }) => {
      await backups.cancel(await find(job), actor.subject, change)
      return {}
    },
  },

  'backup.begin': {
    run: async (params, { actor }) => {
      await backups.begin(actor.subject, params)
      return {}
    },
  },

  'backup.progress': {
    run: async (params, { actor, tenant }) => {
      await backups.progress(tenant, actor.subject, params)
      return {}
    },
  },

  'image.content': {
    run: (params, { actor, tenant }) => backups.comparisons.content(tenant, actor.subject, params),
  },

  'image.compare': {
    run: (params, { actor, tenant }) => backups.comparisons.compare(tenant, actor.subject, params),
  },

  'image.upload': {
    run: (params, { actor, tenant, call, account }) =>
      backups.receive(tenant, actor.subject, params, { call, account }),
  },

  'backup.commit': {
    run: ({ job, bytesRead, ...told }, { actor, tenant, change }) => {
      const made = { job, bytesRead, took: tookOf(told) }
      const commit = (): ReturnType<Backups['commit']> => backups.commit(tenant, actor.subject, made, change)
      return notes.during(tenant.id, job, { toldMs: clock.now(), steps: told.steps }, commit)
    },
  },

  'backup.fail': {
    run: async ({ steps, ...params }, { actor, tenant, change }) => {
      const told = (): Promise<void> => backups.told({ ...params, agent: actor.subject }, change)
      await notes.during(tenant.id, params.job, { toldMs: clock.now(), steps }, told)
      return {}
    },
  },

  'backup.released': {
    run: async ({ job }, { actor }) => {
      await backups.released(actor.subject, job)
      return {}
    },
  },
})
