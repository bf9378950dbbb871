// What may be asked of restores: the places of the disks are bounded together, as a restore must fit into a frame.
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { RESTORE_PATHS_CHARS_MAX, wantedDisks } from '../../protocol/restores.ts'

test('the paths of all disks of a restore are bounded together', () => {
  const disks = (chars: number) =>
    Array.from({ length: 128 }, (_, index) => {
      return { disk: `d${index}`, to: `/${String(index).padStart(3, '0')}`.padEnd(chars, 'x') }
    })
  expect(v.is(wantedDisks, disks(RESTORE_PATHS_CHARS_MAX / 128))).toBe(true)
  expect(v.is(wantedDisks, disks(RESTORE_PATHS_CHARS_MAX / 128 + 1))).toBe(false)
})
