// The disks of a restore that was ordered: as the agent is told of them, and what may be kept of what it says of them.
import { VarveError, type ErrorCode } from '../../protocol/errors.ts'
import type { Params } from '../../protocol/methods.ts'
import type { Restore } from '../../protocol/restores.ts'
import type { StoredPoint } from '../catalog/points.ts'

/** Longest message of a failure that is kept, in characters. */
const MESSAGE_CHARS_MAX = 1024

/** Longest remarks of an agent that are kept of one restore, in characters. */
const REMARKS_CHARS_MAX = 4096

/** What is said where the comparison had ended, and the agent does not say whether it had begun to write. */
const MAYBE_BEGUN =
  '; if it had begun to write, a file has ".varve-incomplete" behind its name, and a device is incomplete: the same restore completes it'

type Disks = Restore['disks']

/** The disks of the point that are asked for, as the agent is told of them; NOT_FOUND names those that there are. */
export const orderOf = (
  point: StoredPoint,
  asked: Params<'restores.start'>['disks'],
): Params<'agent.restore'>['disks'] =>
  asked.map((wanted) => {
    const found = point.disks.find(({ name }) => name === wanted.disk)
    if (found !== undefined) return { ...wanted, size: found.size, root: found.root }
    const names = point.disks.map(({ name }) => name).join(', ')
    const sentence = `restore point ${point.id} has no disk "${wanted.disk}"; it has: ${names || 'none'}`
    throw new VarveError('NOT_FOUND', sentence)
  })

/** Whether what is there is compared. */
export const isOnto = (disks: readonly { readonly how: Disks[number]['how'] }[]): boolean =>
  disks.some(({ how }) => how !== 'new')

/** What an agent says of a comparison, as far as it can be. */
export const within = (
  { size, how }: Disks[number],
  { differBytes, writtenBytes }: Pick<Disks[number], 'differBytes' | 'writtenBytes'>,
): Pick<Disks[number], 'differBytes' | 'writtenBytes'> => {
  if (how === 'new' || differBytes === null) return { differBytes: null, writtenBytes: 0 }
  const differ = Math.min(differBytes, size)
  return { differBytes: differ, writtenBytes: Math.min(writtenBytes, differ) }
}

/** What an error of this side leaves of a comparison that had ended is not known here. */
export const failureOf = ({ code, message }: VarveError, disks: Disks): { code: ErrorCode; message: string } => {
  const left = disks.some(({ how }) => how === 'onto') && disks.every(({ differBytes }) => differBytes !== null)
  const isTold = message.includes('.varve-incomplete') || message.includes('neither what it was')
  const said = message.slice(0, MESSAGE_CHARS_MAX - MAYBE_BEGUN.length)
  return { code, message: left && !isTold ? `${said}${MAYBE_BEGUN}` : message.slice(0, MESSAGE_CHARS_MAX) }
}

/** Keeps remarks of an agent's disks one after the other, without control characters, REMARKS_CHARS_MAX in all. */
export const keeper = (): ((remarks: readonly string[]) => string[]) => {
  let left = REMARKS_CHARS_MAX
  return (remarks) =>
    remarks.flatMap((remark) => {
      const kept = remark.replaceAll(/\p{Cc}+/gu, ' ').slice(0, left)
      left -= kept.length
      return kept === '' ? [] : [kept]
    })
}
