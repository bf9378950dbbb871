// The format of a restored file, by what was asked, its name and what it replaces.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { chooseFormat } from '../../../agent/restore/format.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf, failureOf } from './code-of.ts'

const fresh = (path: string): ReturnType<typeof chooseFormat> => chooseFormat({ path, asked: null, there: null })

test.each([
  ['/a/x.qcow2', 'qcow2'],
  ['/a/X.QCOW2', 'qcow2'],
  ['/a/x.raw', 'raw'],
  ['/a/x.img', 'raw'],
  ['/a/x', 'raw'],
  ['/a/.qcow2', 'raw'],
  ['/a.qcow2/x', 'raw'],
  ['/a/db1.example', 'raw'],
])('%s is %s by its name', async (path, format) => {
  expect(await fresh(path)).toEqual({ format, remark: null })
})

test.each(['x.vmdk', 'x.vdi', 'x.VHDX', 'x.vhd', 'x.qed', 'x.qcow', 'x.gz'])(
  '%s is refused with a way out, unless the format is said',
  async (name) => {
    const error = await failureOf(fresh(`/a/${name}`))
    expect(error?.code).toBe('TARGET_INVALID')
    expect(error?.message).toMatch(/raw or qcow2.*qemu-img convert.*--format/u)
    const said = await chooseFormat({ path: `/a/${name}`, asked: 'raw', there: null })
    expect(said).toEqual({ format: 'raw', remark: expect.stringContaining('is written as raw, as --format says') })
  },
)

test('what is asked for counts, and an odd name is remarked', async () => {
  const odd = await chooseFormat({ path: '/a/x.qcow2', asked: 'raw', there: null })
  expect(odd).toEqual({ format: 'raw', remark: expect.stringContaining('x.qcow2 is written as raw') })
  expect(await chooseFormat({ path: '/a/x.img', asked: 'qcow2', there: null })).toEqual({
    format: 'qcow2',
    remark: null,
  })
})

test('a file without a telling name is replaced by one of its own format', async () => {
  await using temp = await tempFolder()
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', temp.join('disk.img'), '1M'])
  await writeFile(temp.join('disk'), 'QF')
  const there = 'file' as const
  const found = await chooseFormat({ path: temp.join('disk.img'), asked: null, there })
  expect(found).toEqual({ format: 'qcow2', remark: expect.stringContaining('like the file it replaces') })
  expect((await chooseFormat({ path: temp.join('disk'), asked: null, there })).format).toBe('raw')
  expect((await chooseFormat({ path: temp.join('disk.img'), asked: 'raw', there })).format).toBe('raw')
})

test('a block device is raw, whatever it is called', async () => {
  expect((await chooseFormat({ path: '/dev/x.qcow2', asked: null, there: 'device' })).format).toBe('raw')
  expect(await codeOf(chooseFormat({ path: '/dev/x.vdi', asked: null, there: 'device' }))).toBe('none')
})
