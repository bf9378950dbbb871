// Exit codes of both programs, by what went wrong; README lists them.
import type { ErrorCode } from '../errors.ts'

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  denied: 4,
  refused: 5,
  unprotected: 6,
  drill: 7,
  interrupted: 130,
} as const

const UNREACHABLE: readonly ErrorCode[] = [
  'CONNECTION_LOST',
  'HELLO_TIMEOUT',
  'HEARTBEAT_TIMEOUT',
  'GOING_AWAY',
  'AGENT_OFFLINE',
]
const REFUSED: readonly ErrorCode[] = [
  'JOB_RUNNING',
  'FULL_REFUSED',
  'DISK_LEFT_OUT',
  'DISK_IN_USE',
  'MACHINE_MOVING',
  'MACHINE_OFF',
  'TARGET_EXISTS',
  'TARGET_IN_USE',
  'EXISTS',
  'FREEZE_REQUIRED',
  'LEASE_HELD',
  'LEASE_NOT_GIVEN',
  'BITMAP_UNPROVED',
  'NBD_SERVER_BUSY',
  'TOO_MANY_REQUESTS',
  'LIMIT_REACHED',
  'REPLACED',
  'STATE_LOCKED',
  'STORE_LOCKED',
  'CATALOG_MISSING',
  'CATALOG_DAMAGED',
  'TREE_UNREADABLE',
  'REBUILD_LOSES',
  'KEYS_MISSING',
  'QUOTA_EXCEEDED',
  'POINT_HELD',
  'MAINTENANCE_RUNNING',
]
const DENIED: readonly ErrorCode[] = [
  'ROLE_FORBIDDEN',
  'AGENT_REVOKED',
  'LOGIN_CODE_INVALID',
  'ENROLMENT_USED',
  'NOT_ENROLLED',
  'QMP_FORBIDDEN',
  'RESTORE_FORBIDDEN',
]
const USAGE: readonly ErrorCode[] = ['PARAMS_INVALID', 'CONFIG_INVALID', 'AMBIGUOUS', 'TARGET_INVALID']
/** What a look at all machines has found. */
const FOUND_UNPROTECTED: readonly ErrorCode[] = ['UNPROTECTED']
/** What a drill has found. */
const FOUND_UNBOOTABLE: readonly ErrorCode[] = ['DRILL_FAILED']
/** Failures of a permitted and correct request. */
const FAILED: readonly ErrorCode[] = [
  'FRAME_INVALID',
  'FRAME_TOO_LARGE',
  'FRAME_TYPE_UNKNOWN',
  'FRAME_UNEXPECTED',
  'CREDIT_EXCEEDED',
  'ID_REUSED',
  'VERSION_UNSUPPORTED',
  'METHOD_UNKNOWN',
  'RESULT_INVALID',
  'STREAM_INVALID',
  'NOT_FOUND',
  'DEADLINE_EXCEEDED',
  'INTERNAL',
  'PEER_FAILED',
  'NOT_SERVING',
  'JOB_ENDED',
  'UPLOAD_INVALID',
  'CHUNK_INVALID',
  'PROOF_INVALID',
  'IMAGE_INCOMPLETE',
  'STORE_FAILED',
  'STORE_FULL',
  'DATA_DAMAGED',
  'STORE_VERSION',
  'QMP_UNAVAILABLE',
  'QMP_ERROR',
  'QMP_TIMEOUT',
  'QMP_PROTOCOL',
  'LIBVIRT_UNAVAILABLE',
  'LIBVIRT_ERROR',
  'LIBVIRT_TIMEOUT',
  'LIBVIRT_PROTOCOL',
  'GUEST_AGENT_UNAVAILABLE',
  'GUEST_AGENT_ERROR',
  'FREEZE_TIMEOUT',
  'NBD_PROTOCOL',
  'NBD_ERROR',
  'LEASE_LOST',
  'SCRATCH_LOW',
  'DISK_UNSUPPORTED',
  'SNAPSHOT_FAILED',
  'TOOL_MISSING',
]

/** Every error code by its exit code; a test checks that each is in exactly one list. */
export const BY_EXIT = {
  [EXIT.failed]: FAILED,
  [EXIT.usage]: USAGE,
  [EXIT.unreachable]: UNREACHABLE,
  [EXIT.denied]: DENIED,
  [EXIT.refused]: REFUSED,
  [EXIT.unprotected]: FOUND_UNPROTECTED,
  [EXIT.drill]: FOUND_UNBOOTABLE,
} as const

export const exitCode = (code: ErrorCode): number => {
  if (UNREACHABLE.includes(code)) return EXIT.unreachable
  if (REFUSED.includes(code)) return EXIT.refused
  if (DENIED.includes(code) || code.startsWith('TOKEN_')) return EXIT.denied
  if (USAGE.includes(code)) return EXIT.usage
  if (FOUND_UNPROTECTED.includes(code)) return EXIT.unprotected
  if (FOUND_UNBOOTABLE.includes(code)) return EXIT.drill
  return code === 'CANCELLED' ? EXIT.interrupted : EXIT.failed
}
