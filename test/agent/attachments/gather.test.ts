// Gathering from a real file system: files, folders, links, what changes, what cannot be read, and every limit of a point.
import { execFileSync } from 'node:child_process'
import { chmod, chown, mkdir, open, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { attachedSources, gather } from '../../../agent/attachments/gather.ts'
import type { AttachmentSource } from '../../../agent/attachments/source.ts'
import { isAttachmentName } from '../../../protocol/attachments.ts'
import { ATTACHMENT_BYTES_MAX, ATTACHMENTS_BYTES_MAX, ATTACHMENTS_MAX, MISSING_MAX } from '../../../protocol/limits.ts'
import { tempFolder } from '../../support/temp.ts'

const gathered = async (sources: readonly AttachmentSource[], disks: readonly string[] = []) => {
  const files: Record<string, string> = {}
  const missing = await gather(
    sources,
    new Set(disks),
    async (name, bytes) => void (files[name] = bytes.toString('latin1')),
  )
  return { files, missing: Object.fromEntries(missing.map(({ name, reason }) => [name, reason])) }
}

test('what a configuration attaches is named by its path, each once', () => {
  expect(attachedSources(['/etc/hosts', '/etc//hosts/', '/a/../b', '/'])).toEqual([
    { name: 'file:/etc/hosts', path: '/etc/hosts' },
    { name: 'file:/b', path: '/b' },
    { name: 'file:', path: '/' },
  ])
})

test('files, bytes and folders come as they are, in order', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('folder', 'sub'), { recursive: true })
  for (const [name, text] of [
    ['b', 'two'],
    ['a', 'one'],
    ['sub/c', ''],
  ] as const)
    await writeFile(temp.join('folder', name), text)
  await writeFile(temp.join('file'), 'alone')
  await symlink('file', temp.join('named'))
  const { files, missing } = await gathered([
    { name: 'f', path: temp.join('folder') },
    { name: 'bytes', bytes: new TextEncoder().encode('made') },
    // a link that a person names is followed
    { name: 'named', path: temp.join('named') },
  ])
  expect(Object.entries(files)).toEqual([
    ['f/a', 'one'],
    ['f/b', 'two'],
    ['f/sub/c', ''],
    ['bytes', 'made'],
    ['named', 'alone'],
  ])
  expect(missing).toEqual({})
})

test('links of a folder are followed within it and never out of it', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('folder')
  await mkdir(path.join(folder, 'sub'), { recursive: true })
  await writeFile(temp.join('outside'), 'secret')
  await writeFile(path.join(folder, 'sub', 'file'), 'inside')
  await mkdir(temp.join('folder-beside'))
  await writeFile(temp.join('folder-beside', 'x'), 'secret')
  await symlink('sub/file', path.join(folder, 'good'))
  await symlink('../outside', path.join(folder, 'out'))
  await symlink('../folder-beside/x', path.join(folder, 'beside'))
  await symlink('sub', path.join(folder, 'to-sub'))
  await symlink('/', path.join(folder, 'root'))
  await symlink('nowhere', path.join(folder, 'dangling'))
  await symlink('loop', path.join(folder, 'loop'))
  const { files, missing } = await gathered([{ name: 'f', path: folder }])
  expect(files).toEqual({ 'f/good': 'inside', 'f/sub/file': 'inside' })
  expect(Object.keys(missing).toSorted()).toEqual(
    ['beside', 'dangling', 'loop', 'out', 'root', 'to-sub'].map((name) => `f/${name}`),
  )
  for (const name of ['out', 'beside', 'root']) expect(missing[`f/${name}`]).toContain('leads out of the folder')
})

