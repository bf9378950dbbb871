// Who continues a machine that stands still: only the lease whose scratch space stopped it.
import { mkdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { VarveError, type ErrorCode } from '../../../../protocol/errors.ts'
import { giveUpJobs, isStoppedByScratch, noteStopped } from '../../../../agent/drivers/qmp/rescue.ts'
import { isThere } from '../../../../agent/drivers/scratch-guard-order.ts'
import type { QmpCaller } from '../../../../agent/qmp/client.ts'
import { tempFolder } from '../../../support/temp.ts'

interface Scripted extends QmpCaller {
  readonly commands: string[]
}

const blockOf = (id: string, ioStatus: string) => ({
  device: '',
  qdev: `/machine/peripheral/${id}/virtio-backend`,
  inserted: { 'node-name': '#block1' },
  'io-status': ioStatus,
})

/** A QEMU of one state that obeys, or refuses every command that changes something. */
const qemu = (status: string, blocks: readonly object[], refuses?: ErrorCode): Scripted => {
  const commands: string[] = []
  return {
    commands,
    version: { major: 7, minor: 2, micro: 0 },
    closed: new Promise(() => undefined),
    subscribe: () => () => undefined,
    execute: async (command) => {
      if (command === 'query-status') return { status }
      if (command === 'query-block') return blocks
      commands.push(command)
      if (refuses !== undefined) throw new VarveError(refuses, 'no')
      return {}
    },
  }
}

const full = [blockOf('vda', 'nospace'), blockOf('vdb', 'ok')]

test('a machine stopped for want of space on disks of the lease is continued after its jobs are cancelled', async () => {
  await using folder = await tempFolder()
  const lease = { jobs: ['j0', 'j1'], accesses: [], disks: ['vda', 'vdb'], folder: folder.path }
  const client = qemu('io-error', full)
  expect(await giveUpJobs(client, lease)).toBe(true)
  expect(client.commands).toEqual(['block-job-cancel', 'block-job-cancel', 'cont'])
})

test.each([
  ['it runs', 'running', full],
  ['a person paused it', 'paused', full],
  ['no disk says why', 'io-error', [blockOf('vda', 'ok')]],
  ['a disk failed otherwise', 'io-error', [...full, blockOf('vdc', 'failed')]],
  ['a disk of the lease failed otherwise', 'io-error', [blockOf('vda', 'failed')]],
  ['a disk that is not the lease’s has no space either', 'io-error', [...full, blockOf('vdx', 'nospace')]],
])('it is left as it is where %s', async (_why, status, blocks) => {
  await using folder = await tempFolder()
  const client = qemu(status, blocks)
  expect(await giveUpJobs(client, { jobs: ['j0'], accesses: [], disks: ['vda', 'vdb'], folder: folder.path })).toBe(
    false,
  )
  expect(client.commands).toEqual(['block-job-cancel'])
})

test('a machine that had stopped before the lease began is not continued by it', async () => {
  await using folder = await tempFolder()
  const lease = { jobs: ['j0'], accesses: [], disks: ['vda'], folder: folder.join('scratch') }
  await mkdir(lease.folder)
  await noteStopped(qemu('running', []), lease.folder)
  expect(await isStoppedByScratch(qemu('io-error', full), { ...lease, disks: ['vda'] })).toBe(true)
  await noteStopped(qemu('io-error', full), lease.folder)
  expect(await isStoppedByScratch(qemu('io-error', full), lease)).toBe(false)
  expect([await isThere(folder.join('none')), await isThere(lease.folder)]).toEqual([false, true])
})

test('a job that is gone needs no cancelling; a QEMU that cannot be told is told of', async () => {
  await using folder = await tempFolder()
  const lease = { jobs: ['j0'], accesses: [], disks: ['vda'], folder: folder.path }
  expect(await giveUpJobs(qemu('running', [], 'QMP_ERROR'), lease)).toBe(false)
  await expect(giveUpJobs(qemu('running', [], 'QMP_TIMEOUT'), lease)).rejects.toMatchObject({ code: 'QMP_TIMEOUT' })
})
