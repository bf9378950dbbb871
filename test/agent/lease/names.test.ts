// Names: within QEMU's limits, different for different agents and leases, recognised by their prefix.

import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { agentTag, checkLeaseId, checkpointName, checkpointPrefix, leaseNames } from '../../../agent/lease/names.ts'

/** QEMU's limits for node names and for ids. */
const NODE_NAME_CHARS_MAX = 31
const WELL_FORMED = /^[a-zA-Z][-._a-zA-Z0-9]*$/

test('every name is one that QEMU takes', () => {
  fc.assert(
    fc.property(fc.uuid(), fc.uuid(), fc.nat(255), (agentId, leaseId, index) => {
      const names = leaseNames(agentId, leaseId)
      expect(names.scratchNode(index).length).toBeLessThanOrEqual(NODE_NAME_CHARS_MAX)
      for (const name of [
        names.scratchNode(index),
        names.job(index),
        names.exportId(index),
        names.folder,
        names.checkpoint,
      ]) {
        expect(name).toMatch(WELL_FORMED)
      }
      expect(names.checkpoint).toBe(checkpointName(agentId, leaseId))
      expect(names.checkpoint.startsWith(checkpointPrefix(agentId))).toBe(true)
      expect(names.transfer.startsWith(checkpointPrefix(agentId))).toBe(false)
    }),
  )
})

test('agents enrolled in one minute have different tags', () => {
  expect(agentTag('0192aaaa-0000-7000-8000-0000c0ffee42')).not.toBe(agentTag('0192aaaa-0000-7000-8000-0000c0ffee43'))
})

test.each(['', 'short', '../../etc/passwd', 'a b c d e f g', 'x'.repeat(65), '-1234567'])('%j is no lease id', (id) => {
  expect(() => checkLeaseId(id)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})

test('an agent id without eight letters or digits is refused', () => {
  expect(() => agentTag('a-b-c')).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})
