// Frames: layout, checks and what crosses of an error. Method: golden bytes written by another encoder, properties, each
// field made wrong.
import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encode } from '../../protocol/codec.ts'
import {
  ERROR_DETAILS_MAX,
  ERROR_MESSAGE_CHARS_MAX,
  ERRORS,
  VarveError,
  type ErrorCode,
} from '../../protocol/errors.ts'
import { decodeFrame, encodeFrame, errorFrame, errorOfFrame, FRAME, type Frame } from '../../protocol/frames.ts'
import { DEADLINE_MAX_MS, TOKEN_CHARS_MAX } from '../../protocol/limits.ts'
import { codeThrown } from './peer-pair.ts'
import { comparable, plainValue } from './plain-values.ts'

interface Golden {
  readonly name: string
  readonly frame: unknown
  readonly hex: string
}

interface Fixtures {
  readonly frames: readonly Golden[]
  readonly accepted: readonly Golden[]
  readonly refused: readonly { readonly name: string; readonly hex: string; readonly code: ErrorCode }[]
}

/** A fixture's value, its `{"bin": hex}` as bytes. */
const valueOf = (json: unknown): unknown => {
  if (Array.isArray(json)) return json.map(valueOf)
  if (typeof json !== 'object' || json === null) return json
  if ('bin' in json && typeof json.bin === 'string') return Uint8Array.from(Buffer.from(json.bin, 'hex'))
  return Object.fromEntries(Object.entries(json).map(([name, field]) => [name, valueOf(field)]))
}

const fixtures = JSON.parse(readFileSync(new URL('fixtures/frames.json', import.meta.url), 'utf8')) as Fixtures
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'))

describe('golden frames', () => {
  test.each(fixtures.frames)('$name', ({ frame, hex }) => {
    expect(comparable(decodeFrame(bytesOf(hex)))).toEqual(valueOf(frame))
    expect(Buffer.from(encodeFrame(valueOf(frame) as Frame)).toString('hex')).toBe(hex)
  })

  test('there is one of every type', () => {
    const types = new Set(fixtures.frames.map(({ frame }) => (frame as Frame)[0]))
    expect([...types].toSorted((a, b) => a - b)).toEqual(Object.values(FRAME))
  })

  test.each(fixtures.accepted)('accepted: $name', ({ frame, hex }) => {
    expect(comparable(decodeFrame(bytesOf(hex)))).toEqual(valueOf(frame))
  })

  test.each(fixtures.refused)('refused: $name', ({ hex, code }) => {
    expect(codeThrown(() => decodeFrame(bytesOf(hex)))).toBe(code)
  })
})

const id = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
const text = (maxLength: number) => fc.string({ unit: 'binary', maxLength: Math.min(maxLength, 64) })
const features = fc.array(text(64), { maxLength: 8 })
const version = fc.integer({ min: 1, max: 65_535 })
const detail = fc.oneof(text(64), fc.integer(), fc.boolean(), fc.constant(null))
const code = fc.constantFrom(...(Object.keys(ERRORS) as ErrorCode[]))
const details = fc.dictionary(
  // valibot leaves these names out of records
  text(16).filter((name) => !['__proto__', 'prototype', 'constructor'].includes(name)),
  detail,
  { noNullPrototype: true },
)

const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.tuple(
    fc.constant(FRAME.hello),
    fc.record(
      {
        versionMin: version,
        versionMax: version,
        features,
        program: text(128),
        serving: fc.boolean(),
        token: fc.option(text(TOKEN_CHARS_MAX)),
      },
      { noNullPrototype: true },
    ),
  ),
  fc.tuple(
    fc.constant(FRAME.welcome),
    fc.record(
      {
        version,
        features,
        program: text(128),
        subject: text(256),
        role: text(32),
        tenant: text(128),
        expiresMs: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      },
      { noNullPrototype: true },
    ),
  ),
  fc.tuple(fc.constant(FRAME.request), id, text(128), plainValue, fc.nat({ max: DEADLINE_MAX_MS })),
  fc.tuple(fc.constant(FRAME.result), id, plainValue),
  fc.tuple(fc.constant(FRAME.error), fc.nat({ max: Number.MAX_SAFE_INTEGER }), code, text(64), details),
  fc.tuple(fc.constant(FRAME.data), id, plainValue),
  fc.tuple(fc.constant(FRAME.credit), id, fc.integer({ min: 1, max: 2 ** 40 })),
  fc.tuple(fc.constant(FRAME.end), id),
  fc.tuple(fc.constant(FRAME.cancel), id),
  fc.tuple(fc.constant(FRAME.ping), fc.nat({ max: Number.MAX_SAFE_INTEGER })),
  fc.tuple(fc.constant(FRAME.pong), fc.nat({ max: Number.MAX_SAFE_INTEGER })),
)

