// A journal entry to change for a test.

import type { JournalEntry } from '../../agent/drivers/journal.ts'

/** An entry with two disks, one full and one incremental. */
export const exampleEntry = (changes: Partial<JournalEntry> = {}): JournalEntry => ({
  version: 1,
  id: '0192bbbb-1111-7000-8000-000000000001',
  agentId: '0192aaaa-0000-7000-8000-0000c0ffee42',
  formerAgents: [],
  machine: { name: 'db1', qmp: '/nowhere/qmp', guestAgent: null },
  phase: 'preparing',
  outcome: null,
  transfer: 'varve-c0ffee42-xfer-new',
  baseLease: 'base',
  refuseFull: [],
  compareAll: false,
  leftOut: [],
  scratchFolder: '/nowhere/scratch',
  socketFolder: '/nowhere/run',
  socketPath: '/nowhere/run/nbd',
  timeMs: null,
  consistency: 'crash',
  consistencyNote: null,
  configuration: { name: 'db1', disks: [{ size: 1 }] },
  disks: [0, 1].map((index) => ({
    name: `vd${index}`,
    node: `node${index}`,
    size: 1 << 20,
    kind: index === 0 ? ('full' as const) : ('incremental' as const),
    reason: index === 0 ? ('disk-added' as const) : ('bitmap' as const),
    persistent: index === 1,
    checkpoint: `varve-c0ffee42-cp-0192bbbb-1111-7000-8000-000000000001-${index}`,
    sizeMark: `varve-c0ffee42-size-0192bbbb-1111-7000-8000-000000000001-${index}`,
    sizeGranularity: 65_536,
    base:
      index === 0
        ? null
        : {
            name: 'vd1',
            checkpoint: 'varve-c0ffee42-cp-base-1',
            sizeMark: 'varve-c0ffee42-size-base-1',
            granularity: 65_536,
          },
    evidence: '',
    comparedChunks: 0,
    reread: [],
    scratchNode: `varve-c0ffee42-scratch-${index}`,
    scratchFile: `/nowhere/scratch/${index}.qcow2`,
    filterNode: `varve-c0ffee42-scratch-${index}f`,
    sizeNode: `varve-c0ffee42-scratch-${index}s`,
    sizeExportId: `varve-c0ffee42-exp-${index}s`,
    job: `varve-c0ffee42-job-${index}`,
    exportId: `varve-c0ffee42-exp-${index}`,
    exportName: `vd${index}`,
  })),
  ...changes,
})
