// The documents of a lease. Goal: libvirt is asked for exactly the planned disks, whatever their names, and a socket that could
// not be made is refused before anything is. Method: plans with odd names, read back.
import { expect, test } from 'vitest'
import type { LibvirtEntry } from '../../../../agent/drivers/libvirt/entry.ts'
import { backupXml, checkpointXml, planLease, type Planning } from '../../../../agent/drivers/libvirt/plan.ts'
import { attributeOf, childrenOf, elementAt, readXml, textAt } from '../../../../agent/libvirt/xml.ts'
import { AGENT_ID } from '../../../support/lease-stage.ts'

const LEASE = '0192cccc-1111-7222-8333-444455556666'
const UUID = '12345678-9abc-def0-1234-56789abcdef0'
const ODD = `v'd"<a>&`

const keys = { domain: 'db1', uri: 'qemu:///system' }
const request = {
  machine: { name: 'db', driver: 'libvirt', address: 'qemu:///system db1', keys, exclude: [], attach: [] },
  leaseId: LEASE,
  agentId: AGENT_ID,
  formerAgents: [],
  base: null,
  full: false,
  compare: false,
  chunkBytes: 65_536,
  consistency: 'none',
  freezeTimeoutMs: 1000,
  refuseFull: [],
  refuseLeftOut: [],
} as const

const planned = (runtime = '/run', recorded: string | null = 'cp<1>', bitmaps = true): LibvirtEntry => {
  const disk = (name: string, holdsBitmaps: boolean) => ({ name, size: 4096, holdsBitmaps, evidence: {} })
  const disks = [
    { disk: disk(ODD, bitmaps), kind: 'incremental', reason: 'bitmap', continued: { base: 'vda' }, reread: [[0, 512]] },
    { disk: disk('vdb', false), kind: 'full', reason: 'no-bitmap', continued: null, reread: [] },
  ]
  const planning: unknown = {
    request,
    decisions: { disks, leftOut: [] },
    base: recorded,
    folders: { scratch: '/var/lib/a & b/scratch', runtime },
    domain: { uuid: UUID, instance: 3 },
    configuration: {},
  }
  return planLease(planning as Planning)
}

test('each disk has a scratch image of its own, and changed blocks where it continues', () => {
  const entry = planned()
  const backup = readXml(backupXml(entry), { root: 'domainbackup' })
  expect(attributeOf(backup, 'mode')).toBe('pull')
  expect(attributeOf(elementAt(backup, 'server'), 'socket')).toBe(entry.socketPath)
  const disks = childrenOf(elementAt(backup, 'disks')!, 'disk')
  const facts = ['name', 'exportname', 'backupmode', 'incremental'] as const
  expect(disks.map((disk) => facts.map((fact) => attributeOf(disk, fact)))).toEqual([
    [ODD, ODD, 'incremental', 'cp<1>'],
    ['vdb', 'vdb', 'full', null],
  ])
  expect(disks.map((disk) => attributeOf(elementAt(disk, 'scratch'), 'file'))).toEqual(
    [0, 1].map((index) => `/var/lib/a & b/scratch/${LEASE}/${index}.qcow2`),
  )
  expect(backup.children.length).toBe(2)
})

test('the checkpoint has a bitmap of the disks that hold one, and none for others', () => {
  const entry = planned()
  const checkpoint = readXml(checkpointXml(entry)!, { root: 'domaincheckpoint' })
  expect(textAt(checkpoint, 'name')).toBe(entry.checkpoint)
  const disks = childrenOf(elementAt(checkpoint, 'disks')!, 'disk')
  expect(disks.map((disk) => [attributeOf(disk, 'name'), attributeOf(disk, 'checkpoint')])).toEqual([
    [ODD, 'bitmap'],
    ['vdb', 'no'],
  ])
})

test('no disk with a bitmap is no checkpoint, and no checkpoint of the base is no increment', () => {
  expect(checkpointXml(planned('/run', 'cp', false))).toBeNull()
  expect(backupXml(planned('/run', null))).not.toContain('incremental=')
})

test('a folder in which no socket fits is refused', () => {
  expect(() => planned(`/${'x'.repeat(100)}`)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(/set TMPDIR to a shorter one/) }),
  )
})
