// The one table of error codes that Varve's programs exchange, and the one error class that carries them.

/** What the connection does after an error: `request` ends only the call, `connection` closes the socket. */
type ErrorScope = 'request' | 'connection'

interface ErrorRow {
  /** True where the same call may succeed later without anyone changing anything. */
  readonly retry: boolean
  readonly scope: ErrorScope
  /** HTTP status where the error answers an HTTP request or a refused upgrade. */
  readonly http: number
}

const row = (http: number, retry = false, scope: ErrorScope = 'request'): ErrorRow => ({ http, retry, scope })

/** Every code, with what to do about it; PROTOCOL.md section 9 explains them, and a test keeps both in step. */
export const ERRORS = {
  // the frame layer: the peer does not speak the protocol, so the connection ends
  FRAME_INVALID: row(400, false, 'connection'),
  FRAME_TOO_LARGE: row(413, false, 'connection'),
  FRAME_TYPE_UNKNOWN: row(400, false, 'connection'),
  FRAME_UNEXPECTED: row(400, false, 'connection'),
  CREDIT_EXCEEDED: row(400, false, 'connection'),
  ID_REUSED: row(400, false, 'connection'),
  VERSION_UNSUPPORTED: row(400, false, 'connection'),
  HELLO_TIMEOUT: row(408, true, 'connection'),
  HEARTBEAT_TIMEOUT: row(408, true, 'connection'),
  GOING_AWAY: row(503, true, 'connection'),
  REPLACED: row(409, false, 'connection'),
  CONNECTION_LOST: row(503, true, 'connection'),
  // who is calling
  TOKEN_MISSING: row(401, false, 'connection'),
  TOKEN_MALFORMED: row(401, false, 'connection'),
  TOKEN_ALGORITHM: row(401, false, 'connection'),
  TOKEN_SIGNATURE: row(401, false, 'connection'),
  TOKEN_KEY_UNKNOWN: row(401, false, 'connection'),
  TOKEN_ISSUER: row(401, false, 'connection'),
  TOKEN_AUDIENCE: row(401, false, 'connection'),
  TOKEN_EXPIRED: row(401, false, 'connection'),
  TOKEN_NOT_YET_VALID: row(401, false, 'connection'),
  TOKEN_CLAIMS: row(401, false, 'connection'),
  TOKEN_REVOKED: row(401, false, 'connection'),
  AGENT_REVOKED: row(401, false, 'connection'),
  LOGIN_CODE_INVALID: row(401, false, 'connection'),
  ENROLMENT_USED: row(409),
  // what is called
  METHOD_UNKNOWN: row(404),
  PARAMS_INVALID: row(400),
  RESULT_INVALID: row(502),
  STREAM_INVALID: row(400),
  ROLE_FORBIDDEN: row(403),
  NOT_FOUND: row(404),
  AMBIGUOUS: row(409),
  EXISTS: row(409),
  CANCELLED: row(499),
  DEADLINE_EXCEEDED: row(504, true),
  TOO_MANY_REQUESTS: row(429, true),
  LIMIT_REACHED: row(409),
  INTERNAL: row(500),
  PEER_FAILED: row(502),
  NOT_SERVING: row(409),
  // backups
  AGENT_OFFLINE: row(503, true),
  JOB_RUNNING: row(409),
  JOB_ENDED: row(409),
  FULL_REFUSED: row(409),
  UPLOAD_INVALID: row(400),
  CHUNK_INVALID: row(400),
  PROOF_INVALID: row(400),
  IMAGE_INCOMPLETE: row(409),
  STORE_FAILED: row(500, true),
  STORE_FULL: row(507, true),
  DATA_DAMAGED: row(500),
  STORE_VERSION: row(500),
  STORE_LOCKED: row(409),
  CATALOG_MISSING: row(500),
  CATALOG_DAMAGED: row(500),
  TREE_UNREADABLE: row(409),
  REBUILD_LOSES: row(409),
  KEYS_MISSING: row(500),
  QUOTA_EXCEEDED: row(507),
  POINT_HELD: row(409),
  MAINTENANCE_RUNNING: row(409),
  UNPROTECTED: row(409),
  // the hypervisor
  QMP_UNAVAILABLE: row(503, true),
  QMP_ERROR: row(502),
  QMP_TIMEOUT: row(504, true),
  QMP_FORBIDDEN: row(403),
  QMP_PROTOCOL: row(502),
  LIBVIRT_UNAVAILABLE: row(503, true),
  LIBVIRT_ERROR: row(502),
  LIBVIRT_TIMEOUT: row(504, true),
  LIBVIRT_PROTOCOL: row(502),
  GUEST_AGENT_UNAVAILABLE: row(503, true),
  GUEST_AGENT_ERROR: row(502),
  FREEZE_TIMEOUT: row(504, true),
  FREEZE_REQUIRED: row(409),
  NBD_PROTOCOL: row(502),
  NBD_ERROR: row(502),
  NBD_SERVER_BUSY: row(409),
  LEASE_LOST: row(409),
  LEASE_HELD: row(409),
  LEASE_NOT_GIVEN: row(409),
  BITMAP_UNPROVED: row(409),
  SCRATCH_LOW: row(507, true),
  DISK_UNSUPPORTED: row(422),
  DISK_LEFT_OUT: row(409),
  DISK_IN_USE: row(409),
  SNAPSHOT_FAILED: row(502),
  MACHINE_MOVING: row(409),
  MACHINE_OFF: row(409),
  // a host
  CONFIG_INVALID: row(400),
  STATE_LOCKED: row(409),
  NOT_ENROLLED: row(401),
  TARGET_EXISTS: row(409),
  TARGET_IN_USE: row(409),
  TARGET_INVALID: row(400),
  RESTORE_FORBIDDEN: row(403),
  TOOL_MISSING: row(500),
  DRILL_FAILED: row(409),
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

/** Longest message an error frame carries, in characters; a longer one is cut. */
export const ERROR_MESSAGE_CHARS_MAX = 1024

/** Details an error frame carries; more are left out, and long strings are cut like the message. */
export const ERROR_DETAILS_MAX = 32

/** Longest code of the other side that is kept, in characters. */
const TOLD_CODE_CHARS_MAX = 64

export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>

interface VarveErrorOptions {
  readonly details?: ErrorDetails
  readonly cause?: unknown
}

/** An operating error: a code of the table, a sentence for a person, and plain details for a program. */
export class VarveError extends Error {
  override readonly name = 'VarveError'
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, options: VarveErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }

  get retry(): boolean {
    return ERRORS[this.code].retry
  }

  get endsConnection(): boolean {
    return ERRORS[this.code].scope === 'connection'
  }
}

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(ERRORS, text)

