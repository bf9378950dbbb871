// The end of a console: bounded and plain, whatever the guest sends.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { plainText, SerialLog } from '../../../agent/drill/serial-log.ts'
import { drillLog } from '../../../protocol/drills.ts'
import { DRILL_LOG_CHARS_MAX } from '../../../protocol/limits.ts'
import * as v from 'valibot'

test('colours, titles and cursors are taken out', () => {
  expect(plainText('\u001B[1;32mok\u001B[0m\r\n\u001B]0;title\u0007a\tb\u001B(B\b\u0000c\rd')).toBe('ok\na\tbc\nd')
})

test('any bytes make a log that the gateway takes', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), (pieces) => {
      const log = new SerialLog()
      for (const piece of pieces) log.add(piece)
      expect(v.is(drillLog, log.text)).toBe(true)
    }),
  )
})

test('the end is kept, also of text that is cut in a character', () => {
  const log = new SerialLog()
  const bytes = Buffer.from(`${'x'.repeat(3 * DRILL_LOG_CHARS_MAX)}\u{1F600}end`)
  for (let at = 0; at < bytes.length; at += 1021) log.add(bytes.subarray(at, at + 1021))
  expect(log.text).toHaveLength(DRILL_LOG_CHARS_MAX)
  expect(log.text.endsWith('\u{1F600}end')).toBe(true)
})
