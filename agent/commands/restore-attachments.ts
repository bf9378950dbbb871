// All attachments of a restore point into a folder: each under its own name, and none outside of the folder.
import { lstat, mkdir, realpath } from 'node:fs/promises'
import path from 'node:path'
import { isAttachmentName, type MissingAttachment } from '../../protocol/attachments.ts'
import { VarveError } from '../../protocol/errors.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import type { Point } from '../../protocol/schemas.ts'
import { makeFolder } from '../make-folder.ts'
import { targetError } from '../restore/target-error.ts'
import type { CommandContext } from './context.ts'
import { openNotes, partlyLost, restoreImage, type RestoredImage } from './restore-image.ts'

const FOLDER_MODE = 0o700

interface ToFolder {
  readonly folder: string
  readonly force: boolean
  readonly skipDamaged: boolean
  readonly json: boolean
}

/** TARGET_INVALID for whatever is there and is no folder of its own: a link could lead anywhere. */
const makeInside = async (root: string, parts: readonly string[]): Promise<string> => {
  let folder = root
  for (const part of parts) {
    folder = path.join(folder, part)
    await mkdir(folder, { mode: FOLDER_MODE }).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error
    })
    if (!(await lstat(folder)).isDirectory())
      throw new VarveError('TARGET_INVALID', `${folder} is no folder: an attachment's name has it as one`)
  }
  return folder
}

/** What has a target's name: nothing, or a file that may be replaced. TARGET_EXISTS, TARGET_INVALID. */
const checkThere = async (target: string, force: boolean): Promise<void> => {
  try {
    const found = await lstat(target)
    if (!found.isFile()) throw new VarveError('TARGET_INVALID', `${target} is no file, so no attachment replaces it`)
    if (!force) throw new VarveError('TARGET_EXISTS', `${target} exists; --force replaces it`)
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error
  }
}

/** The folder without links, made where it is missing. */
const openFolder = async (folder: string): Promise<string> => {
  try {
    await makeFolder(folder, FOLDER_MODE)
    return await realpath(folder)
  } catch (error) {
    throw targetError(`cannot write to ${folder}`, error)
  }
}

/** Where each attachment goes; all are looked at before any is written. DATA_DAMAGED, TARGET_EXISTS, TARGET_INVALID. */
const placesOf = async (root: string, names: readonly string[], force: boolean): Promise<Map<string, string>> => {
  const places = new Map<string, string>()
  for (const name of names) {
    if (!isAttachmentName(name))
      throw new VarveError(
        'DATA_DAMAGED',
        `the restore point names an attachment ${JSON.stringify(name)}, which leads out of the folder`,
      )
    const place = path.join(root, name)
    await checkThere(place, force)
    places.set(name, place)
  }
  return places
}

/** TARGET_EXISTS and TARGET_INVALID before anything is written; DATA_DAMAGED after all that is whole was. */
export const restoreAttachments = async (
  context: CommandContext,
  point: Point,
  missing: readonly MissingAttachment[],
  { folder, force, skipDamaged, json }: ToFolder,
): Promise<void> => {
  const root = await openFolder(folder)
  const places = await placesOf(
    root,
    point.attachments.map(({ name }) => name),
    force,
  )
  const notes = await openNotes(context)
  const done: { readonly name: string; readonly to: string; readonly size: number; readonly lostBytes: number }[] = []
  let damaged: { readonly name: string; readonly to: string; readonly restored: RestoredImage } | null = null
  const startedMs = performance.now()
  const total = { size: 0, bytesReceived: 0, keptBytes: 0, lostBytes: 0, lostCount: 0 }
  for (const image of point.attachments) {
    const { name, size } = image
    const to = places.get(name)!
    try {
      await makeInside(root, name.split('/').slice(0, -1))
    } catch (error) {
      throw targetError(`cannot write ${to}`, error)
    }
    const target = { to, format: 'raw', force, skipDamaged, resume: false } as const
    const restored = await restoreImage(context, { point: point.id, image, notes }, target)
    if (restored.lostBytes > 0) damaged ??= { name, to, restored }
    done.push({ name, to, size, lostBytes: restored.lostBytes })
    total.size += size
    for (const figure of ['bytesReceived', 'lostBytes', 'lostCount'] as const) total[figure] += restored[figure]
    if (!json) print(`  ${to}: ${sizeText(size)}`)
  }
  if (json)
    printJson({
      point: point.id,
      machine: point.machine,
      disk: null,
      attachment: null,
      to: root,
      format: 'raw',
      ...total,
      durationMs: Math.round(performance.now() - startedMs),
      lost: [],
      disks: [],
      attachments: done,
      missing,
      defined: null,
    })
  if (damaged !== null) throw partlyLost(`attachment ${damaged.name}`, damaged.to, damaged.restored)
  if (json) return
  for (const { name, reason } of missing) print(`  ${name} is not in the point: ${reason}`)
  const count = `${done.length} ${done.length === 1 ? 'attachment' : 'attachments'}`
  print(
    `${count} of ${point.machine} at ${new Date(point.timeMs).toISOString()} in ${root}, every chunk and root checked.`,
  )
}
