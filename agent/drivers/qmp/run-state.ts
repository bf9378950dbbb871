// Whether a machine is migrating from or to another host: then its disks are not, or not only, this QEMU's.

import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer } from '../../qmp/disks.ts'

const stateSchema = v.object({ status: v.string() })
const migrationSchema = v.object({ status: v.optional(v.string()), 'error-desc': v.optional(v.string(), '') })

/** Run states (QAPI RunState) in which another QEMU may write the disks, or will. */
const MOVING_STATES: Readonly<Record<string, string>> = {
  postmigrate: 'it has migrated to another host, which now writes its disks',
  inmigrate: 'it is waiting for a machine to migrate in from another host',
  'finish-migrate': 'it is being handed over to another host',
  colo: 'it is kept in lockstep with a machine on another host',
}

/** States of an outgoing migration (QAPI MigrationStatus) that has ended or never began. */
const MIGRATION_ENDED: ReadonlySet<string> = new Set(['none', 'completed', 'failed', 'cancelled'])

/** Why the machine's images are, or will be, another QEMU's, as a clause; null when they are this one's. */
export const findMoved = async (client: QmpCaller): Promise<string | null> => {
  const { status } = checkAnswer(stateSchema, await client.execute('query-status'), 'query-status')
  const move = MOVING_STATES[status]
  return move === undefined ? null : `${move} (run state ${status})`
}

/** Whether an outgoing migration in this state of QEMU's is under way, as a clause; null when it is not. */
export const underWay = (migration: unknown): string | null => {
  if (typeof migration !== 'string' || MIGRATION_ENDED.has(migration)) return null
  return `it is moving to another host (migration ${migration})`
}

/** Why the machine's images are, or soon will be, another QEMU's; and how its last migration failed, each null for not. */
export const lookForMove = async (client: QmpCaller): Promise<{ move: string | null; failure: string | null }> => {
  const moved = await findMoved(client)
  if (moved !== null) return { move: moved, failure: null }
  const answer = checkAnswer(migrationSchema, await client.execute('query-migrate'), 'query-migrate')
  const failure = answer.status === 'failed' ? answer['error-desc'] : null
  return { move: underWay(answer.status), failure }
}

/** The same as `findMoved`, also while it is being moved. */
export const findMove = async (client: QmpCaller): Promise<string | null> => (await lookForMove(client)).move

/** MACHINE_MOVING if the machine has moved or is moving. */
export const refuseMoving = async (client: QmpCaller, machine: string): Promise<void> => {
  const move = await findMove(client)
  if (move === null) return
  const sentence = `machine ${machine} is not backed up from here: ${move}; back it up on the host where it runs`
  throw new VarveError('MACHINE_MOVING', sentence, { details: { machine } })
}

const uuidSchema = v.object({ UUID: v.pipe(v.string(), v.toLowerCase(), v.uuid()) })

/** What QEMU says where it was started without `-uuid`. */
const NO_UUID = '00000000-0000-0000-0000-000000000000'

/** The machine's uuid (`-uuid`), in lower case; null where it has none. */
export const uuidOf = async (client: QmpCaller): Promise<string | null> => {
  const { UUID } = checkAnswer(uuidSchema, await client.execute('query-uuid'), 'query-uuid')
  return UUID === NO_UUID ? null : UUID
}
