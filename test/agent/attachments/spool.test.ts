// The spool: what was gathered once is what the job has, also for a next process; what was gathered half is gathered again.
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { AttachmentSpool } from '../../../agent/attachments/spool.ts'
import { tempFolder } from '../../support/temp.ts'

const source = (text: string) => async () => [
  { name: 'a', bytes: new TextEncoder().encode(text) },
  { name: 'b', missing: 'why' },
]

test('a job keeps what was gathered first, for its owner only, until it is forgotten', async () => {
  await using temp = await tempFolder()
  const first = await new AttachmentSpool(temp.path).of('job1', source('one'), [])
  expect(first).toEqual({
    files: [{ name: 'a', size: 3, path: expect.any(String) }],
    missing: [{ name: 'b', reason: 'why' }],
  })
  expect(await readFile(first.files[0]!.path, 'utf8')).toBe('one')
  expect((await stat(first.files[0]!.path)).mode & 0o777).toBe(0o600)
  expect((await stat(temp.join('attachments'))).mode & 0o777).toBe(0o700)
  const spool = new AttachmentSpool(temp.path)
  expect(await spool.of('job1', source('two'), [])).toEqual(first)
  await spool.of('job2', source('two'), [])
  await spool.sweep(new Set(['job2']))
  expect(await readdir(temp.join('attachments'))).toEqual(['job2'])
  await spool.remove('job2')
  await spool.remove('job2')
  expect(await readdir(temp.join('attachments'))).toEqual([])
})

test('what a crash left half, or spoiled, is gathered anew', async () => {
  await using temp = await tempFolder()
  const spool = new AttachmentSpool(temp.path)
  await spool.sweep(new Set())
  await mkdir(temp.join('attachments', 'job1'), { recursive: true })
  await writeFile(temp.join('attachments', 'job1', '0'), 'half')
  expect((await spool.of('job1', source('whole'), [])).files).toMatchObject([{ size: 5 }])
  await writeFile(temp.join('attachments', 'job1', 'list.json'), '{"files":[{"name":"../x","size":1}],"missing":[]}')
  expect((await spool.of('job1', source('again'), [])).files).toMatchObject([{ name: 'a' }])
})
