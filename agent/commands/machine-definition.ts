// What `restore --define` makes of a machine: a domain of libvirt or a script for QEMU, planned before anything is written.
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import type { Point } from '../../protocol/schemas.ts'
import { planDomain, type DomainPlan } from '../define/domain.ts'
import { checkDefinable, closedFolders, defineDomain } from '../define/libvirt.ts'
import { planScript, type QemuCommand, type ScriptPlan } from '../define/start-script.ts'
import { URI_DEFAULT } from '../libvirt/uri-schema.ts'
import { restoreDisk } from '../restore/restore.ts'
import type { TargetFormat } from '../restore/format.ts'
import type { CommandContext } from './context.ts'

export const DOMAIN_FILE = 'domain.xml'
export const SCRIPT_FILE = 'start.sh'

export interface DefineOptions {
  readonly name?: string
  readonly newIds: boolean
  readonly uri?: string
}

export interface Placed {
  /** The folder of the machine, without links. */
  readonly root: string
  /** Files of disks and attachments in it, by their names. */
  readonly disks: ReadonlyMap<string, { readonly file: string; readonly format: TargetFormat }>
  readonly files: ReadonlyMap<string, string>
}

/** What is written beside the disks, and what is done with it once all is there. */
export interface Definition {
  readonly kind: 'libvirt' | 'qemu'
  readonly uri: string | null
  readonly name: string | null
  readonly uuid: string | null
  readonly file: string
  readonly text: string
  readonly remarks: readonly string[]
  readonly define: () => Promise<void>
  /** Of the kind `qemu`, as the point has it: the program and its options, with files named from the folder; else null. */
  readonly command: QemuCommand | null
}

/** A locally administered address of QEMU's. */
const newMac = (): string =>
  ['52', '54', '00', ...[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':')

/** An attachment's content; null where the point has none of this name. What reading an image ends with. */
export const readAttachment = async (
  { link, signal }: Pick<CommandContext, 'link' | 'signal'>,
  point: Point,
  name: string,
): Promise<Buffer | null> => {
  const image = point.attachments.find((one) => one.name === name)
  if (image === undefined) return null
  const bytes = Buffer.alloc(image.size)
  await restoreDisk({
    repeat: (work) => link.repeat(work, signal),
    point: point.id,
    disk: name,
    size: image.size,
    root: image.root,
    target: {
      write: async (offset, part) => bytes.set(part, offset),
      zero: async () => {},
    },
    skipDamaged: false,
    signal,
    onProgress: () => {},
  })
  return bytes
}

const attachmentText = async (context: CommandContext, point: Point, name: string): Promise<string | null> =>
  (await readAttachment(context, point, name))?.toString('utf8') ?? null

const uriOf = ({ config }: CommandContext, machine: string, { uri }: DefineOptions): string => {
  const configured = config.machines.find(({ name }) => name === machine)?.keys['uri']
  return uri ?? (typeof configured === 'string' ? configured : URI_DEFAULT)
}

const ofLibvirt = async (
  context: CommandContext,
  { point, xml, placed, options }: { point: Point; xml: string; placed: Placed; options: DefineOptions },
): Promise<Definition> => {
  const { root } = placed
  const uri = uriOf(context, point.machine, options)
  const at = (file: string): string => path.join(root, file)
  const disks = new Map([...placed.disks].map(([name, { file, format }]) => [name, { path: at(file), format }]))
  const files = new Map([...placed.files].map(([name, file]) => [name, at(file)]))
  const { newIds, name = null } = options
  const wishes = { name, newIds, disks, files, folder: root, isHere: existsSync, newUuid: randomUUID, newMac }
  const plan: DomainPlan = planDomain(xml, wishes)
  await checkDefinable(uri, plan)
  const file = at(DOMAIN_FILE)
  const autostart = (await attachmentText(context, point, 'autostart'))?.trim() === 'yes'
  const started = autostart ? ['it was started together with its host: "virsh autostart" does that again'] : []
  // those of a user's own libvirt run as that user
  const closed = uri.startsWith(URI_DEFAULT) ? await closedFolders(path.dirname(root)) : []
  const entered =
    closed.length === 0 ? [] : [`QEMU's user may not enter ${closed[0]}: let it ("chmod o+x"), or restore elsewhere`]
  return {
    kind: 'libvirt',
    uri,
    name: plan.name,
    uuid: plan.uuid,
    file,
    text: plan.xml,
    remarks: [...plan.remarks, ...started, ...entered],
    define: () => defineDomain(uri, plan, file),
    command: null,
  }
}

/** What the point tells of the machine decides which one. DATA_DAMAGED, EXISTS, LIBVIRT_UNAVAILABLE, PARAMS_INVALID. */
export const planDefinition = async (
  context: CommandContext,
  { point, configuration }: { readonly point: Point; readonly configuration: string },
  placed: Placed,
  options: DefineOptions,
): Promise<Definition> => {
  const xml = await attachmentText(context, point, 'domain.xml')
  if (xml !== null) return await ofLibvirt(context, { point, xml, placed, options })
  if (options.uri !== undefined)
    throw new VarveError('PARAMS_INVALID', 'the restore point has no domain of libvirt: leave --uri out')
  const command = await attachmentText(context, point, 'command-line')
  const name = options.name ?? (command === null ? point.machine : null)
  const plan: ScriptPlan = planScript(command, configuration, {
    ...placed,
    title: `${point.machine} at ${new Date(point.timeMs).toISOString()}`,
    name,
    newIds: options.newIds,
    isHere: existsSync,
    newUuid: randomUUID,
    newMac,
  })
  const { script: text, uuid, remarks, command: moved } = plan
  const file = path.join(placed.root, SCRIPT_FILE)
  const { name: named } = plan
  return { kind: 'qemu', uri: null, name: named, uuid, file, text, remarks, define: async () => {}, command: moved }
}
