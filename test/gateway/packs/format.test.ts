// Pack headers and records: round trips, golden bytes that never change, and hostile bytes that end in a typed error.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CODEC, type Codec } from '../../../protocol/chunk.ts'
import { plainLengthOf } from '../../../protocol/chunk-list.ts'
import { VarveError } from '../../../protocol/errors.ts'
import {
  encodePackHeader,
  isUuid,
  PACK_HEADER_BYTES,
  parsePackHeader,
  parseRecord,
  parseRecordHeader,
  RECORD,
  RECORD_HEADER_BYTES,
  RECORD_PLAIN_BYTES_MAX,
  recordBytes,
  writeRecord,
  type PackKind,
  type RecordType,
} from '../../../gateway/packs/format.ts'

const header = {
  kind: 'nodes' as PackKind,
  tenant: '01234567-89ab-4cde-8f01-23456789abcd',
  pack: 'fedcba98-7654-4321-8fed-cba987654321',
}

const record = fc.record({
  id: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  type: fc.constantFrom<RecordType>(...Object.values(RECORD)),
  codec: fc.constantFrom<Codec>(...Object.values(CODEC)),
  stored: fc.uint8Array({ minLength: 1, maxLength: 300 }),
  more: fc.nat(1000),
})

const encode = ({ id, type, codec, stored, more }: ReturnType<typeof record.generate>['value'], before = 0): Buffer => {
  const bytes = Buffer.alloc(before + recordBytes(stored.length))
  writeRecord(bytes, before, { type, codec, parts: [{ id, plainLength: stored.length + more }] }, stored)
  return bytes
}

/** Whatever happens, it is one of our own errors. */
const typed = (work: () => unknown): VarveError | null => {
  try {
    work()
    return null
  } catch (error) {
    expect(error).toBeInstanceOf(VarveError)
    return error as VarveError
  }
}

describe('pack header', () => {
  test('round trip', () => {
    fc.assert(
      fc.property(fc.constantFrom<PackKind>('data', 'nodes'), fc.uuid(), fc.uuid(), (kind, tenant, pack) => {
        expect(parsePackHeader(encodePackHeader({ kind, tenant, pack }))).toEqual({ kind, tenant, pack })
      }),
    )
  })

  test('golden bytes of version 2', () => {
    expect(Buffer.from(encodePackHeader(header)).toString('hex')).toBe(
      [
        '5641525645504b31',
        '0200',
        '02',
        '00',
        '0123456789ab4cde8f0123456789abcd',
        'fedcba98765443218fedcba987654321',
        '0bf3a95e',
      ].join(''),
    )
  })

  test('any changed bit is damage', () => {
    for (let bit = 0; bit < PACK_HEADER_BYTES * 8; bit++) {
      const bytes = encodePackHeader(header)
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      expect(typed(() => parsePackHeader(bytes))?.code).toBe('DATA_DAMAGED')
    }
  })

  test('random and short bytes are damage', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(typed(() => parsePackHeader(bytes))?.code).toBe('DATA_DAMAGED')
      }),
    )
    expect(typed(() => parsePackHeader(encodePackHeader(header).subarray(0, 47)))?.code).toBe('DATA_DAMAGED')
  })

  test('a name that is not a uuid never becomes one', () => {
    for (const text of [
      '',
      '..',
      '../../../../../../../../../../../x',
      header.tenant.toUpperCase(),
      `${header.tenant}\n`,
    ])
      expect(isUuid(text)).toBe(false)
    expect(typed(() => encodePackHeader({ ...header, pack: '../x' }))?.code).toBe('INTERNAL')
  })
})

describe('record', () => {
  test('round trip, anywhere in a buffer', () => {
    fc.assert(
      fc.property(record, fc.nat(50), (sample, before) => {
        const parsed = parseRecord(encode(sample, before), before)
        expect(Buffer.from(parsed.parts[0]!.id).equals(sample.id)).toBe(true)
        expect(Buffer.from(parsed.stored).equals(sample.stored)).toBe(true)
        expect(parsed).toMatchObject({
          type: sample.type,
          codec: sample.codec,
          parts: [{ plainLength: sample.stored.length + sample.more }],
          storedLength: sample.stored.length,
        })
      }),
    )
  })

  test('golden bytes of version 2', () => {
    const bytes = encode({ id: new Uint8Array(32).fill(9), type: 1, codec: 1, stored: Buffer.from('abc'), more: 4 })
    expect(bytes.toString('hex')).toBe(
      ['56524543', '59c75eb7', '01', '01', '0100', '03000000', '09'.repeat(32), '07000000', '616263'].join(''),
    )
  })

  test('any changed bit, and any missing byte, is damage', () => {
    const sample = {
      id: new Uint8Array(32).fill(3),
      type: 2,
      codec: 0,
      stored: Buffer.from('some bytes'),
      more: 0,
    } as const
    for (let bit = 0; bit < recordBytes(10) * 8; bit++) {
      const bytes = encode(sample)
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      expect(typed(() => parseRecord(bytes, 0))?.code).toBe('DATA_DAMAGED')
    }
    for (let length = 0; length < recordBytes(10); length++)
      expect(typed(() => parseRecord(encode(sample).subarray(0, length), 0))?.code).toBe('DATA_DAMAGED')
  })

  test('random bytes behind a good magic are damage or within the limits', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 200 }), (tail) => {
        const bytes = Buffer.concat([Buffer.from('VREC'), tail])
        const error = typed(() => {
          const { parts, storedLength } = parseRecordHeader(bytes, 0)
          const plainLength = plainLengthOf(parts)
          expect(plainLength).toBeLessThanOrEqual(RECORD_PLAIN_BYTES_MAX)
          expect(storedLength).toBeLessThanOrEqual(plainLength)
        })
        expect(error === null || error.code === 'DATA_DAMAGED').toBe(true)
        expect(typed(() => parseRecord(bytes, 0))?.code).toBe('DATA_DAMAGED')
      }),
      { numRuns: 500 },
    )
  })

  test('the header is as long as its table says', () => {
    expect(RECORD_HEADER_BYTES).toBe(4 + 4 + 1 + 1 + 2 + 4 + 32 + 4)
    expect(recordBytes(1, 3) - recordBytes(1, 2)).toBe(32 + 4)
  })
})
