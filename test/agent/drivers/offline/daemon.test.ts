// The storage daemon of a lease: it outlives its agent for a limited time, and nothing else.
import { mkdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { daemonPid, endDaemon, joinDaemon, startDaemon } from '../../../../agent/drivers/offline/daemon.ts'
import { QmpClient } from '../../../../agent/qmp/client.ts'
import { processesWith } from '../../../support/offline.ts'
import { eventually, tempFolder, type TempFolder } from '../../../support/temp.ts'

const LONG_MS = 60_000

const made = async (folder: TempFolder): Promise<string> => {
  // a comma separates the daemon's options
  const path = folder.join('a,b')
  await mkdir(path)
  return path
}

const gone = (path: string): Promise<boolean> => eventually(async () => (await processesWith(path)).length === 0)

test('it answers, is found again, and ends with its guard on request', async () => {
  await using folder = await tempFolder()
  const path = await made(folder)
  const daemon = await startDaemon(path, LONG_MS)
  await using client = await QmpClient.connect({ path: `${path}/qmp` })
  expect(await client.execute('query-block-exports')).toEqual([])
  const again = await joinDaemon(path)
  await again?.end()
  await daemon.lost
  expect(await daemonPid(path)).toBeNull()
  await gone(path)
  await endDaemon(path)
})

test('silence ends it, and a word of any agent puts that off', async () => {
  await using folder = await tempFolder()
  const path = await made(folder)
  const first = await startDaemon(path, 10_000)
  first.leave()
  const next = await joinDaemon(path)
  if (next === null) throw new Error('it has ended')
  // longer than it would have waited for the first one
  await new Promise((resolve) => setTimeout(resolve, 11_000))
  expect(await daemonPid(path)).not.toBeNull()
  next.leave()
  await gone(path)
})

test.each(['guard', 'daemon'] as const)('nothing is left where the %s is killed', async (which) => {
  await using folder = await tempFolder()
  const path = await made(folder)
  const daemon = await startDaemon(path, LONG_MS)
  const found = await processesWith(path)
  const pid = found.find(({ name }) => (name === 'qemu-storage-daemon') === (which === 'daemon'))?.pid
  process.kill(pid ?? 0, 'SIGKILL')
  await daemon.lost
  await gone(path)
  await endDaemon(path)
})

test('a guard that is stopped does not keep its daemon', async () => {
  await using folder = await tempFolder()
  const path = await made(folder)
  await startDaemon(path, LONG_MS)
  const guard = (await processesWith(path)).find(({ name }) => name !== 'qemu-storage-daemon')?.pid ?? 0
  process.kill(guard, 'SIGSTOP')
  try {
    await endDaemon(path)
    expect(await daemonPid(path)).toBeNull()
  } finally {
    process.kill(guard, 'SIGKILL')
  }
})

test('a folder that is gone has no daemon', async () => {
  await using folder = await tempFolder()
  await expect(startDaemon(folder.join('none'), LONG_MS)).rejects.toMatchObject({ code: 'INTERNAL' })
  expect(await joinDaemon(folder.join('none'))).toBeNull()
})