test('what cannot be had says why: absent, a pipe, a socket of the kernel, not to be read, too large', async () => {
  await using temp = await tempFolder()
  execFileSync('mkfifo', [temp.join('pipe')])
  await writeFile(temp.join('large'), '')
  await truncate(temp.join('large'), ATTACHMENT_BYTES_MAX + 1)
  await writeFile(temp.join('fits'), '')
  await truncate(temp.join('fits'), ATTACHMENT_BYTES_MAX)
  const at = (name: string): AttachmentSource => ({ name, path: temp.join(name) })
  const { files, missing } = await gathered([
    ...['absent', 'pipe', 'large', 'fits'].map(at),
    { name: 'told', missing: 'somebody says so' },
    { name: 'memory', bytes: new Uint8Array(ATTACHMENT_BYTES_MAX + 1) },
    // the kernel says that it is empty
    { name: 'made-up', path: '/proc/self/status' },
    { name: 'endless', path: '/dev/zero' },
  ])
  expect(Object.keys(files)).toEqual(['fits', 'made-up'])
  expect(files['made-up']).toContain('Name:')
  expect(missing).toEqual({
    absent: 'there is no such file',
    pipe: 'it is neither a file nor a folder',
    large: expect.stringContaining('at most 16.0 MiB'),
    told: 'somebody says so',
    memory: expect.stringContaining('at most 16.0 MiB'),
    endless: 'it is neither a file nor a folder',
  })
})

test('another user’s files are not to be read', async () => {
  await using temp = await tempFolder()
  await chmod(temp.path, 0o755)
  await writeFile(temp.join('private'), 'x')
  await chmod(temp.join('private'), 0o600)
  const source = `import { gather } from ${JSON.stringify(path.resolve('agent/attachments/gather.ts'))}
    console.log(JSON.stringify(await gather([{ name: 'p', path: ${JSON.stringify(temp.join('private'))} }], new Set(), async () => {})))`
  const script = temp.join('script.ts')
  await writeFile(script, source)
  const said = execFileSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, script])
  expect(JSON.parse(said.toString())).toEqual([{ name: 'p', reason: 'the agent may not read it' }])
})

test('a file that is written all the time is said to change', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('busy'), Buffer.alloc(8 * 1024 * 1024))
  await using file = await open(temp.join('busy'), 'r+')
  let busy = true
  let round = 0
  const writing = (async () => {
    while (busy) await file.write(Buffer.from([++round & 255]), 0, 1, 0)
  })()
  const { missing } = await gathered([{ name: 'busy', path: temp.join('busy') }])
  busy = false
  await writing
  expect(missing['busy']).toContain('changed each time that it was read')
})

test('a point has at most so many files and bytes; the others are named, the last with their number', async () => {
  const many = Array.from({ length: ATTACHMENTS_MAX + MISSING_MAX + 5 }, (_, index): AttachmentSource => {
    return { name: `a${index}`, bytes: new Uint8Array(1) }
  })
  const { files, missing } = await gathered(many)
  expect([Object.keys(files).length, Object.keys(missing).length]).toEqual([ATTACHMENTS_MAX, MISSING_MAX])
  expect(Object.values(missing)[0]).toBe('a point has at most 256 attachments')
  expect(Object.values(missing).at(-1)).toContain('and 5 more files')
  const bytes = new Uint8Array(ATTACHMENT_BYTES_MAX)
  const large = Array.from({ length: ATTACHMENTS_BYTES_MAX / bytes.length + 1 }, (_, index) => ({
    name: `b${index}`,
    bytes,
  }))
  let kept = 0
  const left = await gather(large, new Set(), async () => void kept++)
  expect([kept, left]).toEqual([
    large.length - 1,
    [{ name: 'b16', reason: expect.stringContaining('256 MiB together') }],
  ])
})

test('names that disks have, that come twice, or that no name may be, are not taken', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('f'))
  await writeFile(Buffer.concat([Buffer.from(`${temp.join('f')}/bad-`), Buffer.from([0xff])]), 'x')
  await writeFile(temp.join('f', 'back\\slash'), 'x')
  await writeFile(temp.join('f', 'line\nbreak'), 'x')
  const bytes = new Uint8Array(1)
  const { files, missing } = await gathered(
    [
      { name: 'vda', bytes },
      { name: 'a', bytes },
      { name: 'a', bytes },
      { name: '../out', bytes },
      { name: 'f', path: temp.join('f') },
    ],
    ['vda'],
  )
  expect(Object.keys(files)).toEqual(['a'])
  expect(Object.keys(missing)).toEqual(['f'])
  expect(Object.keys(missing).every(isAttachmentName)).toBe(true)
})

