// Limits: that they fit together, and that PROTOCOL.md names the same values.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { CHUNK_BYTES_MAX, ID_BYTES } from '../../protocol/chunk.ts'
import * as limits from '../../protocol/limits.ts'

/** Bytes that one UTF-16 unit of a string can take in UTF-8. */
const BYTES_PER_CHAR_MAX = 3

test('every string that a schema allows fits into a frame', () => {
  const { CONFIGURATION_CHARS_MAX, QMP_CHARS_MAX, TOKEN_CHARS_MAX, STRING_BYTES_MAX, FRAME_BYTES_MAX } = limits
  for (const chars of [CONFIGURATION_CHARS_MAX, QMP_CHARS_MAX, TOKEN_CHARS_MAX])
    expect(chars * BYTES_PER_CHAR_MAX).toBeLessThanOrEqual(STRING_BYTES_MAX)
  expect(STRING_BYTES_MAX).toBeLessThan(FRAME_BYTES_MAX)
})

test('the largest messages of an upload fit into a frame, and a frame into the window', () => {
  const { UPLOAD_IDS_MAX, UPLOAD_RUNS_MAX, PROOF_BYTES, FRAME_BYTES_MAX, CHUNK_WINDOW_BYTES } = limits
  expect(UPLOAD_IDS_MAX * (ID_BYTES + PROOF_BYTES + 8)).toBeLessThan(FRAME_BYTES_MAX)
  expect(UPLOAD_RUNS_MAX * 16 + UPLOAD_IDS_MAX * ID_BYTES).toBeLessThan(FRAME_BYTES_MAX)
  expect(CHUNK_BYTES_MAX + 1024).toBeLessThan(FRAME_BYTES_MAX)
  expect(FRAME_BYTES_MAX).toBeLessThanOrEqual(CHUNK_WINDOW_BYTES)
})

test('times are in an order that works', () => {
  expect(limits.HEARTBEAT_INTERVAL_MS * 2).toBeLessThan(limits.HEARTBEAT_TIMEOUT_MS)
  expect(limits.DEADLINE_DEFAULT_MS).toBeLessThanOrEqual(limits.DEADLINE_MAX_MS)
  // what a timer can hold
  expect(limits.DEADLINE_MAX_MS).toBeLessThan(2 ** 31)
  expect(limits.VERSION_MIN).toBeLessThanOrEqual(limits.VERSION_MAX)
})

test('the values that PROTOCOL.md gives in its tables are these', () => {
  const page = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')
  const unit: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20 }
  const rows = [...page.matchAll(/^\| `([A-Z_]+_MAX)` +\| ([\d,]+) ?(\w*)/gmu)]
  expect(rows.length).toBeGreaterThanOrEqual(5)
  for (const [, name = '', number = '', word = ''] of rows)
    expect(Reflect.get(limits, name), name).toBe(Number(number.replaceAll(',', '')) * (unit[word] ?? 1))
})
