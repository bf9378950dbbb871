// The restore command with --onto: an image that is there becomes the disk of a restore point, and only what differs is written.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { Meter } from '../../protocol/host/meter.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { Point } from '../../protocol/schemas.ts'
import { halfWritten } from '../onto/ordered-onto.ts'
import { restoreOnto, type Base, type Onto, type OntoRequest } from '../onto/restore-onto.ts'
import { withAnyGateway, type CommandContext } from './context.ts'
import { checkMayRead } from './may-read.ts'
import { imageOf, type RestoreCommand } from './restore.ts'
import { openNotes } from './restore-image.ts'
import { findPoint } from './which-point.ts'

/** Ranges of a dry run that are printed for people. */
const RANGES_SHOWN_MAX = 20

const wrong = (why: string): VarveError => new VarveError('PARAMS_INVALID', why)

/** PARAMS_INVALID unless the options fit an image that is there. */
const checkOptions = (options: RestoreCommand): { readonly disk: string; readonly onto: string } => {
  const { disk, onto, to, attachment, attachments, base, bitmap, skipDamaged, resume, define, name, newIds, uri } =
    options
  if (onto === undefined) throw wrong('--base, --bitmap and --dry-run are for --onto')
  if (to !== undefined) throw wrong('give one of --to and --onto')
  if (disk === undefined || attachment !== undefined || attachments !== undefined)
    throw wrong('--onto takes a disk: --disk NAME')
  if (bitmap !== undefined && base === undefined)
    throw wrong('--bitmap says what was written since a restore point: name that with --base')
  if (skipDamaged) throw wrong('--skip-damaged is not for --onto: restore what can be read to a new file with --to')
  if (resume) throw wrong('--onto goes on by itself with what an interrupted one has left: leave --resume out')
  if (define || name !== undefined || newIds || uri !== undefined)
    throw wrong('--define, --name, --new-ids and --uri are for the whole machine, and --onto for a disk')
  return { disk, onto }
}

const diskOf = (prefix: string, point: Point, disk: string): Point['disks'][number] => {
  const { name } = imageOf(prefix, { disks: point.disks, attachments: [] }, { disk })
  return point.disks.find((one) => one.name === name)!
}

interface Told {
  readonly point: Point
  readonly base: Base | null
  readonly done: Onto
  readonly durationMs: number
  readonly disk: string
}

const tell = ({ point, base, done, durationMs, disk }: Told, dryRun: boolean): void => {
  const { found, bytesRead, bytesDiffering, bytesReceived, bytesWritten, bytesZeroed, ranges, rangeCount } = done
  const what = `Disk ${disk} of ${point.machine} at ${new Date(point.timeMs).toISOString()}`
  const inRanges = `${sizeText(bytesDiffering)} in ${rangeCount} ${rangeCount === 1 ? 'range' : 'ranges'}`
  const looked = base === null ? 'all of it was looked at' : `looked at ${sizeText(bytesRead)}, as --base says`
  if (dryRun) {
    for (const { offset, length } of ranges.slice(0, RANGES_SHOWN_MAX)) print(`  ${length} bytes at ${offset}`)
    if (rangeCount > RANGES_SHOWN_MAX) print(`  and ${rangeCount - RANGES_SHOWN_MAX} more ranges`)
    print(
      `${what} differs from ${found.final} (${found.format}) by ${inRanges}: ${sizeText(bytesWritten)} would be written and ${sizeText(bytesZeroed)} zeroed; ${looked}, and nothing was written.`,
    )
    return
  }
  print(
    `${what} is on ${found.final} (${found.format}): ${inRanges} differed; ${sizeText(bytesRead)} read there, ${sizeText(bytesReceived)} received, ${sizeText(bytesWritten)} written and ${sizeText(bytesZeroed)} zeroed in ${(durationMs / 1000).toFixed(1)} s; ${looked}, and every chunk written was checked.`,
  )
}

const run = async (
  context: CommandContext,
  prefix: string,
  options: RestoreCommand & { readonly disk: string; readonly onto: string },
): Promise<void> => {
  const { link, signal, progress, config } = context
  const { json, dryRun, force, bitmap } = options
  checkMayRead(context)
  const { point } = await findPoint(context, prefix, options.at)
  const disk = diskOf(prefix, point, options.disk)
  const earlier = options.base === undefined ? null : await link.call('points.get', { point: options.base }, signal)
  const base =
    earlier === null
      ? null
      : { point: earlier.point.id, disk: diskOf(options.base!, earlier.point, options.disk), bitmap: bitmap ?? null }
  const notes = await openNotes(context)
  const startedMs = performance.now()
  const meter = new Meter()
  let begun: Onto['found'] | null = null
  const request: OntoRequest = {
    // the command itself gives up waiting for the gateway
    reads: { link: { repeat: (work) => link.repeat(work, signal) }, signal, reconnectMs: 0 },
    point: point.id,
    disk,
    onto: options.onto,
    format: options.format ?? null,
    force,
    dryRun,
    base,
    machines: config.machines,
    notes,
    random: Math.random,
    onProgress: (what, doneBytes, totalBytes) => {
      meter.add(performance.now(), doneBytes)
      progress.show(() => `${disk.name}: ${what} ${meter.text(doneBytes, totalBytes)}`)
    },
    onBegin: (found) => (begun = found),
  }
  let done: Onto
  try {
    done = await restoreOnto(request)
  } catch (thrown) {
    progress.clear()
    const error = asVarveError(thrown)
    if (begun !== null && error.code !== 'TARGET_EXISTS') remark(halfWritten(begun, 'command'))
    throw thrown
  }
  progress.clear()
  const durationMs = Math.round(performance.now() - startedMs)
  if (!json) return tell({ point, base, done, durationMs, disk: disk.name }, dryRun)
  const { found, ...figures } = done
  printJson({
    point: point.id,
    machine: point.machine,
    disk: disk.name,
    onto: found.final,
    format: found.format,
    size: disk.size,
    dryRun,
    base: base?.point ?? null,
    bitmap: base?.bitmap ?? null,
    ...figures,
    durationMs,
  })
}

export const restoreDiskOnto = async (prefix: string, options: RestoreCommand): Promise<void> => {
  const checked = checkOptions(options)
  await withAnyGateway(options, (context) => run(context, prefix, { ...options, ...checked }), {
    ...options,
    works: true,
    progress: !options.json,
  })
}
