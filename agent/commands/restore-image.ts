// One disk or attachment of a restore point, to a file or device: what every form of the restore command does.
import { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { Meter } from '../../protocol/host/meter.ts'
import { remark } from '../../protocol/host/output.ts'
import type { Point } from '../../protocol/schemas.ts'
import { ImageThreads } from '../image/image-threads.ts'
import type { TargetFormat } from '../restore/format.ts'
import { keptOf } from '../restore/kept.ts'
import { openTarget } from '../restore/open-target.ts'
import { openOtherTarget } from '../restore/other-target.ts'
import { restoreDisk, type Restored } from '../restore/restore.ts'
import { RestoreNotes } from '../restore/restore-notes.ts'
import { commitTarget } from '../restore/target.ts'
import type { CommandContext } from './context.ts'

/** What is restored; `size` is bytes. */
export type PointImage = Pick<Point['attachments'][number], 'name' | 'size' | 'root'>

export interface ImageTarget {
  readonly to: string
  /** Null: decided by the target's name. */
  readonly format: TargetFormat | null
  readonly force: boolean
  readonly skipDamaged: boolean
  /** Goes on with what an earlier restore left. */
  readonly resume: boolean
}

export interface RestoredImage extends Restored {
  readonly format: TargetFormat
  readonly bytesReceived: number
  readonly durationMs: number
}

/** The notes of restores under way, after those of killed ones are settled. */
export const openNotes = async ({ config }: CommandContext): Promise<RestoreNotes> => {
  const notes = RestoreNotes.in(config.state)
  ;(await notes.settle()).forEach(remark)
  return notes
}

/** Restores an image whole, or with `skipDamaged` what is left of it; says what a person should know of the target. */
export const restoreImage = async (
  { config, link, signal, progress }: CommandContext,
  { point, image, notes }: { readonly point: string; readonly image: PointImage; readonly notes: RestoreNotes },
  { to, format, force, skipDamaged, resume }: ImageTarget,
): Promise<RestoredImage> => {
  const { name, size, root } = image
  const meter = new Meter()
  const startedMs = performance.now()
  const { machines } = config
  const opened =
    (await openOtherTarget({ to, size, format, force, machines, notes, signal })) ??
    (await openTarget({ path: to, size, format, force, machines, notes, resume }))
  await using target = opened.target
  await using threads = new ImageThreads(systemClock)
  const { left } = opened
  if (opened.remark !== null) remark(opened.remark)
  let bytesReceived = 0
  const restored = await restoreDisk({
    repeat: (work) => link.repeat(work, signal),
    point,
    disk: name,
    size,
    root,
    target,
    skipDamaged,
    signal,
    ...(left === null
      ? {}
      : { kept: keptOf({ content: left, size, root, reads: { link, point, disk: name, signal }, threads }) }),
    onProgress: (doneBytes, received) => {
      bytesReceived = received
      meter.add(performance.now(), doneBytes)
      progress.show(() => `${name}: ${meter.text(doneBytes, size)}`)
    },
  }).catch((thrown: unknown) => {
    if (resume) remark(keptFor(to))
    throw thrown
  })
  const remarks = await commitTarget(target)
  progress.clear()
  remarks.forEach(remark)
  return { ...restored, format: opened.format, bytesReceived, durationMs: Math.round(performance.now() - startedMs) }
}

/** What is said where a restore with --resume is broken off. */
export const keptFor = (to: string): string =>
  `what is written to ${to} is kept (.partial): the same command goes on with it`

/** DATA_DAMAGED for an image that was written without what is lost; `what` names it. */
export const partlyLost = (what: string, to: string, { lostBytes, lostCount }: Restored): VarveError => {
  const ranges = `${lostCount} ${lostCount === 1 ? 'range' : 'ranges'}`
  return new VarveError(
    'DATA_DAMAGED',
    `${to} is written, but ${lostBytes} bytes in ${ranges} of ${what} are lost and read as zeroes; every other chunk was checked, the root cannot match`,
  )
}