test('a folder is looked into within bounds', async () => {
  await using temp = await tempFolder()
  const deep = temp.join('deep', ...Array.from({ length: 20 }, () => 'd'))
  await mkdir(deep, { recursive: true })
  await writeFile(path.join(deep, 'file'), 'x')
  await mkdir(temp.join('wide'))
  for (let index = 0; index < 4100; index++) await writeFile(temp.join('wide', String(index)), '')
  const found = await gathered([{ name: 'deep', path: temp.join('deep') }])
  expect(found.files).toEqual({})
  expect(Object.values(found.missing)).toEqual([expect.stringContaining('folders deep')])
  const wide = await gathered([{ name: 'wide', path: temp.join('wide') }])
  expect(Object.keys(wide.files)).toHaveLength(ATTACHMENTS_MAX)
  // of 4096 entries those that are neither kept nor named, and the folder's own word
  const more = 4096 - ATTACHMENTS_MAX - MISSING_MAX + 1
  expect(Object.values(wide.missing).at(-1)).toContain(`and ${more} more files`)
})

test('what others name is read only as they could, folders and links included', async () => {
  await using temp = await tempFolder()
  await chmod(temp.path, 0o755)
  const reader = { uid: 4711, gids: [] }
  await writeFile(temp.join('shadow'), 'root only', { mode: 0o600 })
  await writeFile(temp.join('firmware'), 'for all', { mode: 0o644 })
  await symlink('shadow', temp.join('named'))
  await mkdir(temp.join('private'), { mode: 0o700 })
  await writeFile(temp.join('private', 'key'), 'root only', { mode: 0o644 })
  await mkdir(temp.join('state', 'inner'), { recursive: true, mode: 0o755 })
  await writeFile(temp.join('state', 'inner', 'hidden'), 'root only', { mode: 0o644 })
  await writeFile(temp.join('state', 'own'), 'its own', { mode: 0o600 })
  await chown(temp.join('state', 'own'), 4711, 4711)
  await chmod(temp.join('state', 'inner'), 0o700)
  const sources = ['shadow', 'firmware', 'named', 'private', 'state'].map((name) => {
    return { name, path: temp.join(name), reader }
  })
  const { files, missing } = await gathered(sources)
  expect(files).toEqual({ firmware: 'for all', 'state/own': 'its own' })
  expect(Object.keys(missing).toSorted()).toEqual(['named', 'private', 'shadow', 'state/inner'])
  expect(missing['shadow']).toMatch(/^user 4711, whose program names it, may not read it/u)
})

test('once its time is over, what is left is missing and the point goes on', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('file'), 'there')
  const missing = await gather(
    [{ name: 'a', path: temp.join('file') }],
    new Set(),
    () => Promise.reject(new Error('nothing is kept')),
    0,
  )
  expect(missing).toEqual([{ name: 'a', reason: expect.stringContaining('were over') }])
})

test('a file that is a folder of another one is missing, in whatever order they come', async () => {
  const bytes = new TextEncoder().encode('x')
  const named = (...names: string[]): AttachmentSource[] => names.map((name) => ({ name, bytes }))
  const clash = (other: string): string => `the point has "${other}", and one of the two is a folder of the other`
  expect(await gathered(named('a', 'a/b/c', 'ab'))).toEqual({
    files: { a: 'x', ab: 'x' },
    missing: { 'a/b/c': clash('a') },
  })
  expect(await gathered(named('a/b', 'a/c', 'a'))).toEqual({
    files: { 'a/b': 'x', 'a/c': 'x' },
    missing: { a: clash('a/b') },
  })
})
