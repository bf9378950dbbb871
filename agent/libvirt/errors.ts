// What libvirt answers when it refuses, and why its daemon cannot be reached.
import { ERROR_MESSAGE_CHARS_MAX, VarveError } from '../../protocol/errors.ts'
import type { LIBVIRT_CODES } from './codes.ts'
import { XdrReader } from './xdr.ts'

/** One of the numbers that callers decide by. */
export type LibvirtCode = (typeof LIBVIRT_CODES)[keyof typeof LIBVIRT_CODES]

/** Bytes of a uuid on the wire. */
const UUID_BYTES = 16

/** Whether libvirt refused, with one of these numbers where some are given. */
export const isLibvirtError = (thrown: unknown, ...codes: readonly LibvirtCode[]): thrown is VarveError =>
  thrown instanceof VarveError &&
  thrown.code === 'LIBVIRT_ERROR' &&
  (codes.length === 0 || codes.some((code) => code === thrown.details['libvirtCode']))

/** The error that a reply carries: code, domain (the part of libvirt), message, and what nobody reads. */
export const readRemoteError = (call: string, payload: Buffer): VarveError => {
  const reader = new XdrReader(payload)
  const libvirtCode = reader.i32()
  const libvirtDomain = reader.i32()
  const words = reader.optional(() => reader.words()) ?? `error ${libvirtCode}`
  reader.i32() // level
  reader.optional(() => [reader.words(), reader.fixed(UUID_BYTES), reader.i32()]) // a machine
  for (let extra = 0; extra < 3; extra += 1) reader.optional(() => reader.words())
  reader.i32()
  reader.i32()
  reader.optional(() => [reader.words(), reader.fixed(UUID_BYTES)]) // a network
  reader.end()
  const message = words.slice(0, ERROR_MESSAGE_CHARS_MAX).toWellFormed()
  return new VarveError('LIBVIRT_ERROR', `libvirt refused ${call}: ${message}`, {
    details: { call, libvirtCode, libvirtDomain, message },
  })
}

/** Why a socket cannot be connected to and what to do, by the system's error. */
const WHY_UNAVAILABLE: Readonly<Record<string, string>> = {
  ENOENT:
    'is not there: libvirt’s daemon is not installed, not started, or has its socket elsewhere ("?socket=" in the uri)',
  ECONNREFUSED: 'has no listener: libvirt’s daemon has ended',
  EACCES: 'cannot be opened by this user: run the agent as root, or add its user to the group of the socket (libvirt)',
  EPERM: 'cannot be opened by this user: run the agent as root, or add its user to the group of the socket (libvirt)',
  ENOTSOCK: 'is not a socket: "?socket=" in the uri names something else',
  ENOTDIR: 'cannot exist: part of its path is not a folder',
  ELOOP: 'cannot exist: symbolic links in its path form a loop',
  EAGAIN: 'has too many clients waiting: libvirt’s daemon is stopped or hangs',
}

/** The system's name of an error, null where it has none. */
const errnoOf = (cause: unknown): string | null =>
  cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : null

/** LIBVIRT_UNAVAILABLE for a socket that cannot be connected to, or a connection that broke. */
export const libvirtUnavailable = (path: string, cause: unknown): VarveError => {
  const errno = errnoOf(cause)
  const why = WHY_UNAVAILABLE[errno ?? ''] ?? 'does not accept a connection'
  return new VarveError(
    'LIBVIRT_UNAVAILABLE',
    `libvirt’s socket ${path} ${why}${errno === null ? '' : ` (${errno})`}`,
    {
      details: { path, errno },
      cause,
    },
  )
}
