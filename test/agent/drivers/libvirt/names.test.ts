// Names in libvirt. Goal: what this agent made is recognised, and nothing else is taken for its own. Method: names that are made,
// and ones that come close.
import { expect, test } from 'vitest'
import { libvirtCheckpointName } from '../../../../agent/drivers/checkpoint-names.ts'
import {
  leaseOfCheckpoint,
  socketFolderOf,
  socketOwner,
  socketPathOf,
  VARVE_CHECKPOINT,
} from '../../../../agent/drivers/libvirt/names.ts'
import { AGENT_ID } from '../../../support/lease-stage.ts'

const OTHER = '0192bbbb-0000-7000-8000-0000beefcafe'
const LEASE = '0192cccc-1111-7222-8333-444455556666'

test('a checkpoint tells its lease to the agent that made it, under whichever identity', () => {
  const name = libvirtCheckpointName(AGENT_ID, LEASE)
  expect(leaseOfCheckpoint(name, [AGENT_ID])).toBe(LEASE)
  expect(leaseOfCheckpoint(name, [OTHER, AGENT_ID])).toBe(LEASE)
  expect(leaseOfCheckpoint(name, [OTHER])).toBeNull()
  expect(leaseOfCheckpoint(name, [])).toBeNull()
  expect(VARVE_CHECKPOINT.test(name)).toBe(true)
})

test.each(['virtnbdbackup.0', `x${libvirtCheckpointName(AGENT_ID, LEASE)}`, libvirtCheckpointName(AGENT_ID, ''), ''])(
  'a checkpoint "%s" is somebody else’s',
  (name) => {
    expect(leaseOfCheckpoint(name, [AGENT_ID])).toBeNull()
    expect(VARVE_CHECKPOINT.test(name)).toBe(false)
  },
)

test('a backup tells by its socket whose it is', () => {
  const folder = socketFolderOf('/run', AGENT_ID, LEASE)
  const socket = socketPathOf(folder)
  expect(socketOwner(socket, [OTHER, AGENT_ID])).toEqual({ folder, isOurs: true })
  expect(socketOwner(socket, [OTHER])).toEqual({ folder, isOurs: false })
})

test.each(['', '/nbd', '/run/varve-x/nbd', '/var/tmp/virtnbdbackup.123', '/run/varve-c0ffee42-0123456789a/nbd'])(
  'a backup at "%s" is foreign',
  (socket) => {
    expect(socketOwner(socket, [AGENT_ID])).toBeNull()
  },
)

test('a socket of another name in a folder of ours is foreign', () => {
  expect(socketOwner(`${socketFolderOf('/run', AGENT_ID, LEASE)}/nbd2`, [AGENT_ID])).toBeNull()
})
