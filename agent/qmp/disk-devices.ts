// The devices behind a machine's disks: what the guest can do with one, and those whose writes QEMU's block layer never sees.

import * as v from 'valibot'
import type { QmpCaller } from './client.ts'

/** Most devices of one machine that are looked at. */
const DEVICES_MAX = 4_096

/** Where QEMU keeps devices that somebody added, with an id and without. */
const DEVICE_FOLDERS = ['/machine/peripheral', '/machine/peripheral-anon'] as const

/** The device of a disk; `type` is QEMU's, '' where it does not tell. */
export interface DiskDevice {
  readonly type: string
  /** Others may write the same disk (`share-rw=on`). */
  readonly shared: boolean
}

/** A disk that no backup can hold right, and what to do. */
export interface RefusedDisk {
  readonly name: string
  readonly why: string
}

/** What has no answer is not known: QEMU of any version has other properties for other devices. */
const ask = async (client: QmpCaller, command: string, args: Readonly<Record<string, unknown>>): Promise<unknown> => {
  try {
    return await client.execute(command, args)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'QMP_ERROR') return null
    throw error
  }
}

/** Asks for the device that query-block calls `qdev`: its id, or its path. */
export const lookAtDevice = async (client: QmpCaller, qdev: string): Promise<DiskDevice> => {
  if (qdev === '') return { type: '', shared: false }
  const path = qdev.startsWith('/') ? qdev : `${DEVICE_FOLDERS[0]}/${qdev}`
  const type = await ask(client, 'qom-get', { path, property: 'type' })
  const shared = await ask(client, 'qom-get', { path, property: 'share-rw' })
  return { type: typeof type === 'string' ? type : '', shared: shared === true }
}

/** A drive whose medium the guest cannot write. */
export const isCdRom = ({ type }: DiskDevice): boolean => type === 'ide-cd' || type === 'scsi-cd'

export const isFloppy = ({ type }: DiskDevice): boolean => type === 'floppy'

const PASSED_THROUGH: ReadonlySet<string> = new Set(['scsi-block', 'scsi-generic'])

export const passedThrough = (what: string, way: string): string =>
  `it is given to the guest as a SCSI device (${what}), whose writes QEMU does not see: attach it as ${way}, or leave it out with "exclude"`

export const sharedByOthers = (what: string): string =>
  `other machines may write it too (${what}), and their writes are not seen here: take that away if none does, or leave it out with "exclude"`

/**
 * Why a disk cannot be held; null where it can. An image of qcow2 is never written by two QEMUs.
 */
export const refusalOf = ({ type, shared }: DiskDevice, format: string): string | null => {
  if (PASSED_THROUGH.has(type)) return passedThrough(type, 'scsi-hd')
  return shared && format !== 'qcow2' ? sharedByOthers('share-rw=on') : null
}

const childrenSchema = v.pipe(v.array(v.object({ name: v.string(), type: v.string() })), v.maxLength(DEVICES_MAX))

/** Devices whose disks other programs hold: QEMU has no block node of them. */
const OUTSIDE = /^child<(vhost-user-blk|vhost-user-scsi|vhost-scsi)(?:-pci|-ccw|-device)?(?:-(?:non-)?transitional)?>$/u

/** A device whose disk QEMU has no node of; its id is '' where it has none. */
interface OutsideDisk {
  readonly id: string
  readonly device: string
  readonly why: string
}

/** Disks of the machine that other programs write, which `query-block` does not show. */
export const listOutside = async (client: QmpCaller): Promise<readonly OutsideDisk[]> => {
  const found: OutsideDisk[] = []
  for (const path of DEVICE_FOLDERS) {
    const children = v.safeParse(childrenSchema, await ask(client, 'qom-list', { path }))
    for (const { name, type } of children.success ? children.output : []) {
      const device = OUTSIDE.exec(type)?.[1]
      if (device === undefined) continue
      const why = `it is a ${device} device, which another program than QEMU reads and writes: attach it through QEMU (virtio-blk-pci, scsi-hd), or leave it out with "exclude"`
      found.push({ id: path === DEVICE_FOLDERS[0] ? name : '', device, why })
    }
  }
  return found
}

interface Stats {
  readonly 'node-name'?: string | undefined
  readonly parent?: Stats | undefined
}

const statsSchema: v.GenericSchema<unknown, Stats> = v.object({
  'node-name': v.optional(v.string()),
  parent: v.optional(v.lazy(() => statsSchema)),
})

/** Which node lies directly below each one, of the nodes that devices show and what they lead to. */
export const nodesBelow = async (client: QmpCaller): Promise<ReadonlyMap<string, string>> => {
  const answer = v.safeParse(v.array(statsSchema), await ask(client, 'query-blockstats', {}))
  const below = new Map<string, string>()
  for (const device of answer.success ? answer.output : []) {
    for (let node: Stats | undefined = device; node !== undefined; node = node.parent) {
      const [upper, lower] = [node['node-name'], node.parent?.['node-name']]
      if (upper !== undefined && lower !== undefined) below.set(upper, lower)
    }
  }
  return below
}
