// A lease that begins while somebody else changes the machine's disks, at the moments that begin-race.test.ts leaves out.
import { test } from 'vitest'
import { changedBefore, CHANGES } from './begin-changes.ts'

/** Commands of a begin before its transaction, by how often each was sent before. */
const MOMENTS = [
  ['query-block', 0],
  ['query-version', 0],
  ['query-block', 1],
  ['blockdev-add', 0],
  ['nbd-server-start', 0],
] as const

test.each(Object.keys(CHANGES))('%s, before any other command of a begin', (change) => changedBefore(change, MOMENTS))
