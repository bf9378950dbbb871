// Checks what the demonstration expects of a restored disk, on hand-written consoles with known answers.
import { describe, expect, test } from 'vitest'
import { assertComplete, parseReport, promisedAt, type GuestReport } from './reports.ts'

const SUM = 'ab'.repeat(32)

/** One report per line, the first at 10 ms, each 10 ms after the one before. */
const consoleOf = (...lines: string[]): GuestReport[] =>
  lines.flatMap((line, index) => parseReport(`REPORT ${index + 1} ${line}`, (index + 1) * 10) ?? [])

const names = (reports: GuestReport[], instantMs: number, settledMs: number): [string[], readonly string[]] => {
  const { present, absent } = promisedAt(reports, 'a', instantMs, settledMs)
  return [present.map(({ name }) => name), absent]
}

describe('parseReport', () => {
  test('reads the three verbs', () => {
    expect(parseReport(`REPORT 7 b wrote f1 12 ${SUM}`, 5)).toEqual({
      sequence: 7,
      disk: 'b',
      verb: 'wrote',
      name: 'f1',
      sizeBytes: 12,
      sha256: SUM,
      receivedMs: 5,
    })
    expect(parseReport('REPORT 8 a voids f1', 5)).toMatchObject({ sequence: 8, verb: 'voids', name: 'f1' })
    expect(parseReport('REPORT 9 a removed f1', 5)).toMatchObject({ sequence: 9, verb: 'removed', name: 'f1' })
  })

  test.each(['READY 1.6', `REPORT 7 b wrote f1 12 ${SUM.slice(1)}`, 'REPORT x a voids f1', 'REPORT 1 a voids f1 more'])(
    'takes no other line: %s',
    (line) => expect(parseReport(line, 0)).toBeUndefined(),
  )
})

describe('promisedAt', () => {
  test('promises what was written before the instant, on that disk only', () => {
    const reports = consoleOf(`a wrote f1 1 ${SUM}`, `b wrote f2 1 ${SUM}`, `a wrote f3 1 ${SUM}`)
    expect(names(reports, 25, 100)).toEqual([['f1'], []])
    expect(names(reports, 31, 100)).toEqual([['f1', 'f3'], []])
  })

  test('leaves out what was taken back after the instant, as long as that may have come first', () => {
    const reports = consoleOf(`a wrote f1 1 ${SUM}`, 'a voids f1', 'a removed f1')
    expect(names(reports, 15, 100)).toEqual([[], []])
    expect(names(reports, 15, 20)).toEqual([['f1'], []])
    expect(names(reports, 40, 100)).toEqual([[], ['f1']])
  })

  test('a file that was changed and written again counts with its last content', () => {
    const other = 'cd'.repeat(32)
    const reports = consoleOf(`a wrote f1 1 ${SUM}`, 'a voids f1', `a wrote f1 2 ${other}`)
    expect(promisedAt(reports, 'a', 100, 100).present).toMatchObject([{ name: 'f1', sizeBytes: 2, sha256: other }])
  })
})

test('a missing report is noticed', () => {
  const reports = consoleOf('a voids f1', 'a voids f2', 'a voids f3')
  expect(() => assertComplete(reports)).not.toThrow()
  expect(() => assertComplete(reports.toSpliced(1, 1))).toThrow('report 2 is missing')
})
