// What starts a machine that runs from the gateway: a script for plain QEMU, or a domain of libvirt; and what it needs of the
// point besides its disks.
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { isAttachmentName } from '../../../protocol/attachments.ts'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { remark } from '../../../protocol/host/output.ts'
import type { Point } from '../../../protocol/schemas.ts'
import { ownerOf } from '../../instant/domain.ts'
import type { InstantDomain, InstantRecord, Places } from '../../instant/record.ts'
import { socketsOf, startScript } from '../../instant/start-script.ts'
import { attachmentBytes } from '../attachment-bytes.ts'
import type { CommandContext } from '../context.ts'
import { planDefinition, type DefineOptions, type Definition } from '../machine-definition.ts'
import { AGENT_PROGRAM } from './program.ts'

export interface MachineOptions extends DefineOptions {
  readonly define: boolean
}

export interface MachinePlan {
  readonly domain: InstantDomain | null
  readonly remarks: readonly string[]
  /** What will be there beside the disks, now or once it runs. */
  readonly files: readonly string[]
  /** Writes it, once the record is known. */
  readonly write: (record: InstantRecord, extra: readonly string[]) => Promise<void>
}

/** Attachments that say what the machine is; the others are files that it needs. */
const DESCRIBING = new Set(['domain.xml', 'command-line', 'autostart'])

/** Whether the machine is a domain of libvirt again. */
export const becomesDomain = (
  { attachments }: Pick<Point, 'attachments'>,
  { define }: Pick<MachineOptions, 'define'>,
): boolean => define && attachments.some(({ name }) => name === 'domain.xml')

const filesOf = (point: Point): Map<string, string> =>
  new Map(
    point.attachments.map(({ name }) => {
      if (isAttachmentName(name)) return [name, `attachments/${name}`] as const
      throw new VarveError(
        'DATA_DAMAGED',
        `the restore point names an attachment ${JSON.stringify(name)}, which leads out of the folder`,
      )
    }),
  )

/** Null where what the point says of its machine is not understood, unless it was asked for. */
const planned = async (plan: () => Promise<Definition>, asked: boolean): Promise<Definition | null> => {
  try {
    return await plan()
  } catch (thrown) {
    const { code, message } = asVarveError(thrown)
    if (asked || code !== 'DATA_DAMAGED') throw thrown
    remark(`how the machine was started is not used: ${message}`)
    return null
  }
}

/** DATA_DAMAGED, EXISTS, LIBVIRT_UNAVAILABLE, PARAMS_INVALID, before anything is written. */
export const planMachine = async (
  context: CommandContext,
  told: { readonly point: Point; readonly configuration: string },
  { places, images }: { readonly places: Places; readonly images: ReadonlyMap<string, string> },
  options: MachineOptions,
): Promise<MachinePlan> => {
  const { point } = told
  const placed = {
    root: places.folder,
    disks: new Map([...images].map(([name, file]) => [name, { file, format: 'qcow2' as const }])),
    files: filesOf(point),
  }
  const asked = options.define
  const isDomain = becomesDomain(point, { define: true })
  // a domain that nobody wants to be one has no command line
  const definition =
    isDomain && !asked ? null : await planned(() => planDefinition(context, told, placed, options), asked)
  const domain =
    definition?.kind === 'libvirt'
      ? {
          uri: definition.uri!,
          name: definition.name!,
          uuid: definition.uuid!,
          owner: await ownerOf(definition.uri!),
        }
      : null
  const isKnown = domain !== null || (definition?.command ?? null) !== null
  const needed = isKnown ? point.attachments.map(({ name }) => name).filter((name) => !DESCRIBING.has(name)) : []
  const write: MachinePlan['write'] = async (record, extra) => {
    for (const name of needed) {
      const file = path.join(places.attachments, name)
      // QEMU's user enters them
      await mkdir(path.dirname(file), { recursive: true, mode: 0o711 })
      await writeFile(file, (await attachmentBytes(context, point, name))!, { mode: 0o600, flag: 'wx' })
    }
    if (domain !== null) return await writeFile(places.domain, definition!.text, { mode: 0o600, flag: 'wx' })
    const script = startScript({ places, record, command, agent: AGENT_PROGRAM, extra })
    await writeFile(places.script, script, { mode: 0o700, flag: 'wx' })
  }
  const { attachments, script, ownQmp, pid } = places
  const command = definition?.command ?? null
  const sockets = command === null ? [ownQmp] : socketsOf(command).map((name) => path.join(places.folder, name))
  const started = domain === null ? [script, pid, ...sockets] : [places.domain]
  const files = [...started, ...(needed.length === 0 ? [] : [attachments])]
  const remarks = isKnown ? definition!.remarks : []
  return { domain, remarks, files, write }
}
