// A machine's checkpoints as they are shown: grouped by their points, foreign ones by name, hostile names and too many bounded.
import * as v from 'valibot'
import { expect, test } from 'vitest'
import {
  checkpointOf,
  groupBitmaps,
  limitCheckpoints,
  missingOn,
  type FoundBitmap,
} from '../../../agent/drivers/checkpoint-list.ts'
import { CHECKPOINT_DISKS_MAX, CHECKPOINTS_MAX } from '../../../protocol/limits.ts'
import type { Checkpoint } from '../../../protocol/methods.ts'
import { checkpointList } from '../../../protocol/views.ts'

const AGENT = '0192aaaa-0000-7000-8000-0000c0ffee42'
const POINT = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'
const OTHER = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e215'

const whole = (disk: string, name: string, bytes = 0): FoundBitmap => ({ disk, name, bytes, health: 'whole' })

const checkpoint = (name: string, more: Partial<Checkpoint> = {}): Checkpoint => ({
  name,
  parent: null,
  point: null,
  own: false,
  timeMs: null,
  disks: [],
  ...more,
})

test('a name says whose checkpoint it is: this agent’s, another agent’s, another program’s', () => {
  const own = { name: `varve-c0ffee42-cp-${POINT}`, point: POINT, own: true }
  expect(checkpointOf(`varve-c0ffee42-cp-${POINT}-12`, [AGENT])).toEqual(own)
  expect(checkpointOf(`varve-c0ffee42-cp-${POINT}`, [AGENT])).toEqual(own)
  expect(checkpointOf(`varve-c0ffee42-cp-${POINT}`, [])).toEqual({ ...own, own: false })
  for (const name of ['theirs', `theirs-varve-c0ffee42-cp-${POINT}-0`, 'varve-c0ffee42-theirs', 'varve-c0ffee42-cp-x'])
    expect(checkpointOf(name, [AGENT])).toEqual({ name, point: null, own: false })
  expect(checkpointOf('varve-c0ffee42-cp-another-lease-0', [AGENT])).toMatchObject({ point: null, own: true })
})

test('bitmaps of one point are one checkpoint, which is missing on the other disks; a foreign one is where it is', () => {
  const bitmaps = [
    whole('vda', `varve-c0ffee42-cp-${POINT}-0`, 65_536),
    { ...whole('vdb', `varve-c0ffee42-cp-${POINT}-1`), bytes: null, health: 'inconsistent' as const },
    whole('vda', `varve-deadbeef-cp-${OTHER}`),
    whole('vda', 'theirs', 512),
  ]
  const vda = { name: 'vda', health: 'whole' }
  expect(groupBitmaps(bitmaps, { agents: [AGENT], expected: ['vda', 'vdb', 'vdc'] })).toEqual([
    checkpoint(`varve-c0ffee42-cp-${POINT}`, {
      point: POINT,
      own: true,
      disks: [
        { ...vda, bytes: 65_536, health: 'whole' },
        { name: 'vdb', bytes: null, health: 'inconsistent' },
        missingOn('vdc'),
      ],
    }),
    checkpoint(`varve-deadbeef-cp-${OTHER}`, {
      point: OTHER,
      disks: [{ ...vda, bytes: 0, health: 'whole' }, missingOn('vdb'), missingOn('vdc')],
    }),
    checkpoint('theirs', { disks: [{ ...vda, bytes: 512, health: 'whole' }] }),
  ])
})

test('the agent’s own come first, and what does not fit is counted', () => {
  const foreign = Array.from({ length: CHECKPOINTS_MAX + 10 }, (_, number) => checkpoint(`theirs-${number}`))
  const list = limitCheckpoints([...foreign, checkpoint('ours', { own: true, point: POINT })])
  expect(list.checkpoints).toHaveLength(CHECKPOINTS_MAX)
  expect(list.checkpoints[0]?.name).toBe('ours')
  expect(list.omitted).toBe(11)
  const disks = Array.from({ length: 256 }, (_, number) => missingOn(`vd${number}`))
  const large = Array.from({ length: 20 }, (_, number) => checkpoint(`theirs-${number}`, { disks }))
  const fitting = limitCheckpoints(large)
  expect(fitting.checkpoints).toHaveLength(CHECKPOINT_DISKS_MAX / 256)
  expect(fitting.omitted).toBe(20 - CHECKPOINT_DISKS_MAX / 256)
})

test('names that another program made up are always an answer that the protocol takes', () => {
  const hostile = ['', '\u0000\u001B[2J', 'x'.repeat(5000), '\uD800']
  const list = limitCheckpoints(hostile.map((name) => checkpoint(name, { parent: name, disks: [missingOn(name)] })))
  expect(v.is(checkpointList, list)).toBe(true)
  expect(JSON.stringify(list)).not.toContain('\\u001b')
})
