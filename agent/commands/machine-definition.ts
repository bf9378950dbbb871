// What `restore --define` makes of a machine: a domain of libvirt or a script for QEMU, planned before anything is written.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import type { Point } from '../../protocol/schemas.ts'
import { planDomain, type DomainPlan } from '../define/domain.ts'
import { checkDefinable, closedFolders, defineDomain } from '../define/libvirt.ts'
import { planScript, type QemuCommand, type ScriptPlan } from '../define/start-script.ts'
import { URI_DEFAULT } from '../libvirt/uri-schema.ts'
import type { TargetFormat } from '../restore/format.ts'
import { attachmentBytes } from './attachment-bytes.ts'
import type { CommandContext } from './context.ts'

export const DOMAIN_FILE = 'domain.xml'
export const SCRIPT_FILE = 'start.sh'

export interface DefineOptions {
  readonly name?: string
  readonly newIds: boolean
  readonly uri?: string
  /** An earlier restore may have written it already. */
  readonly resume?: boolean
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

interface NewIds {
  readonly newUuid: () => string
  /** A locally administered address of QEMU's. */
  readonly newMac: () => string
}

/** Ids from 16 bytes each, which `next` gives. */
const idsFrom = (next: () => Uint8Array): NewIds => ({
  newUuid: () => {
    const bytes = Buffer.from(next())
    // version and variant, as those have them that are drawn at random
    bytes[6] = (bytes[6]! & 0x0f) | 0x40
    bytes[8] = (bytes[8]! & 0x3f) | 0x80
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/u, '$1-$2-$3-$4-')
  },
  newMac: () =>
    ['52', '54', '00', ...[...next().subarray(0, 3)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':'),
})

/**
 * New ids for the machine of a folder. One that is gone on with gets those that it got before, so that what starts it is the
 * same: they come from the folder, which no other machine has.
 */
const newIdsFor = async (point: string, root: string, resume: boolean): Promise<NewIds> => {
  if (!resume) return idsFrom(() => randomBytes(16))
  const { dev, ino, birthtimeNs } = await stat(root, { bigint: true })
  let count = 0
  return idsFrom(() => {
    const of = [hostname(), root, dev, ino, birthtimeNs, point, count++].join('\0')
    return createHash('sha256').update(of).digest().subarray(0, 16)
  })
}

const attachmentText = async (context: CommandContext, point: Point, name: string): Promise<string | null> =>
  (await attachmentBytes(context, point, name))?.toString('utf8') ?? null

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
  const { newIds, name = null, resume = false } = options
  const ids = await newIdsFor(point.id, root, resume)
  const wishes = { name, newIds, disks, files, folder: root, isHere: existsSync, ...ids }
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
    ...(await newIdsFor(point.id, placed.root, options.resume ?? false)),
  })
  const { script: text, uuid, remarks, command: moved } = plan
  const file = path.join(placed.root, SCRIPT_FILE)
  const define = async (): Promise<void> => {}
  return { kind: 'qemu', uri: null, name: plan.name, uuid, file, text, remarks, define, command: moved }
}
