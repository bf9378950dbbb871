// What a new file takes over from the one that it replaces.
import { chmod, chown, link, stat, utimes, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { keepAttributes, otherNames } from '../../../agent/restore/attributes.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'

test('owner, group, mode and access control list go over, content and times do not', async (context) => {
  await using temp = await tempFolder()
  // a host that lets nobody give files away has nothing to test here
  if (process.getuid?.() !== 0) {
    context.skip('this process may not give files away')
    return
  }
  const [from, to] = [temp.join('from'), temp.join('to')]
  await writeFile(from, 'old')
  await chown(from, 64_055, 1001)
  await chmod(from, 0o4750)
  const marked = await run('setfattr', ['-n', 'user.varve', '-v', 'here', from]).then(
    () => true,
    () => false,
  )
  await utimes(from, 1, 1)
  await writeFile(to, 'new content')
  expect(await keepAttributes(from, to)).toBeNull()
  const { uid, gid, mode, size, mtimeMs } = await stat(to)
  expect({ uid, gid, mode: mode & 0o7777, size }).toEqual({ uid: 64_055, gid: 1001, mode: 0o4750, size: 11 })
  expect(mtimeMs).toBeGreaterThan(1_000_000)
  if (marked) expect(await run('getfattr', ['-n', 'user.varve', '--only-values', to])).toBe('here')
})

test('who may not give a file away is told, and it is not open to more than before', async (context) => {
  await using temp = await tempFolder()
  if (process.getuid?.() !== 0) {
    context.skip('this process may not become another user')
    return
  }
  const [from, to] = [temp.join('from'), temp.join('to')]
  await chmod(temp.path, 0o777)
  await writeFile(from, 'old')
  await chown(from, 64_055, 1001)
  await chmod(from, 0o664)
  await writeFile(to, 'new', { mode: 0o600 })
  await chown(to, 65_534, 65_534)
  const uid = process.geteuid!()
  const gid = process.getegid!()
  let remark: string | null
  try {
    process.setegid!(65_534)
    process.seteuid!(65_534)
    remark = await keepAttributes(from, to)
  } finally {
    process.seteuid!(uid)
    process.setegid!(gid)
  }
  expect(remark).toContain('chown 64055:1001')
  expect((await stat(to)).mode & 0o777).toBe(0o600)
})

test('other names of a replaced file are told', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('a'), '')
  expect(await otherNames(temp.join('a'))).toBeNull()
  await link(temp.join('a'), temp.join('b'))
  await link(temp.join('a'), temp.join('c'))
  expect(await otherNames(temp.join('a'))).toContain('2 other names')
})