/** The other side's message, safe to show: of bounded length, and without terminal control characters. */
const shownWords = (words: string, charsMax: number): string =>
  words
    .slice(0, charsMax)
    .replaceAll(/[^\P{Cc}\n\t]/gu, '\uFFFD')
    .toWellFormed()

/** The other side's details, limited like those that this side sends. */
const shownDetails = (details: ErrorDetails): ErrorDetails =>
  Object.fromEntries(
    Object.entries(details)
      .slice(0, ERROR_DETAILS_MAX)
      .map(([name, value]) => [
        shownWords(name, TOLD_CODE_CHARS_MAX),
        typeof value === 'string' ? shownWords(value, ERROR_MESSAGE_CHARS_MAX) : value,
      ]),
  )

/**
 * The error that the other side sent, with its message. PEER_FAILED, with the code in its message and in `details.code`, for
 * one that is not in the table and for INTERNAL: a fault of the other side must never look like one of this side.
 */
export const toldError = (code: string, message: string, details: ErrorDetails = {}): VarveError => {
  if (!isErrorCode(code) || code === 'INTERNAL') return peerFailed(code, message, details)
  return new VarveError(code, shownWords(message, ERROR_MESSAGE_CHARS_MAX), { details: shownDetails(details) })
}

/** An error of the other side, as PEER_FAILED. */
export const peerFailed = (code: string, message: string, details: ErrorDetails = {}): VarveError => {
  const told = shownWords(code, TOLD_CODE_CHARS_MAX).replaceAll(/[\n\t]/gu, '\uFFFD')
  const words = shownWords(message, ERROR_MESSAGE_CHARS_MAX)
  return new VarveError('PEER_FAILED', `the other side failed (${told}): ${words}`, {
    details: { ...shownDetails(details), code: told },
  })
}

/** Any thrown value as a VarveError; what is not one becomes INTERNAL and keeps the original as its cause. */
export const asVarveError = (thrown: unknown, code: ErrorCode = 'INTERNAL'): VarveError => {
  if (thrown instanceof VarveError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new VarveError(code, message, { cause: thrown })
}
