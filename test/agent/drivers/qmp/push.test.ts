// Mode push with a real QEMU: what a guest writes while it is pushed, and whatever ends of all that takes part.
import { expect, test } from 'vitest'
import { AHEAD_BYTES_MAX, AHEAD_BYTES_RESUME, heldBack } from '../../../../agent/drivers/qmp/push-side.ts'
import { asBase, MIB, threeDisks } from '../../../support/lease.ts'
import { tempFolder } from '../../../support/temp.ts'
import { PushSuiteHost } from './suite-host.ts'

const KIB64 = 65_536

/** So slow that the guest is always faster, in bytes a second. */
const SLOW = KIB64

const started = async (folder: string): Promise<PushSuiteHost> => {
  const host = new PushSuiteHost(folder, threeDisks(folder))
  await host.start()
  return host
}

/** Ids of the machine's jobs. */
const jobsOf = async ({ machine }: PushSuiteHost): Promise<readonly string[]> =>
  ((await machine.control.execute('query-jobs')) as { id: string }[]).map(({ id }) => id)

/** Lets slow jobs go on as fast as they can. */
const hurry = async (host: PushSuiteHost): Promise<void> => {
  for (const device of await jobsOf(host))
    await host.machine.control.execute('block-job-set-speed', { device, speed: 0 })
}

test('what a guest writes before QEMU has copied it is in the point as it was, wherever it is', async () => {
  await using folder = await tempFolder()
  await using host = await started(folder.path)
  for (const disk of host.disks) await host.write(disk, 0x11, 0, 4 * MIB)
  await using agent = await host.agent({ speed: SLOW })
  const expected = host.snapshot()
  const lease = await agent.driver.begin(host.request())
  for (const disk of host.disks)
    for (const offset of [4 * MIB - KIB64, 2 * MIB, 3 * MIB + 512]) await host.write(disk, 0x22, offset, 512)
  await hurry(host)
  for (const disk of lease.disks) expect((await host.content(disk)).equals(expected.get(disk.name)!)).toBe(true)
  await lease.check()
  await lease.end('committed')
  const increment = await agent.driver.begin(host.request({ base: asBase(lease) }))
  await hurry(host)
  const now = host.snapshot()
  for (const disk of increment.disks) {
    expect([disk.kind, disk.reason]).toEqual(['incremental', 'bitmap'])
    expect((await host.content(disk)).equals(now.get(disk.name)!)).toBe(true)
  }
  await increment.end('failed')
})

test('the job of one disk fails: there is no point of any', async () => {
  await using folder = await tempFolder()
  await using host = await started(folder.path)
  for (const disk of host.disks) await host.write(disk, 0x11, 0, 4 * MIB)
  const untouched = await host.remains()
  await using agent = await host.agent({ speed: SLOW })
  const lease = await agent.driver.begin(host.request())
  const [, second = ''] = await jobsOf(host)
  await host.machine.control.execute('block-job-cancel', { device: second })
  expect(await lease.lost).toMatchObject({
    code: 'LEASE_LOST',
    message: expect.stringMatching(/copy job of disk .* ended/),
  })
  await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST' })
  await lease.end('failed')
  expect(await host.remains()).toEqual(untouched)
})

test('a disk that was smaller for a while is read in full, and so is one whose base was made in mode pull', async () => {
  await using folder = await tempFolder()
  await using host = await started(folder.path)
  const base = await host.checkpoint()
  const resize = (size: number): Promise<unknown> =>
    host.machine.control.execute('block_resize', { 'node-name': 'vda', size })
  await resize(2 * MIB)
  await resize(4 * MIB)
  await using agent = await host.agent()
  const pushed = await agent.driver.begin(host.request({ base }))
  expect(pushed.disks.map(({ name, reason }) => `${name} ${reason}`)).toEqual([
    'vda size-changed',
    'vdb bitmap',
    'vdc bitmap',
  ])
  await pushed.end('committed')
  host.setMode('pull')
  const pulled = await agent.driver.begin(host.request({ base: asBase(pushed) }))
  expect(new Set(pulled.disks.map(({ reason }) => reason))).toEqual(new Set(['bitmap']))
  await pulled.end('committed')
  host.setMode('push')
  const again = await agent.driver.begin(host.request({ base: asBase(pulled) }))
  expect(new Set(again.disks.map(({ reason }) => reason))).toEqual(new Set(['checkpoint-mismatch']))
  await again.end('failed')
})

test('a disk that was smaller for a while just before the instant is read in full', async () => {
  await using folder = await tempFolder()
  await using host = await started(folder.path)
  const base = await host.checkpoint()
  let sizes = [2 * MIB, 4 * MIB]
  const before = async (command: string): Promise<void> => {
    const now = command === 'transaction' ? sizes : []
    if (now.length > 0) sizes = []
    for (const size of now) await host.machine.control.execute('block_resize', { 'node-name': 'vda', size })
  }
  await using agent = await host.agent({ before })
  const lease = await agent.driver.begin(host.request({ base }))
  expect(lease.disks.map(({ reason }) => reason)).toEqual(['size-changed', 'bitmap', 'bitmap'])
  await lease.end('failed')
})

test('a job is held back while too much waits to be uploaded: the disk that is uploaded has all of the room', () => {
  const disk = (waiting: number, isNext: boolean, paused = false, isAwaited = false) => {
    return { waiting, isNext, paused, isAwaited }
  }
  const [most, some] = [AHEAD_BYTES_MAX, AHEAD_BYTES_RESUME]
  expect(heldBack([disk(most, true), disk(1, false)])).toEqual([false, true])
  expect(heldBack([disk(most + 1, true), disk(0, false)])).toEqual([true, true])
  expect(heldBack([disk(some + 1, true, true), disk(0, false, true)])).toEqual([true, true])
  expect(heldBack([disk(some, true, true), disk(0, false, true)])).toEqual([false, false])
  expect(heldBack([disk(0, true), disk(most, false)])).toEqual([false, false])
  // what guests overwrite may be more than the limit by itself: the upload waits for the rest
  expect(heldBack([disk(2 * most, true, true, true), disk(0, false)])).toEqual([false, true])
  expect(heldBack([disk(2 * most, true, false, true), disk(0, false, true)])).toEqual([false, true])
})
