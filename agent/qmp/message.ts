// The QMP wire: lines of JSON in, checked messages out.

import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'

/** Longest line a QMP server may send, in bytes; QEMU's largest answer (its schema) is well below 1 MiB. */
export const QMP_LINE_BYTES_MAX = 16 * 1024 * 1024

/** Something that happened in the machine; `timeMs` is QEMU's own clock. */
export interface QmpEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
  readonly timeMs: number
}

/** Version of the QEMU behind a socket. */
export interface QmpVersion {
  readonly major: number
  readonly minor: number
  readonly micro: number
}

const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const dictionary = v.record(v.string(), v.unknown())

const greetingSchema = v.object({
  QMP: v.object({ version: v.object({ qemu: v.object({ major: natural, minor: natural, micro: natural }) }) }),
})
const eventSchema = v.object({
  event: v.pipe(v.string(), v.maxLength(256)),
  data: v.optional(dictionary, {}),
  timestamp: v.optional(v.object({ seconds: v.number(), microseconds: v.number() })),
})
const resultSchema = v.object({ id: natural, return: v.unknown() })
const failureSchema = v.object({ id: natural, error: v.object({ class: v.string(), desc: v.string() }) })

/** One line of the server: the greeting, an event, or the end of a command. */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: QmpVersion }
  | { readonly kind: 'event'; readonly event: QmpEvent }
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly errorClass: string; readonly description: string }

const protocolError = (what: string, cause?: unknown): VarveError =>
  new VarveError('QMP_PROTOCOL', `the QMP socket answered with ${what}`, { cause })

const read = <S extends v.GenericSchema>(schema: S, value: unknown, what: string): v.InferOutput<S> => {
  const checked = v.safeParse(schema, value)
  if (!checked.success) throw protocolError(what, new Error(checked.issues[0].message))
  return checked.output
}

/** Decodes one line of a QMP server; anything unexpected is QMP_PROTOCOL. */
export const decodeLine = (line: string): QmpMessage => {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (cause) {
    throw protocolError('a line that is not JSON', cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw protocolError('a line that is not an object')
  if ('QMP' in value) {
    return { kind: 'greeting', version: read(greetingSchema, value, 'a damaged greeting').QMP.version.qemu }
  }
  if ('event' in value) {
    const { event, data, timestamp } = read(eventSchema, value, 'a damaged event')
    const timeMs = timestamp === undefined ? 0 : timestamp.seconds * 1000 + Math.floor(timestamp.microseconds / 1000)
    return { kind: 'event', event: { event, data, timeMs } }
  }
  if ('error' in value) {
    const { id, error } = read(failureSchema, value, 'an error without a command id')
    return { kind: 'failure', id, errorClass: error.class, description: error.desc }
  }
  const { id, return: result } = read(resultSchema, value, 'an answer without a command id')
  return { kind: 'result', id, value: result }
}

/** Splits a byte stream into lines of at most `bytesMax` bytes; a longer one is QMP_PROTOCOL. */
export class LineSplitter {
  readonly #bytesMax: number
  #parts: Buffer[] = []
  #bytes = 0

  constructor(bytesMax: number = QMP_LINE_BYTES_MAX) {
    this.#bytesMax = bytesMax
  }

  /** The lines that `chunk` completes, without line ends; empty lines are skipped. */
  push(chunk: Buffer): string[] {
    const lines: string[] = []
    let rest = chunk
    for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10)) {
      this.#append(rest.subarray(0, end))
      const line = Buffer.concat(this.#parts).toString('utf8').trim()
      this.#parts = []
      this.#bytes = 0
      if (line !== '') lines.push(line)
      rest = rest.subarray(end + 1)
    }
    this.#append(rest)
    return lines
  }

  #append(part: Buffer): void {
    if (part.length === 0) return
    this.#bytes += part.length
    if (this.#bytes > this.#bytesMax) throw protocolError(`a line longer than ${this.#bytesMax} bytes`)
    this.#parts.push(part)
  }
}
