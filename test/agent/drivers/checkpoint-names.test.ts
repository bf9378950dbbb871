// Names of checkpoints: recognised as an agent's own, and no other.

import { expect, test } from 'vitest'
import {
  agentTag,
  checkpointName,
  libvirtCheckpointName,
  parseCheckpoint,
} from '../../../agent/drivers/checkpoint-names.ts'

test.each([
  'theirs',
  'varve-c0ffee42-cp-lease',
  'varve-c0ffee42-cp-lease-',
  'varve-c0ffee42-cp-lease-01',
  'varve-c0ffee42-cp-lease-1x',
  'varve-c0ffee42-xfer-lease-1',
  'varve-deadbeef-cp-lease-1',
  'xvarve-c0ffee42-cp-lease-1',
])('%j is no part of this agent’s checkpoints', (name) => {
  expect(parseCheckpoint('0192aaaa-0000-7000-8000-0000c0ffee42', name)).toBe(null)
})

test('a checkpoint of libvirt is recognised, without a number', () => {
  const agent = '0192aaaa-0000-7000-8000-0000c0ffee42'
  const lease = '0192bbbb-1111-7000-8000-000000000001'
  expect(parseCheckpoint(agent, libvirtCheckpointName(agent, lease))).toEqual({ kind: 'cp', lease, index: null })
  expect(parseCheckpoint(agent, checkpointName(agent, lease, 7))).toEqual({ kind: 'cp', lease, index: 7 })
})

test('what an older agent made beside a checkpoint is recognised as part of it, and as no bitmap of changes', () => {
  const name = 'varve-c0ffee42-size-0192bbbb-1111-7000-8000-000000000001-3'
  const lease = '0192bbbb-1111-7000-8000-000000000001'
  expect(parseCheckpoint('0192aaaa-0000-7000-8000-0000c0ffee42', name)).toEqual({ kind: 'size', lease, index: 3 })
})

test('agents enrolled in one minute have different tags', () => {
  expect(agentTag('0192aaaa-0000-7000-8000-0000c0ffee42')).not.toBe(agentTag('0192aaaa-0000-7000-8000-0000c0ffee43'))
})

test('an agent id without eight letters or digits is refused', () => {
  expect(() => agentTag('a-b-c')).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})
