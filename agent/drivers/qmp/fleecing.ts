// How old blocks are kept while a disk is read. Pure, but for the question what QEMU can do.
//
// Through an overlay: the copy job writes them to a qcow2 image whose backing file is the disk, and that image is exported.
//
// Through snapshot access: the job writes them to a raw file, and a node over the job's own filter is exported, which reads
// from either. What was read can be discarded there: its scratch space becomes free, and the guest's writes to it are no longer
// copied. Only here may a full scratch space break the snapshot (`on-cbw-error`): every later read then fails. An overlay would
// go on to show newer bytes, without a sign.
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer } from '../../qmp/disks.ts'
import type { QmpVersion } from '../../qmp/message.ts'
import type { DiskDecision } from '../decide.ts'
import type { Fleecing } from './keys.ts'

/**
 * The oldest QEMU whose snapshot access is used, as major and minor. Before, a read or a map that begins in what was copied and
 * ends in what was not gives what the guest has written since, without a sign (seen on 7.2.22; mended in 8.2.1 and 9.0).
 */
const ACCESS_MIN = [9, 0] as const

/** The oldest QEMU whose backup jobs may have `on-cbw-error`. */
const BREAKS_MIN = [10, 1] as const

/** Largest disk with a raw scratch file unless it is asked for, in bytes: ext4 has no larger files than twice that. */
export const RAW_SCRATCH_BYTES_MAX = 8 * 2 ** 40

/** What a QEMU can do. */
export interface FleecingSupport {
  readonly access: boolean
  /** A full scratch space breaks the snapshot and not the guest's write. */
  readonly breaks: boolean
}

const isSince = ({ major, minor }: QmpVersion, [fromMajor, fromMinor]: readonly [number, number]): boolean =>
  major > fromMajor || (major === fromMajor && minor >= fromMinor)

const schemaSchema = v.array(
  v.looseObject({
    name: v.string(),
    'meta-type': v.string(),
    'arg-type': v.optional(v.string()),
    members: v.optional(v.array(v.looseObject({ name: v.optional(v.string()) }))),
  }),
)

/** Whether QEMU's schema has a member among the arguments of a command. */
export const hasArgument = (schema: unknown, command: string, member: string): boolean => {
  const entries = checkAnswer(schemaSchema, schema, 'query-qmp-schema')
  const type = entries.find((entry) => entry['meta-type'] === 'command' && entry.name === command)?.['arg-type']
  return entries.some(({ name, members = [] }) => name === type && members.some((each) => each.name === member))
}

/** Asks for the schema, which is long, only where it may have something to say. */
export const askSupport = async (client: QmpCaller, wish: Fleecing): Promise<FleecingSupport> => {
  const access = isSince(client.version, ACCESS_MIN)
  if (wish === 'off' || !isSince(client.version, BREAKS_MIN)) return { access, breaks: false }
  return { access, breaks: hasArgument(await client.execute('query-qmp-schema'), 'blockdev-backup', 'on-cbw-error') }
}

/**
 * Whether a disk is read through snapshot access. By itself not where a full read would lose its holes: for a disk with backing
 * files QEMU tells there only of what its top image holds.
 */
const suits = ({ disk, kind }: DiskDecision): boolean =>
  disk.size <= RAW_SCRATCH_BYTES_MAX && (kind === 'incremental' || disk.backing.length === 0)

/** The way of each disk, and how a full scratch space ends: null for an overlay. DISK_UNSUPPORTED where QEMU cannot do it. */
export type AccessOf = (decision: DiskDecision) => { readonly breaks: boolean } | null

export const accessOf = (
  wish: Fleecing,
  { access, breaks }: FleecingSupport,
  { major, minor }: QmpVersion,
): AccessOf => {
  if (wish === 'on' && !access) {
    const needed = ACCESS_MIN.join('.')
    const sentence = `fleecing = "on" needs QEMU ${needed} or newer, as older ones give wrong bytes there, and this is ${major}.${minor}: set it to "auto"`
    throw new VarveError('DISK_UNSUPPORTED', sentence)
  }
  return (decision) => (wish === 'off' || !access || (wish === 'auto' && !suits(decision)) ? null : { breaks })
}
