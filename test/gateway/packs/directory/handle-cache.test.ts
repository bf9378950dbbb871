// Open files for reading: bounded however many are asked for, closed at the end, counted in the process's own table of open
// files.
import { readdir, readlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { HandleCache } from '../../../../gateway/packs/directory/handle-cache.ts'
import { temporaryFolder } from '../../datastore/fixture.ts'

/** How many files below a folder this process has open. */
const openBelow = async (folder: string): Promise<number> => {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return links.filter((link) => link.startsWith(folder)).length
}

test('keeps a bounded number open, reads all, and closes everything', async () => {
  await using folder = await temporaryFolder()
  const files = Array.from({ length: 300 }, (_, index) => path.join(folder.path, `${index}`))
  for (const file of files) await writeFile(file, path.basename(file))
  const cache = new HandleCache()
  const read = (file: string) =>
    cache.use(file, async (handle) => {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(8), 0, 8, 0)
      return buffer.toString('utf8', 0, bytesRead)
    })
  for (let round = 0; round < 2; round++) {
    expect(await Promise.all(files.map(read))).toEqual(files.map((file) => path.basename(file)))
    expect(await openBelow(folder.path)).toBeLessThanOrEqual(128)
  }
  await cache.drop(files.at(-1)!)
  expect(await read(files.at(-1)!)).toBe('299')
  await cache[Symbol.asyncDispose]()
  expect(await openBelow(folder.path)).toBe(0)
})

test('a file that is dropped while it is read is closed by its last reader', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'one')
  await writeFile(file, 'x')
  await using cache = new HandleCache()
  const reading = Promise.withResolvers<void>()
  const first = cache.use(file, () => reading.promise)
  await cache.drop(file)
  await cache.use(file, async (handle) => handle.stat())
  reading.resolve()
  await first
  await cache.drop(file)
  expect(await openBelow(folder.path)).toBe(0)
})

test('a file that cannot be opened is tried again', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'one')
  await using cache = new HandleCache()
  await expect(cache.use(file, async () => 1)).rejects.toMatchObject({ code: 'ENOENT' })
  await writeFile(file, 'x')
  expect(await cache.use(file, async () => 1)).toBe(1)
})
