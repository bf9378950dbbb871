// The marker of a folder of packs: laid whole, read back, and taken for none where it is anything else.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { MARKER_NAME, NEW_MARKER_NAME } from '../../../../gateway/packs/directory/names.ts'
import { layMarker, readMarker } from '../../../../gateway/packs/directory/packs-marker.ts'
import { temporaryFolder } from '../../datastore/fixture.ts'

test('what was laid is read back: one line, for its owner only, also over an older one and what a crash left', async () => {
  await using folder = await temporaryFolder()
  const root = path.join(folder.path, 'packs')
  expect(readMarker(root)).toBe(null)
  const [first, second] = [randomUUID(), randomUUID()]
  await layMarker(root, first)
  expect(readMarker(root)).toBe(first)
  expect(await readFile(path.join(root, MARKER_NAME), 'utf8')).toBe(`${first}\n`)
  expect((await stat(path.join(root, MARKER_NAME))).mode & 0o777).toBe(0o600)
  await writeFile(path.join(root, NEW_MARKER_NAME), 'something longer than a marker that a crash has left half written')
  await layMarker(root, second)
  expect(readMarker(root)).toBe(second)
  expect(await readdir(root)).toEqual([MARKER_NAME])
})

test.each(['', '\n', 'no uuid', `${randomUUID()}x`, randomUUID().slice(1), ` ${randomUUID()}`, 'x'.repeat(100_000)])(
  'a marker with other content is none',
  async (content) => {
    await using folder = await temporaryFolder()
    await writeFile(path.join(folder.path, MARKER_NAME), content)
    expect(readMarker(folder.path)).toBe(null)
  },
)

test('what cannot be read is no absence, and what cannot be laid is an error without a path', async () => {
  await using folder = await temporaryFolder()
  const marker = path.join(folder.path, MARKER_NAME)
  await mkdir(marker)
  const failed = { code: 'STORE_FAILED', message: expect.not.stringContaining(folder.path) as string }
  await expect(layMarker(folder.path, randomUUID())).rejects.toMatchObject(failed)
  await rm(marker, { recursive: true })
  await symlink(marker, marker)
  expect(() => readMarker(folder.path)).toThrow(expect.objectContaining(failed))
  await rm(marker)
  await expect(layMarker(path.join(folder.path, 'absent', 'packs'), randomUUID())).rejects.toMatchObject(failed)
})

test('below a file there is no folder of packs, and so no marker', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'file')
  await writeFile(file, 'x')
  expect(readMarker(path.join(file, 'packs'))).toBe(null)
})

test('what is no file is no marker, and a pipe in its place keeps nobody waiting', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, MARKER_NAME)
  execFileSync('mkfifo', [file])
  expect(readMarker(folder.path)).toBe(null)
  await rm(file)
  await mkdir(file)
  expect(readMarker(folder.path)).toBe(null)
})
