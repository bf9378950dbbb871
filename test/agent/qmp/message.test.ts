// Lines of QMP: every shape that may come is decoded, everything else is a typed error.

import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LineSplitter, decodeLine } from '../../../agent/qmp/message.ts'
import { VarveError } from '../../../protocol/errors.ts'

const codeOf = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    if (error instanceof VarveError) return error.code
    throw error
  }
  return 'none'
}

describe('decodeLine', () => {
  test('reads the greeting, events, results and failures', () => {
    expect(
      decodeLine('{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":1},"package":""},"capabilities":[]}}'),
    ).toEqual({
      kind: 'greeting',
      version: { major: 7, minor: 2, micro: 1 },
    })
    expect(decodeLine('{"event":"STOP","timestamp":{"seconds":2,"microseconds":5500}}')).toEqual({
      kind: 'event',
      event: { event: 'STOP', data: {}, timeMs: 2005 },
    })
    expect(decodeLine('{"return":{},"id":3}')).toEqual({ kind: 'result', id: 3, value: {} })
    expect(decodeLine('{"error":{"class":"GenericError","desc":"no"},"id":4}')).toMatchObject({
      id: 4,
      description: 'no',
    })
  })

  test.each([
    '',
    '[]',
    'null',
    '{',
    '{}',
    '{"return":1}',
    '{"return":1,"id":-1}',
    '{"return":1,"id":"1"}',
    '{"event":7}',
    '{"error":{}}',
    '{"QMP":{}}',
  ])('refuses %j', (line) => expect(codeOf(() => decodeLine(line))).toBe('QMP_PROTOCOL'))

  test('any JSON and any text end in a message or in QMP_PROTOCOL', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (line) => {
        expect(['none', 'QMP_PROTOCOL']).toContain(codeOf(() => decodeLine(line)))
      }),
    )
  })
})

describe('LineSplitter', () => {
  test('gives the same lines however the bytes are cut', () => {
    const line = fc.string().map((text) => text.replaceAll(/\s/g, '_').trim())
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), fc.array(fc.nat(40), { maxLength: 12 }), (lines, cuts) => {
        const bytes = Buffer.from(lines.map((text) => `${text}\r\n`).join(''))
        const splitter = new LineSplitter()
        const seen: string[] = []
        let at = 0
        for (const cut of [...cuts, bytes.length]) {
          seen.push(...splitter.push(bytes.subarray(at, at + cut)))
          at += cut
        }
        expect(seen).toEqual(lines.filter((text) => text !== ''))
      }),
    )
  })

  test('a line over the limit is refused before it is kept', () => {
    const splitter = new LineSplitter(8)
    expect(splitter.push(Buffer.from('12345678\n'))).toEqual(['12345678'])
    expect(codeOf(() => splitter.push(Buffer.from('123456789')))).toBe('QMP_PROTOCOL')
  })
})
