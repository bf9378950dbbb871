// The methods of a backup: started and watched by people, carried out by the agent that serves the machine.
import * as v from 'valibot'
import { announcedAttachment, attachments, missingAttachments } from './attachments.ts'
import { BACKUP_STEPS } from './backup.ts'
import { CHUNK_WINDOW_BYTES, INSTANT_LEAD_MS_MAX } from './limits.ts'
import { audited, none, plain, READERS, served, STARTERS, streamOf } from './method.ts'
import * as s from './schemas.ts'
import { spent, steps } from './steps.ts'
import { announcedDisk, comparison, content, uploadDown, uploadUp } from './transfer.ts'
import { job } from './views.ts'

const jobParams = v.object({ job: s.uuid })

export const BACKUP_METHODS = {
  'backup.start': {
    ...audited,
    roles: STARTERS,
    params: v.object({
      machine: s.name,
      /** Reads every disk whole, whatever its bitmap says. */
      full: v.boolean(),
      /** Compares all that is said to be unchanged with the restore point before, as the policy's `compareDays` does. */
      compare: v.optional(v.boolean(), false),
    }),
    result: jobParams,
  },
  'jobs.list': {
    ...plain,
    roles: READERS,
    params: v.object({
      /** Nil for all. */
      machine: v.nullable(s.name),
      /** Only those that run. */
      running: v.optional(v.boolean(), false),
      ...s.page,
    }),
    /** A page ends early where its jobs have many disks. */
    result: v.object({ jobs: s.rows(job), next: s.next }),
  },
  'jobs.watch': { ...plain, roles: READERS, params: jobParams, result: job, down: streamOf(job) },
  'jobs.cancel': { ...audited, roles: STARTERS, params: jobParams, result: none },
  'backup.begin': {
    ...served,
    audited: true,
    params: v.object({
      job: s.uuid,
      /** The instant. */
      timeMs: s.timeMs,
      /** How long before the job it was taken, in milliseconds, by somebody who held the lease then; 0 where the agent took it. */
      leadMs: v.optional(v.pipe(s.count, v.maxValue(INSTANT_LEAD_MS_MAX)), 0),
      consistency: s.consistency,
      /** What a person should know of the point, such as why the guest was not frozen. */
      note: s.note,
      configuration: s.configuration,
      leftOut: s.leftOut,
      /** Changes are recorded from the instant on: the next backup continues this point, or else the one that it continues. */
      checkpoint: v.optional(v.boolean(), true),
      disks: s.disks(announcedDisk),
      /** Small files that go with the point; each is uploaded as a disk is, under its name, which no disk has. */
      attachments: v.optional(attachments(announcedAttachment), []),
      /** Files that should go with it and could not be had. */
      missing: v.optional(missingAttachments, []),
    }),
    result: none,
  },
  'backup.progress': {
    ...served,
    params: v.object({
      job: s.uuid,
      /** What the agent does now; nil between two steps. */
      step: v.nullable(v.picklist(BACKUP_STEPS)),
      /** Of what is read and sent; nil in other steps. */
      spent: v.nullable(spent),
    }),
    result: none,
  },
  'image.content': { ...served, ...content },
  'image.compare': { ...served, ...comparison },
  'image.upload': {
    ...served,
    /** `disk` is the name of a disk or of an attachment. */
    params: v.object({ job: s.uuid, disk: s.diskName }),
    result: v.object({ root: s.root }),
    up: streamOf(uploadUp, CHUNK_WINDOW_BYTES),
    down: streamOf(uploadDown),
  },
  'backup.commit': {
    ...served,
    audited: true,
    params: v.object({
      job: s.uuid,
      /** Of all disks. */
      bytesRead: s.count,
      /** What took how long; older agents do not say. */
      steps: v.optional(steps, []),
      /** How long the guest was frozen, in milliseconds: 0 where it was not, nil where the agent does not know or say it. */
      frozenMs: v.optional(v.nullable(s.count), null),
      /** What the scratch images took; nil where the agent could not look or does not say. */
      scratch: v.optional(v.nullable(s.scratchUse), null),
    }),
    /** The restore point's id, which is the job's. */
    result: v.object({ point: s.uuid }),
  },
  'backup.fail': {
    ...served,
    audited: true,
    params: v.object({ job: s.uuid, ...s.failure.entries, steps: v.optional(steps, []) }),
    result: none,
  },
  'backup.released': { ...served, params: jobParams, result: none },
} as const
