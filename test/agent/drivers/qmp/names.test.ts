// Names: within QEMU's limits, different for different agents and leases, recognised by their prefix.

import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkpointName, parseCheckpoint } from '../../../../agent/drivers/checkpoint-names.ts'
import { leaseNames } from '../../../../agent/drivers/qmp/names.ts'

/** QEMU's limits for node names and for ids. */
const NODE_NAME_CHARS_MAX = 31
const WELL_FORMED = /^[a-zA-Z][-._a-zA-Z0-9]*$/

test('every name is one that QEMU takes', () => {
  fc.assert(
    fc.property(fc.uuid(), fc.uuid(), fc.nat(255), (agentId, leaseId, index) => {
      const names = leaseNames(agentId, leaseId)
      const nodes = [names.scratchNode(index), names.filterNode(index)]
      for (const name of nodes) expect(name.length).toBeLessThanOrEqual(NODE_NAME_CHARS_MAX)
      const others = [names.job(index), names.exportId(index), names.folder]
      const all = [...nodes, ...others, names.checkpoint(index), names.transfer]
      for (const name of all) expect(name).toMatch(WELL_FORMED)
      expect(new Set(all).size).toBe(all.length)
      expect(names.checkpoint(index)).toBe(checkpointName(agentId, leaseId, index))
      expect(parseCheckpoint(agentId, names.checkpoint(index))).toEqual({ kind: 'cp', lease: leaseId, index })
      expect(parseCheckpoint(agentId, names.transfer)).toBe(null)
    }),
  )
})
