// The watch over a running gateway's lock and catalog: nothing while they are there, a word when one is another file.
import { cp, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { LockWatch } from '../../../gateway/folder/lock-watch.ts'
import { StoreLock } from '../../../gateway/folder/store-lock.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { tempFolder } from '../../support/temp.ts'
import { ServingGateway } from '../program.ts'
import { memoryLog, temporaryFolder } from '../datastore/fixture.ts'

test('a lock whose file was removed is taken again; one that another has by then ends the gateway', async () => {
  await using folder = await temporaryFolder()
  const [file, catalog] = [path.join(folder.path, 'lock.db'), path.join(folder.path, 'catalog.db')]
  await writeFile(catalog, '')
  const clock = new HandClock(0)
  using lock = new StoreLock(file)
  const log = memoryLog()
  using watch = new LockWatch({ lock, catalog, clock, log })
  await rm(file)
  clock.advance(2000)
  expect(log.lines).toHaveLength(1)
  expect(() => new StoreLock(file)).toThrow(/another gateway/u)
  await rm(file)
  using _other = new StoreLock(file)
  clock.advance(2000)
  expect(await watch.lost).toMatchObject({ code: 'STORE_LOCKED' })
})

test('a catalog that is removed or replaced is told once', async () => {
  for (const replaced of [true, false]) {
    await using folder = await temporaryFolder()
    const file = path.join(folder.path, 'catalog.db')
    await writeFile(file, '')
    const clock = new HandClock(0)
    using lock = new StoreLock(path.join(folder.path, 'lock.db'))
    using watch = new LockWatch({ lock, catalog: file, clock, log: memoryLog() })
    const told: string[] = []
    void watch.lost.then(({ message }) => told.push(message))
    clock.advance(5000)
    expect(told).toEqual([])
    await writeFile(`${file}.other`, '')
    await (replaced ? rename(`${file}.other`, file) : rm(file))
    clock.advance(5000)
    await watch.lost
    expect(told).toEqual([expect.stringContaining('catalog.db')])
  }
})

test('a gateway whose lock was removed keeps a second one out, and goes on', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  const first = await ServingGateway.start(['--data', data])
  for (const name of ['lock.db', 'catalog.lock', 'gateway.sock']) await rm(path.join(data, name), { force: true })
  await expect(ServingGateway.start(['--data', data])).rejects.toThrow('STORE_LOCKED')
  expect((await first.stop()).code).toBe(EXIT.ok)
  await using again = await ServingGateway.start(['--data', data])
  expect(again.url).toContain('127.0.0.1')
})

test('a gateway whose catalog was replaced stops', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  const gateway = await ServingGateway.start(['--data', data])
  const catalog = path.join(data, 'catalog.db')
  await cp(catalog, `${catalog}.copy`)
  await rename(`${catalog}.copy`, catalog)
  const { code, stderr } = await gateway.ended
  expect([code, stderr]).toEqual([EXIT.failed, expect.stringContaining('catalog.db')])
})
