// Exit codes of both programs, by what went wrong; README lists them.
import type { ErrorCode } from './errors.ts'

export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3, denied: 4, refused: 5, interrupted: 130 } as const

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
  'MACHINE_MOVING',
  'TARGET_EXISTS',
  'TARGET_IN_USE',
  'NBD_SERVER_BUSY',
  'EXISTS',
  'FREEZE_REQUIRED',
  'LEASE_HELD',
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
  'ENROLMENT_USED',
  'NOT_ENROLLED',
  'QMP_FORBIDDEN',
]
const USAGE: readonly ErrorCode[] = ['PARAMS_INVALID', 'CONFIG_INVALID', 'AMBIGUOUS', 'TARGET_INVALID']

export const exitCode = (code: ErrorCode): number => {
  if (UNREACHABLE.includes(code)) return EXIT.unreachable
  if (REFUSED.includes(code)) return EXIT.refused
  if (DENIED.includes(code) || code.startsWith('TOKEN_')) return EXIT.denied
  if (USAGE.includes(code)) return EXIT.usage
  return code === 'CANCELLED' ? EXIT.interrupted : EXIT.failed
}
