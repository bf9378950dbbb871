// What making a point took, in words: told, told in part and not told at all.
import { expect, test } from 'vitest'
import { frozenText, scratchText, stepsText } from '../../../../../gateway/console/views/machine/took.ts'
import { BACKUP_STEPS } from '../../../../../protocol/backup.ts'

const took = { frozenMs: null, scratch: null, steps: [] }

test('a freeze has its length, none is said to be none, and what was not told is said so', () => {
  expect(frozenText({ ...took, frozenMs: 42 })).toBe('42 ms')
  expect(frozenText({ ...took, frozenMs: 2100 })).toBe('2 s')
  expect(frozenText({ ...took, frozenMs: 0 })).toBe('not frozen')
  expect([frozenText(took), frozenText(null)]).toEqual(['not told', 'not told'])
})

test('scratch space has its limit where there is one, and none is needed by a machine that is off', () => {
  expect(scratchText({ ...took, scratch: { usedBytes: 196_608, limitBytes: 5 * 1024 ** 3 } })).toBe(
    '192 KiB of 5.00 GiB',
  )
  expect(scratchText({ ...took, scratch: { usedBytes: 0, limitBytes: 1024 } })).toBe('0 B of 1.00 KiB')
  expect(scratchText({ ...took, scratch: { usedBytes: 0, limitBytes: null } })).toBe('none needed')
  expect(scratchText({ ...took, scratch: { usedBytes: 512, limitBytes: null } })).toBe('512 B')
  expect([scratchText(took), scratchText(null)]).toEqual(['not told', 'not told'])
})

test('every kind of step has its name and its time; the freeze is told for itself', () => {
  const steps = BACKUP_STEPS.map((step, index) => ({ step, tookMs: index * 700 }))
  expect(stepsText({ ...took, steps })).toBe(
    'instant 0 ms, comparing 1 s, announcing 2 s, reading and sending 2 s, attached files 3 s, last check 4 s',
  )
  expect([stepsText(took), stepsText(null)]).toEqual([null, null])
  expect(stepsText({ ...took, steps: [{ step: 'freeze', tookMs: 1 }] })).toBe(null)
})
