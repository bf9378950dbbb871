// A whole machine of a restore point into a folder: all disks and attachments or none, and with --define what starts it.
import { chmod, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { isAttachmentName, type MissingAttachment } from '../../protocol/attachments.ts'
import { VarveError } from '../../protocol/errors.ts'
import { Meter } from '../../protocol/host/meter.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { Point } from '../../protocol/schemas.ts'
import { diskFiles } from '../define/file-names.ts'
import { shellQuoted } from '../define/shell-words.ts'
import { makeFolder, removeFolders } from '../make-folder.ts'
import { contentOf } from '../restore/kept.ts'
import { partialName } from '../restore/new-file.ts'
import { openTarget, type OpenedTarget } from '../restore/open-target.ts'
import type { TargetFormat } from '../restore/format.ts'
import { checkSpace } from '../restore/space.ts'
import { targetError } from '../restore/target-error.ts'
import { nameTargets, restoreTogether, type RestoredTogether } from '../restore/together.ts'
import type { CommandContext } from './context.ts'
import { planDefinition, type Definition, type DefineOptions, type Placed } from './machine-definition.ts'
import { keptFor, openNotes, partlyLost } from './restore-image.ts'

/** Others, such as the user of libvirt's QEMUs, may enter it and not list it. */
const FOLDER_MODE = 0o711

const SCRIPT_MODE = 0o700

/** The folder of the attachments in that of the machine. */
const ATTACHMENTS = 'attachments'

export interface MachineOptions extends DefineOptions {
  readonly to: string
  readonly format?: TargetFormat
  readonly define: boolean
  readonly resume: boolean
  readonly force: boolean
  readonly skipDamaged: boolean
  readonly json: boolean
}

export interface MachinePoint {
  readonly point: Point
  readonly configuration: string
  readonly missing: readonly MissingAttachment[]
}

interface Image {
  readonly name: string
  readonly size: number
  readonly root: Point['disks'][number]['root']
  readonly isDisk: boolean
  /** Its file, in the folder. */
  readonly file: string
  readonly format: TargetFormat
}

/** All that goes into the folder. DATA_DAMAGED for an attachment that leads out of it, TARGET_INVALID for disks of one file. */
const imagesOf = ({ disks, attachments }: Point, format: TargetFormat): Image[] => {
  const files = diskFiles(
    disks.map(({ name }) => name),
    format,
  )
  for (const { name } of attachments)
    if (!isAttachmentName(name))
      throw new VarveError(
        'DATA_DAMAGED',
        `the restore point names an attachment ${JSON.stringify(name)}, which leads out of the folder`,
      )
  return [
    ...disks.map(({ name, size, root }) => ({ name, size, root, isDisk: true, file: files.get(name)!, format })),
    ...attachments.map(({ name, size, root }) => ({
      name,
      size,
      root,
      isDisk: false,
      file: `${ATTACHMENTS}/${name}`,
      format: 'raw' as const,
    })),
  ]
}

/** What is told at the end. */
interface Done {
  readonly root: string
  readonly images: readonly Image[]
  readonly restored: readonly RestoredTogether[]
  readonly definition: Definition | null
  readonly durationMs: number
}

const placedOf = (root: string, images: readonly Image[]): Placed => ({
  root,
  disks: new Map(images.filter(({ isDisk }) => isDisk).map(({ name, file, format }) => [name, { file, format }])),
  files: new Map(images.filter(({ isDisk }) => !isDisk).map(({ name, file }) => [name, file])),
})

/** Bytes on the file system that a broken-off restore has written already. */
const bytesThere = async (partial: string): Promise<number | null> => {
  try {
    return (await stat(partial)).blocks * 512
  } catch {
    return null
  }
}

/** Tells of files that --resume would go on with, or how much is there where it does. */
const lookForParts = async (root: string, images: readonly Image[], resume: boolean): Promise<number> => {
  let there = 0
  for (const { file, isDisk } of images) {
    const at = path.join(root, file)
    if (resume) there += (await bytesThere(at)) ?? 0
    if (!isDisk) continue
    const partial = partialName(at)
    const bytes = await bytesThere(partial)
    if (bytes === null) continue
    if (resume) there += bytes
    else remark(`${partial} is of a restore that was broken off: --resume goes on with it; else remove it`)
  }
  return there
}

/** A folder in one without links, made where it is missing. TARGET_INVALID where a link is on the way. */
const folderIn = async (root: string, inner: string, made: string[]): Promise<void> => {
  const folder = path.join(root, inner)
  try {
    made.push(...(await makeFolder(folder, FOLDER_MODE)))
    if ((await realpath(folder)) === folder) return
  } catch (error) {
    throw targetError(`cannot write to ${folder}`, error)
  }
  throw new VarveError('TARGET_INVALID', `${folder} leads elsewhere: a symbolic link is on the way`)
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`

class MachineRestore {
  readonly #context: CommandContext
  readonly #told: MachinePoint
  readonly #options: MachineOptions
  /** Folders that were made. */
  readonly made: string[] = []
  /** Files are open to be written. */
  writes = false

  constructor(context: CommandContext, told: MachinePoint, options: MachineOptions) {
    this.#context = context
    this.#told = told
    this.#options = options
  }

  async run(): Promise<void> {
    const { point } = this.#told
    const { to, define, resume, json } = this.#options
    const images = imagesOf(point, this.#options.format ?? 'qcow2')
    const root = await this.#openFolder(to)
    const there = await lookForParts(root, images, resume)
    const definition = define
      ? await planDefinition(this.#context, this.#told, placedOf(root, images), this.#options)
      : null
    await this.#checkSpace(root, images, there)
    const startedMs = performance.now()
    const restored = await this.#write(root, images, definition)
    await definition?.define()
    const durationMs = Math.round(performance.now() - startedMs)
    definition?.remarks.forEach(remark)
    const done = { root, images, restored, definition, durationMs }
    if (json) this.#printJson(done)
    else this.#print(done)
    const damaged = restored.findIndex(({ lostBytes }) => lostBytes > 0)
    const image = images[damaged]
    if (image !== undefined)
      throw partlyLost(
        `${image.isDisk ? 'disk' : 'attachment'} ${image.name}`,
        path.join(root, image.file),
        restored[damaged]!,
      )
  }

  async #openFolder(folder: string): Promise<string> {
    try {
      this.made.push(...(await makeFolder(folder, FOLDER_MODE)))
      return await realpath(folder)
    } catch (error) {
      throw targetError(`cannot write to ${folder}`, error)
    }
  }

  async #checkSpace(root: string, images: readonly Image[], thereBytes: number): Promise<void> {
    const { link, signal } = this.#context
    const exactly = async (): Promise<number> => {
      let bytes = 0
      for (const { name, size, root: tree } of images)
        bytes += await contentOf({ size, root: tree, reads: { link, point: this.#told.point.id, disk: name, signal } })
      return bytes
    }
    const mostBytes = images.reduce((sum, { size }) => sum + size, 0)
    await checkSpace(root, { mostBytes, exactly, thereBytes })
  }

  /** Writes all, and gives all their names. */
  async #write(root: string, images: readonly Image[], definition: Definition | null): Promise<RestoredTogether[]> {
    const { config, link, signal, progress } = this.#context
    const { point } = this.#told
    const { force, resume, skipDamaged } = this.#options
    await using resources = new AsyncDisposableStack()
    const notes = await openNotes(this.#context)
    // a disk is gone on with; what is small is written again, and may be there already
    const open = async (file: string, size: number, format: TargetFormat, isDisk: boolean): Promise<OpenedTarget> => {
      signal.throwIfAborted()
      await folderIn(root, path.dirname(file), this.made)
      const at = { path: path.join(root, file), size, format, force, machines: config.machines, notes }
      const opened = await openTarget({ ...at, resume: resume && isDisk, again: resume && !isDisk })
      resources.use(opened.target)
      return opened
    }
    const opened = []
    for (const image of images)
      opened.push({ ...image, opened: await open(image.file, image.size, image.format, image.isDisk) })
    this.writes = true
    const targets = opened.map((one) => one.opened.target)
    if (definition !== null) {
      const bytes = new TextEncoder().encode(definition.text)
      const { target } = await open(path.basename(definition.file), bytes.length, 'raw', false)
      await target.write(0, bytes)
      targets.push(target)
    }
    const meter = new Meter()
    const total = images.reduce((sum, { size }) => sum + size, 0)
    const restored = await restoreTogether(opened, {
      point: point.id,
      repeat: (work, until) => link.repeat(work, until),
      skipDamaged,
      signal,
      onProgress: (doneBytes) => {
        meter.add(performance.now(), doneBytes)
        progress.show(() => `${point.machine}: ${meter.text(doneBytes, total)}`)
      },
    })
    const remarks = await nameTargets(targets, { checkPlaces: async () => {}, signal })
    this.writes = false
    if (definition?.kind === 'qemu') await chmod(definition.file, SCRIPT_MODE)
    progress.clear()
    remarks.flat().forEach(remark)
    return restored
  }

  #printJson({ root, images, restored, definition, durationMs }: Done): void {
    const { point, missing } = this.#told
    const rows = images.map((image, index) => {
      const { lost, lostBytes, lostCount, keptBytes, bytesReceived } = restored[index]!
      const { name, size, format, isDisk, file } = image
      const row = { name, to: path.join(root, file), size, lostBytes }
      return { isDisk, row, more: { format, bytesReceived, keptBytes, lostCount, lost } }
    })
    const sum = (figure: 'bytesReceived' | 'lostBytes' | 'lostCount' | 'keptBytes'): number =>
      restored.reduce((all, one) => all + one[figure], 0)
    printJson({
      point: point.id,
      machine: point.machine,
      disk: null,
      attachment: null,
      to: root,
      format: this.#options.format ?? 'qcow2',
      size: images.reduce((all, { size }) => all + size, 0),
      bytesReceived: sum('bytesReceived'),
      keptBytes: sum('keptBytes'),
      durationMs,
      lostBytes: sum('lostBytes'),
      lostCount: sum('lostCount'),
      lost: [],
      disks: rows.filter(({ isDisk }) => isDisk).map(({ row, more }) => ({ ...row, ...more })),
      attachments: rows.filter(({ isDisk }) => !isDisk).map(({ row }) => row),
      missing,
      defined: definition && {
        kind: definition.kind,
        uri: definition.uri,
        name: definition.name,
        uuid: definition.uuid,
        file: definition.file,
        remarks: definition.remarks,
      },
    })
  }

  #print({ root, images, restored, definition, durationMs }: Done): void {
    const { point, missing } = this.#told
    for (const [index, { file, size, isDisk }] of images.entries()) {
      const { bytesReceived, keptBytes, lost } = restored[index]!
      const at = path.join(root, file)
      const kept = keptBytes > 0 ? `, ${sizeText(keptBytes)} were there` : ''
      if (isDisk) print(`  ${at}: ${sizeText(size)} (${sizeText(bytesReceived)} received${kept})`)
      for (const { offset, length } of lost) print(`  lost: ${length} bytes at ${offset}, zeroed in ${at}`)
    }
    for (const { name, reason } of missing) print(`  ${name} is not in the point: ${reason}`)
    const { disks, attachments, machine, timeMs } = point
    const isWhole = restored.every(({ lostBytes }) => lostBytes === 0)
    print(
      `Machine ${machine} at ${new Date(timeMs).toISOString()} is in ${root}: ${counted(disks.length, 'disk')} and ${counted(attachments.length, 'attachment')} in ${(durationMs / 1000).toFixed(1)} s${isWhole ? ', every chunk and root checked' : ''}.`,
    )
    if (definition?.kind === 'libvirt') {
      const { name, uri, uuid } = definition
      print(`Defined as ${name} (${uuid}), not started: virsh -c ${shellQuoted(uri!)} start ${shellQuoted(name!)}`)
    } else if (definition !== null) print(`Not started: ${shellQuoted(definition.file)} -daemonize`)
  }
}

/**
 * TARGET_EXISTS, TARGET_INVALID and EXISTS before anything is written; DATA_DAMAGED after all that is left was, with
 * `skipDamaged`. What a failure leaves is for --resume, and without it nothing.
 */
export const restoreMachine = async (
  context: CommandContext,
  told: MachinePoint,
  options: MachineOptions,
): Promise<void> => {
  const restore = new MachineRestore(context, told, options)
  try {
    await restore.run()
  } catch (thrown) {
    if (options.resume && restore.writes) remark(keptFor(options.to))
    // those that are empty
    await removeFolders(restore.made)
    throw thrown
  }
}
