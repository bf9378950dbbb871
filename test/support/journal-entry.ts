// A journal entry to change for a test.

import type { JournalEntry } from '../../agent/lease/journal.ts'

/** An entry with two disks, one full and one incremental. */
export const exampleEntry = (changes: Partial<JournalEntry> = {}): JournalEntry => ({
  version: 1,
  id: '0192bbbb-1111-7000-8000-000000000001',
  agentId: '0192aaaa-0000-7000-8000-0000c0ffee42',
  machine: { name: 'db1', qmp: '/nowhere/qmp', guestAgent: null },
  phase: 'preparing',
  outcome: null,
  checkpoint: 'varve-c0ffee42-cp-new',
  transfer: 'varve-c0ffee42-xfer-new',
  baseCheckpoint: 'varve-c0ffee42-cp-base',
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
    baseGranularity: index === 0 ? null : 65_536,
    reread: [],
    scratchNode: `varve-c0ffee42-scratch-${index}`,
    scratchFile: `/nowhere/scratch/${index}.qcow2`,
    job: `varve-c0ffee42-job-${index}`,
    exportId: `varve-c0ffee42-exp-${index}`,
    exportName: `vd${index}`,
  })),
  ...changes,
})
