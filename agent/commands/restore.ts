// The restore command: one disk or attachment of a restore point to a file or device, all its attachments to a folder, or the
// whole machine.
import { VarveError } from '../../protocol/errors.ts'
import { orElse } from '../../protocol/nearest.ts'
import type { Point } from '../../protocol/schemas.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { TargetFormat } from '../restore/format.ts'
import { withAnyGateway, type CommandContext } from './context.ts'
import { checkMayRead } from './may-read.ts'
import type { Moment } from '../../protocol/host/moment.ts'
import { restoreAttachments } from './restore-attachments.ts'
import { openNotes, partlyLost, restoreImage, type PointImage } from './restore-image.ts'
import type { WayOptions } from './way.ts'
import { checkPoint, findPoint } from './which-point.ts'

export interface RestoreCommand extends WayOptions {
  /** The newest point then, of the machine that the argument names. */
  readonly at?: Moment
  /** One of the three at most is given; without one of them it is the whole machine. */
  readonly disk?: string
  readonly attachment?: string
  /** The folder to which all attachments go. */
  readonly attachments?: string
  /** Of all but the folder of attachments. */
  readonly to?: string
  /** Absent: decided by the target's name, and qcow2 for a machine. Of disks only. */
  readonly format?: TargetFormat
  /** Of a machine, with the three that follow. */
  readonly define: boolean
  readonly name?: string
  readonly newIds: boolean
  readonly uri?: string
  readonly resume: boolean
  readonly force: boolean
  readonly skipDamaged: boolean
  readonly timeout?: number
  readonly json: boolean
}

const wrong = (why: string): VarveError => new VarveError('PARAMS_INVALID', why)

/** PARAMS_INVALID unless the options say what is restored, and to where. */
const checkOptions = (options: RestoreCommand): void => {
  const { disk, attachment, attachments, to, format, define, resume, name, newIds, uri } = options
  const named = [disk, attachment, attachments].filter((one) => one !== undefined).length
  if (named > 1) throw wrong('say what to restore with one of --disk NAME, --attachment NAME and --attachments FOLDER')
  if (attachments !== undefined && to !== undefined)
    throw wrong('--attachments takes the folder itself: leave --to out')
  if (named === 0 && to === undefined)
    throw wrong(
      'say where to with --to: a folder for the whole machine; or what to restore with one of --disk NAME, --attachment NAME and --attachments FOLDER',
    )
  if (attachments === undefined && to === undefined)
    throw wrong('say where to with --to: a new file, or with --force an existing file or block device')
  if (named > 0 && disk === undefined && format !== undefined)
    throw wrong('--format is for a disk: an attachment is written as it was')
  if (named > 0 && define) throw wrong('--define is for the whole machine: leave --disk and the like out')
  if (!define && (name !== undefined || newIds || uri !== undefined))
    throw wrong('--name, --new-ids and --uri say how the machine is defined: give --define too')
  if (named > 0 && disk === undefined && resume)
    throw wrong('--resume is for disks and the whole machine: an attachment is small')
}

/** NOT_FOUND names those that the point has. */
const imageOf = (prefix: string, { disks, attachments }: Point, options: RestoreCommand): PointImage => {
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
  const { disk, to, force, skipDamaged, resume, json } = options
  const notes = await openNotes(context)
  const format = disk === undefined ? 'raw' : (options.format ?? null)
  const restored = await restoreImage(
    context,
    { point: point.id, image, notes },
    { to, format, force, skipDamaged, resume },
  )
  const { lost, lostCount, lostBytes, bytesReceived, keptBytes, durationMs } = restored
  const { name, size } = image
  const written = {
    to,
    format: restored.format,
    size,
    bytesReceived,
    keptBytes,
    durationMs,
    lostBytes,
    lostCount,
    lost,
  }
  const of = { disk: disk ?? null, attachment: options.attachment ?? null }
  if (json)
    printJson({
      point: point.id,
      machine: point.machine,
      ...of,
      ...written,
      disks: [],
      attachments: [],
      missing: [],
      defined: null,
    })
  const what = `${disk === undefined ? 'attachment' : 'disk'} ${name}`
  if (lostBytes > 0) {
    if (!json) for (const { offset, length } of lost) print(`  lost: ${length} bytes at ${offset}, zeroed in ${to}`)
    throw partlyLost(what, to, restored)
  }
  if (json) return
  const shown = disk === undefined ? '' : ` (${restored.format})`
  print(
    `${what.replace(/^./u, (first) => first.toUpperCase())} of ${point.machine} at ${new Date(point.timeMs).toISOString()} is in ${to}${shown}: ${sizeText(size)} (${sizeText(bytesReceived)} received) in ${(durationMs / 1000).toFixed(1)} s, every chunk and the root checked.`,
  )
}

export const restore = async (named: string, options: RestoreCommand): Promise<void> => {
  checkPoint(named, options.at)
  checkOptions(options)
  await withAnyGateway(
    options,
    async (context) => {
      checkMayRead(context)
      const { attachments: folder, disk, attachment, to } = options
      const told = await findPoint(context, named, options.at)
      const { point, missing } = told
      if (folder !== undefined) await restoreAttachments(context, point, missing, { ...options, folder })
      else if (disk !== undefined || attachment !== undefined)
        await restoreOne(context, options.at === undefined ? named : point.id, point, { ...options, to: to! })
      else {
        const { restoreMachine } = await import('./restore-machine.ts')
        await restoreMachine(context, told, { ...options, to: to! })
      }
    },
    { ...options, works: true, progress: !options.json },
  )
}
