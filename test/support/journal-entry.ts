// A journal entry to change for a test.

import type { MachineConfig } from '../../agent/drivers/driver.ts'
import type { JournalEntry } from '../../agent/drivers/journal.ts'
import type { Fleecing } from '../../agent/drivers/qmp/keys.ts'
import type { QmpEntry } from '../../agent/drivers/qmp/entry.ts'
import type { Mode } from '../../agent/drivers/qmp/modes.ts'

/** A machine of the driver `qmp`. */
export const qmpMachine = (
  qmp: string,
  { name = 'db1', exclude = [], guestAgent = null, fleecing = null, mode }: MachineChanges = {},
): MachineConfig => ({
  name,
  driver: 'qmp',
  address: qmp,
  keys: {
    qmp,
    ...(guestAgent === null ? {} : { guest_agent: guestAgent }),
    ...(fleecing === null ? {} : { fleecing }),
    ...(mode === undefined ? {} : { mode }),
  },
  exclude,
  attach: [],
})

interface MachineChanges {
  readonly name?: string
  readonly exclude?: readonly string[]
  readonly guestAgent?: string | null
  readonly fleecing?: Fleecing | null
  readonly mode?: Mode
}

/** An entry with two disks, one full and one incremental. */
export const exampleEntry = (changes: Partial<QmpEntry> = {}): QmpEntry => ({
  id: '0192bbbb-1111-7000-8000-000000000001',
  agentId: '0192aaaa-0000-7000-8000-0000c0ffee42',
  formerAgents: [],
  machine: { name: 'db1', driver: 'qmp', address: '/nowhere/qmp', keys: { qmp: '/nowhere/qmp' } },
  phase: 'preparing',
  outcome: null,
  mode: 'pull',
  transfer: 'varve-c0ffee42-xfer-new',
  baseLease: 'base',
  baseAgent: '0192aaaa-0000-7000-8000-0000c0ffee42',
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
    granularity: 65_536,
    base:
      index === 0
        ? null
        : {
            name: 'vd1',
            checkpoint: 'varve-c0ffee42-cp-base-1',
            granularity: 65_536,
          },
    evidence: '',
    comparedChunks: 0,
    reread: [],
    compared: false,
    access: null,
    scratchNode: `varve-c0ffee42-scratch-${index}`,
    scratchFile: `/nowhere/scratch/${index}.qcow2`,
    filterNode: `varve-c0ffee42-scratch-${index}f`,
    job: `varve-c0ffee42-job-${index}`,
    exportId: `varve-c0ffee42-exp-${index}`,
    exportName: `vd${index}`,
  })),
  older: { exports: [], nodes: [] },
  ...changes,
})

/** The same as the journal has it. */
export const journalled = (changes: Partial<QmpEntry> = {}): JournalEntry => {
  const { mode, transfer, scratchFolder, socketFolder, socketPath, disks, older, ...head } = exampleEntry(changes)
  return { ...head, payload: { mode, transfer, scratchFolder, socketFolder, socketPath, disks, older } }
}