describe('every frame', () => {
  test('comes out as it went in', () => {
    fc.assert(
      fc.property(frame, (value) => {
        expect(comparable(decodeFrame(encodeFrame(value)))).toEqual(value)
      }),
      { numRuns: 500 },
    )
  })

  test('may carry more fields at its end', () => {
    fc.assert(
      fc.property(frame, fc.array(plainValue, { maxLength: 3 }), (value, more) => {
        expect(comparable(decodeFrame(encode([...value, ...more])))).toEqual(value)
      }),
    )
  })

  test('is refused when a field is missing or of another type', () => {
    // a field that carries anything is nil when it is missing and never of a wrong type
    const anyValue = new Set(['3.3', '4.2', '6.2'])
    fc.assert(
      fc.property(frame, fc.nat(), fc.boolean(), (value, where, remove) => {
        const at = 1 + (where % (value.length - 1))
        if (anyValue.has(`${value[0]}.${at}`)) return
        const changed: readonly unknown[] = remove ? value.slice(0, at) : (value as readonly unknown[]).with(at, [[]])
        expect(codeThrown(() => decodeFrame(encode(changed)))).toBe('FRAME_INVALID')
      }),
      { numRuns: 500 },
    )
  })

  test('with any other type number is FRAME_TYPE_UNKNOWN', () => {
    const known = new Set<number>(Object.values(FRAME))
    const unknown = fc.integer({ min: -100, max: 300 }).filter((type) => !known.has(type))
    fc.assert(
      fc.property(unknown, fc.array(plainValue, { maxLength: 4 }), (type, fields) => {
        expect(codeThrown(() => decodeFrame(encode([type, ...fields])))).toBe('FRAME_TYPE_UNKNOWN')
      }),
    )
  })
})

describe('errors on the wire', () => {
  test('code, sentence and details cross; the cause does not', () => {
    const error = new VarveError('QMP_ERROR', 'refused', {
      details: { class: 'GenericError', seq: 4 },
      cause: new Error('secret'),
    })
    const [, id, code, message, details] = decodeFrame(encodeFrame(errorFrame(7, error))) as ReturnType<
      typeof errorFrame
    >
    const crossed = errorOfFrame(code, message, details)
    expect(id).toBe(7)
    expect(crossed).toMatchObject({ code: 'QMP_ERROR', message: 'refused', details: { class: 'GenericError', seq: 4 } })
    expect(crossed.cause).toBeUndefined()
  })

  test('a code of a later version, and a fault of the other side, is its failure in its words', () => {
    for (const code of ['MOON_PHASE', 'INTERNAL', 'toString', '']) {
      const message = `the other side failed (${code}): not today`
      const crossed = errorOfFrame(code, 'not today', { a: 1 })
      expect(crossed).toMatchObject({ code: 'PEER_FAILED', message, details: { a: 1, code } })
      // as whoever it is told to next reads it
      const [, , again, words, details] = errorFrame(3, crossed)
      expect(errorOfFrame(again, words, details)).toMatchObject({
        code: 'PEER_FAILED',
        message,
        details: { a: 1, code },
      })
    }
  })

  test('whatever an error holds, its frame is one that the other side takes', () => {
    const wild = fc.dictionary(
      fc.string({ unit: 'binary', maxLength: 3000 }).filter((name) => name !== '__proto__'),
      fc.oneof(fc.double(), fc.string({ unit: 'binary', maxLength: 3000 }), fc.constant(null), fc.boolean()),
      { maxKeys: 80, size: 'max', noNullPrototype: true },
    )
    fc.assert(
      fc.property(code, fc.string({ unit: 'binary', maxLength: 5000, size: 'max' }), wild, (code, message, details) => {
        const frame = decodeFrame(encodeFrame(errorFrame(1, new VarveError(code, message, { details })))) as ReturnType<
          typeof errorFrame
        >
        expect(frame[3].length).toBeLessThanOrEqual(ERROR_MESSAGE_CHARS_MAX)
        expect(Object.keys(frame[4]).length).toBeLessThanOrEqual(ERROR_DETAILS_MAX)
      }),
      { numRuns: 50 },
    )
  })

  test('a detail that is not a number is nil', () => {
    const sent = errorFrame(1, new VarveError('INTERNAL', '', { details: { a: Number.NaN, b: 0 } }))
    expect(decodeFrame(encodeFrame(sent))[4]).toEqual({ a: null, b: 0 })
  })

  test('a message is cut to its limit and stays text', () => {
    // the limit falls between the halves of the sign
    const message = `${'x'.repeat(ERROR_MESSAGE_CHARS_MAX - 1)}😀`
    const cut = errorFrame(1, new VarveError('INTERNAL', message))[3]
    expect(cut).toHaveLength(ERROR_MESSAGE_CHARS_MAX)
    expect(cut.isWellFormed()).toBe(true)
  })
})
