// A backup for people: how far it is, why it failed, and what the restore point holds.
import { kindText } from '../backup.ts'
import { toldError, type VarveError } from '../errors.ts'
import type { Job } from '../methods.ts'
import type { Point } from '../schemas.ts'
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

/** What a restore point holds, and what it took to make it. */
export const pointReport = (point: Point): string[] => {
  const { id, machine, disks, consistency, note, leftOut, bytesRead, bytesSent, bytesStored, durationMs } = point
  const instant = consistency === 'frozen' ? 'guest frozen at its instant' : 'crash consistent'
  return [
    `Restore point ${id.slice(0, 8)} of ${machine}: ${kindText(disks)}, ${instant}`,
    ...(note === null ? [] : [`  note: ${note}`]),
    ...disks.map(diskLine),
    ...leftOut.map(({ name, reason }) => `  ${name}: left out (${reason})`),
    `  read ${sizeText(bytesRead)}, sent ${sizeText(bytesSent)}, stored ${sizeText(bytesStored)} in ${(durationMs / 1000).toFixed(1)} s`,
  ]
}
