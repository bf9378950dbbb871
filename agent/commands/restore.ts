// The restore command: one disk or attachment of a restore point to a file or device, or all its attachments to a folder.
import { VarveError } from '../../protocol/errors.ts'
import { orElse } from '../../protocol/nearest.ts'
import type { Point } from '../../protocol/schemas.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { TargetFormat } from '../restore/format.ts'
import { isStdout } from '../restore/other-target.ts'
import { withGateway, type CommandContext } from './context.ts'
import { restoreAttachments } from './restore-attachments.ts'
import { openNotes, partlyLost, restoreImage, type PointImage } from './restore-image.ts'

export interface RestoreCommand {
  readonly config: string
  /** One of the three is given. */
  readonly disk?: string
  readonly attachment?: string
  /** The folder to which all attachments go. */
  readonly attachments?: string
  /** With a disk or an attachment. */
  readonly to?: string
  /** In place of `to`: an image of the disk that is there. */
  readonly onto?: string
  /** With `onto`. */
  readonly base?: string
  readonly bitmap?: string
  readonly dryRun: boolean
  /** Absent: decided by the target's name. Of a disk only. */
  readonly format?: TargetFormat
  readonly force: boolean
  readonly skipDamaged: boolean
  readonly timeout?: number
  readonly json: boolean
}

const wrong = (why: string): VarveError => new VarveError('PARAMS_INVALID', why)

/** PARAMS_INVALID unless the options say what is restored, and to where. */
const checkOptions = ({ disk, attachment, attachments, to, format, json }: RestoreCommand): void => {
  if ([disk, attachment, attachments].filter((one) => one !== undefined).length !== 1)
    throw wrong('say what to restore with one of --disk NAME, --attachment NAME and --attachments FOLDER')
  if (attachments !== undefined && to !== undefined)
    throw wrong('--attachments takes the folder itself: leave --to out')
  if (attachments === undefined && to === undefined)
    throw wrong('say where to with --to: a new file, or with --force an existing file or block device')
  if (to === '-' && json) throw wrong('--json prints to standard output, which --to - gives to the disk')
  if (disk === undefined && format !== undefined)
    throw wrong('--format is for a disk: an attachment is written as it was')
}

/** NOT_FOUND names those that the point has. */
export const imageOf = (
  prefix: string,
  { disks, attachments }: Pick<Point, 'disks' | 'attachments'>,
  options: Pick<RestoreCommand, 'disk' | 'attachment'>,
): PointImage => {
  const [what, name, all] =
    options.disk === undefined
      ? (['attachment', options.attachment!, attachments] as const)
      : (['disk', options.disk, disks] as const)
  const found = all.find((image) => image.name === name)
  if (found !== undefined) return found
  const names = all.map((image) => image.name)
  const isOther = [...disks, ...attachments].some((image) => image.name === name)
  const other = isOther ? `; it is ${what === 'disk' ? 'an attachment: --attachment' : 'a disk: --disk'}` : ''
  const has =
    what === 'disk' || names.length === 0 ? `it has: ${names.join(', ') || 'none'}` : orElse(name, names, 'it has')
  throw new VarveError('NOT_FOUND', `restore point ${prefix} has no ${what} "${name}"${other || `; ${has}`}`)
}

const restoreOne = async (
  context: CommandContext,
  prefix: string,
  point: Point,
  options: RestoreCommand & { readonly to: string },
): Promise<void> => {
  const image = imageOf(prefix, point, options)
  const { disk, to, force, skipDamaged, json } = options
  const notes = await openNotes(context)
  const format = disk === undefined ? 'raw' : (options.format ?? null)
  const restored = await restoreImage(context, { point: point.id, image, notes }, { to, format, force, skipDamaged })
  const { lost, lostCount, lostBytes, bytesReceived, durationMs } = restored
  const { name, size } = image
  const written = { to, format: restored.format, size, bytesReceived, durationMs, lostBytes, lostCount, lost }
  const of = { disk: disk ?? null, attachment: options.attachment ?? null }
  if (json) printJson({ point: point.id, machine: point.machine, ...of, ...written, attachments: [], missing: [] })
  // standard output has the disk alone
  const say = isStdout(to) ? remark : print
  const what = `${disk === undefined ? 'attachment' : 'disk'} ${name}`
  if (lostBytes > 0) {
    if (!json) for (const { offset, length } of lost) say(`  lost: ${length} bytes at ${offset}, zeroed in ${to}`)
    throw partlyLost(what, to, restored)
  }
  if (json) return
  const place = isStdout(to) ? 'standard output' : to
  const shown = disk === undefined ? '' : ` (${restored.format})`
  say(
    `${what.replace(/^./u, (first) => first.toUpperCase())} of ${point.machine} at ${new Date(point.timeMs).toISOString()} is in ${place}${shown}: ${sizeText(size)} (${sizeText(bytesReceived)} received) in ${(durationMs / 1000).toFixed(1)} s, every chunk and the root checked.`,
  )
}

export const restore = async (prefix: string, options: RestoreCommand): Promise<void> => {
  if (options.onto !== undefined || options.dryRun || options.base !== undefined || options.bitmap !== undefined) {
    const { restoreDiskOnto } = await import('./restore-onto.ts')
    return await restoreDiskOnto(prefix, options)
  }
  checkOptions(options)
  await withGateway(
    options.config,
    async (context) => {
      const { attachments: folder, to } = options
      const { point, missing } = await context.link.call('points.get', { point: prefix }, context.signal)
      if (folder !== undefined) await restoreAttachments(context, point, missing, { ...options, folder })
      else await restoreOne(context, prefix, point, { ...options, to: to! })
    },
    { ...options, works: true, progress: !options.json },
  )
}
