// A backup for people: how far it is, why it failed, and what the restore point holds.
import type { MissingAttachment } from '../attachments.ts'
import { kindText, type Consistency } from '../backup.ts'
import { toldError, type VarveError } from '../errors.ts'
import type { Job } from '../methods.ts'
import type { Point, Took } from '../schemas.ts'
import type { Meter } from './meter.ts'
import { sizeText } from './size.ts'

/** Bytes of all disks that are read. */
export const doneBytes = ({ disks }: Job): number => disks.reduce((sum, disk) => sum + disk.doneBytes, 0)

/** How far a job is that this meter has followed. */
export const jobText = (job: Job, meter: Meter): string => {
  if (job.state !== 'running') return 'releasing the machine…'
  const total = job.disks.reduce((sum, disk) => sum + disk.size, 0)
  if (total === 0 && job.comparedBytes > 0) return `comparing what did not change…  ${sizeText(job.comparedBytes)}`
  if (total === 0) return 'preparing the machine…'
  const current = job.disks.find((disk) => disk.doneBytes < disk.size)
  const what = current === undefined ? 'committing' : `${current.name} (${current.kind}: ${current.reason})`
  return `${meter.text(doneBytes(job), total)}, ${sizeText(job.bytesSent)} sent  ${what}`
}

/** Why a job that made no restore point ended. */
export const jobFailure = ({ error }: Job): VarveError =>
  toldError(error?.code ?? 'INTERNAL', error?.message ?? 'the gateway gives no reason for the failure')

const diskLine = (disk: Point['disks'][number]): string => {
  const { name, size, changedBytes, comparedChunks } = disk
  const compared = comparedChunks === 0 ? '' : `; ${comparedChunks} unchanged chunks compared`
  return `  ${name}: ${sizeText(size)}, ${sizeText(changedBytes)} changed, ${kindText([disk])}${compared}`
}

/** Missing attachments that a report names. */
const MISSING_NAMED_MAX = 8

const attachmentLines = ({ attachments }: Point, missing: readonly MissingAttachment[]): string[] => {
  const bytes = attachments.reduce((sum, { size }) => sum + size, 0)
  const more = missing.length - MISSING_NAMED_MAX
  return [
    ...(attachments.length === 0
      ? []
      : [`  ${attachments.length} ${attachments.length === 1 ? 'attachment' : 'attachments'}: ${sizeText(bytes)}`]),
    ...missing.slice(0, MISSING_NAMED_MAX).map(({ name, reason }) => `  ${name}: not attached (${reason})`),
    ...(more > 0 ? [`  and ${more} more that could not be attached`] : []),
  ]
}

/** How long the guest was frozen and what scratch space took, as far as the agent told. */
const tookLines = (consistency: Consistency, took: Took | null): string[] => {
  if (took === null) return []
  const { frozenMs, scratch } = took
  const limit = scratch?.limitBytes ?? null
  const told = [
    ...(frozenMs === null
      ? []
      : [
          frozenMs === 0
            ? 'guest not frozen'
            : `${consistency === 'paused' ? 'machine stopped' : 'guest frozen'} for ${frozenMs} ms`,
        ]),
    ...(scratch === null
      ? []
      : [`scratch ${sizeText(scratch.usedBytes)}${limit === null ? '' : ` of ${sizeText(limit)}`}`]),
  ]
  return told.length === 0 ? [] : [`  ${told.join(', ')}`]
}

const INSTANTS: Readonly<Record<Consistency, string>> = {
  crash: 'crash consistent',
  paused: 'machine stopped at its instant',
  frozen: 'guest frozen at its instant',
}

/** What a restore point holds, and what it took to make it; `missing` is what should have gone with it. */
export const pointReport = (point: Point, missing: readonly MissingAttachment[]): string[] => {
  const { id, machine, disks, consistency, note, leftOut, bytesRead, bytesSent, bytesStored, durationMs } = point
  const instant = INSTANTS[consistency]
  return [
    `Restore point ${id.slice(0, 8)} of ${machine}: ${kindText(disks)}, ${instant}`,
    ...(note === null ? [] : [`  note: ${note}`]),
    ...disks.map(diskLine),
    ...leftOut.map(({ name, reason }) => `  ${name}: left out (${reason})`),
    ...attachmentLines(point, missing),
    `  read ${sizeText(bytesRead)}, sent ${sizeText(bytesSent)}, stored ${sizeText(bytesStored)} in ${(durationMs / 1000).toFixed(1)} s`,
    ...tookLines(consistency, point.took),
  ]
}
