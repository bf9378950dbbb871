// What an image's own file tells. Goal: formats that hold no bitmap are known, and no file makes the reader fail. Method: images
// that qemu-img makes, and files that are none.
import { truncate, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { canHoldBitmaps, imageSize } from '../../../../agent/drivers/libvirt/image-header.ts'
import { MIB } from '../../../support/lease.ts'
import { run } from '../../../support/run.ts'
import { tempFolder } from '../../../support/temp.ts'

test.each([
  ['a version that has room for bitmaps', 'compat=1.1', true],
  ['a version that has none', 'compat=0.10', false],
  ['content in another file', 'data_file=DATA,data_file_raw=on', false],
])('%s', async (_what, options, holds) => {
  await using folder = await tempFolder()
  const file = folder.join('a.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options.replace('DATA', folder.join('data')), file, '5M'])
  expect(await canHoldBitmaps(file)).toBe(holds)
  expect(await imageSize('qcow2', file)).toBe(5 * MIB)
})

test('a raw image has the size of its file, and nothing else is known of it', async () => {
  await using folder = await tempFolder()
  const file = folder.join('a.raw')
  await writeFile(file, '')
  await truncate(file, 3 * MIB)
  expect(await canHoldBitmaps(file)).toBeNull()
  expect([await imageSize('raw', file), await imageSize('qcow2', file), await imageSize('vmdk', file)]).toEqual([
    3 * MIB,
    0,
    0,
  ])
})

test('a file that is not there, one that is too short, and a folder', async () => {
  await using folder = await tempFolder()
  await writeFile(folder.join('short'), Buffer.from('514649fb00000003', 'hex'))
  for (const name of ['none', 'short', '']) {
    expect(await canHoldBitmaps(folder.join(name)), name).toBeNull()
    expect(await imageSize('qcow2', folder.join(name)), name).toBe(0)
  }
  expect(await imageSize('raw', folder.join('none'))).toBe(0)
})
