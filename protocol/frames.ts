// The frames of the wire: their type numbers, layouts and checks. Layouts are PROTOCOL.md section 3.
import * as v from 'valibot'
import { decode, encode } from './codec.ts'
import { ERROR_DETAILS_MAX, ERROR_MESSAGE_CHARS_MAX, toldError, VarveError, type ErrorDetails } from './errors.ts'
import { misfit } from './misfit.ts'
import { DEADLINE_MAX_MS, LOGIN_CODE_CHARS_MAX, TOKEN_CHARS_MAX } from './limits.ts'

export const FRAME = {
  hello: 1,
  welcome: 2,
  request: 3,
  result: 4,
  error: 5,
  data: 6,
  credit: 7,
  end: 8,
  cancel: 9,
  ping: 10,
  pong: 11,
} as const

const integer = (min: number, max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max))
const callId = integer(1, Number.MAX_SAFE_INTEGER)
const text = (max: number) => v.pipe(v.string(), v.maxLength(max))
const details = v.record(v.string(), v.union([v.string(), v.number(), v.boolean(), v.null()]))

const helloBody = v.object({
  versionMin: integer(1, 65_535),
  versionMax: integer(1, 65_535),
  features: v.pipe(v.array(text(64)), v.maxLength(64)),
  /** The calling program, for people who read logs. */
  program: text(128),
  /** An agent that serves its machines; anything else only calls. */
  serving: v.boolean(),
  token: v.nullable(text(TOKEN_CHARS_MAX)),
  /** The one-time code of a link, in place of a token. */
  code: v.optional(text(LOGIN_CODE_CHARS_MAX)),
})

const welcomeBody = v.object({
  version: integer(1, 65_535),
  features: v.pipe(v.array(text(64)), v.maxLength(64)),
  program: text(128),
  subject: text(256),
  role: text(32),
  /** Null for who belongs to none: the platform. */
  tenant: v.nullable(text(128)),
  /** End of the session unless renewed, in milliseconds since 1970. */
  expiresMs: integer(0, Number.MAX_SAFE_INTEGER),
  /** The token that a one-time code has become; absent where hello had none. */
  token: v.optional(text(TOKEN_CHARS_MAX)),
})

// a frame may end in fields that a later version added: tuples ignore what follows
const SCHEMAS = {
  [FRAME.hello]: v.tuple([v.literal(FRAME.hello), helloBody]),
  [FRAME.welcome]: v.tuple([v.literal(FRAME.welcome), welcomeBody]),
  [FRAME.request]: v.tuple([v.literal(FRAME.request), callId, text(128), v.unknown(), integer(0, DEADLINE_MAX_MS)]),
  [FRAME.result]: v.tuple([v.literal(FRAME.result), callId, v.unknown()]),
  [FRAME.error]: v.tuple([
    v.literal(FRAME.error),
    integer(0, Number.MAX_SAFE_INTEGER),
    text(64),
    text(ERROR_MESSAGE_CHARS_MAX),
    details,
  ]),
  [FRAME.data]: v.tuple([v.literal(FRAME.data), callId, v.unknown()]),
  [FRAME.credit]: v.tuple([v.literal(FRAME.credit), callId, integer(1, 2 ** 40)]),
  [FRAME.end]: v.tuple([v.literal(FRAME.end), callId]),
  [FRAME.cancel]: v.tuple([v.literal(FRAME.cancel), callId]),
  [FRAME.ping]: v.tuple([v.literal(FRAME.ping), integer(0, Number.MAX_SAFE_INTEGER)]),
  [FRAME.pong]: v.tuple([v.literal(FRAME.pong), integer(0, Number.MAX_SAFE_INTEGER)]),
}

type FrameType = keyof typeof SCHEMAS
export type FrameOf<T extends FrameType> = v.InferOutput<(typeof SCHEMAS)[T]>
export type Frame = { [T in FrameType]: FrameOf<T> }[FrameType]
export type Hello = v.InferOutput<typeof helloBody>
export type Welcome = v.InferOutput<typeof welcomeBody>

export const encodeFrame = (frame: Frame): Uint8Array => encode(frame)

/** The frame of these bytes: FRAME_TOO_LARGE, FRAME_INVALID or FRAME_TYPE_UNKNOWN when they are none. */
export const decodeFrame = (bytes: Uint8Array): Frame => {
  const value = decode(bytes)
  const type: unknown = Array.isArray(value) ? value[0] : undefined
  if (typeof type !== 'number') throw new VarveError('FRAME_INVALID', 'a frame is an array that begins with its type')
  if (!Object.hasOwn(SCHEMAS, type)) throw new VarveError('FRAME_TYPE_UNKNOWN', `there is no frame type ${type}`)
  const schema: v.GenericSchema<unknown, Frame> = SCHEMAS[type as FrameType]
  const checked = v.safeParse(schema, value, { abortEarly: true })
  if (!checked.success)
    throw new VarveError('FRAME_INVALID', `a frame of type ${type} is malformed: ${misfit(schema, checked.issues)}`)
  return checked.output
}

// a cut may split a surrogate pair, and half of one is not valid text
const cut = (text: string): string => text.slice(0, ERROR_MESSAGE_CHARS_MAX).toWellFormed()

type Detail = string | number | boolean | null

const sentDetail = (value: Detail): Detail => {
  if (typeof value === 'string') return cut(value)
  return Number.isNaN(value) ? null : value
}

/** The details as they are sent: a few plain values of bounded length. */
const sentDetails = (details: ErrorDetails): Record<string, Detail> =>
  Object.fromEntries(
    Object.entries(details)
      .slice(0, ERROR_DETAILS_MAX)
      .map(([name, value]) => [cut(name), sentDetail(value)]),
  )

/** An error frame; `id` 0 means the connection. Only code, message and details are sent. */
export const errorFrame = (id: number, error: VarveError): FrameOf<5> => [
  FRAME.error,
  id,
  error.code,
  cut(error.message),
  sentDetails(error.details),
]

/** The error of an error frame; see toldError. */
export const errorOfFrame = (code: string, message: string, details: ErrorDetails): VarveError =>
  toldError(code, message, details)
