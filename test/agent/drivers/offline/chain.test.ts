// What an image says is below it: real images of qemu-img, and headers that are no images.
import { truncate, writeFile } from 'node:fs/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkChain, parseQcow2Header, readQcow2Header } from '../../../../agent/drivers/offline/chain.ts'
import { run } from '../../../support/run.ts'
import { tempFolder } from '../../../support/temp.ts'

const disk = (path: string, format: 'raw' | 'qcow2' = 'qcow2') => ({
  name: 'vda',
  path,
  format,
  named: true,
})
const create = (...args: readonly string[]): Promise<string> =>
  run('qemu-img', ['create', '-q', '-f', 'qcow2', ...args])

test.each(['0.10', '1.1'])('size, backing file and its format are read from an image of version %s', async (compat) => {
  await using folder = await tempFolder()
  const base = folder.join('base.qcow2')
  await create('-o', `compat=${compat}`, base, '3M')
  expect(await readQcow2Header(base)).toEqual({ size: 3 * 2 ** 20, backing: null, backingFormat: null })
  const over = folder.join('over.qcow2')
  await create('-o', `compat=${compat}`, '-b', 'base.qcow2', '-F', 'qcow2', over)
  expect(await readQcow2Header(over)).toEqual({ size: 3 * 2 ** 20, backing: 'base.qcow2', backingFormat: 'qcow2' })
  await checkChain(disk(over))
})

test('a raw disk is not looked into, whatever its guest has written', async () => {
  await using folder = await tempFolder()
  const faked = folder.join('disk.raw')
  await create('-u', '-b', '/etc/shadow', '-F', 'raw', faked, '1M')
  await checkChain(disk(faked, 'raw'))
})

test('what an image lies on is followed only where it is a plain file whose format is written down', async () => {
  await using folder = await tempFolder()
  const raw = folder.join('base.raw')
  await writeFile(raw, '')
  await truncate(raw, 2 ** 20)
  const refused = async (what: RegExp, ...args: readonly string[]): Promise<void> => {
    const file = folder.join(`${Math.random()}.qcow2`)
    await create('-u', ...args, file, '1M')
    await expect(checkChain(disk(file))).rejects.toMatchObject({
      code: 'DISK_UNSUPPORTED',
      message: expect.stringMatching(what),
    })
  }
  await refused(/no plain file/u, '-b', 'nbd://127.0.0.1/x', '-F', 'raw')
  await refused(/no plain file/u, '-b', 'json:{"driver":"null-co"}', '-F', 'raw')
  await refused(/of the format "vmdk"/u, '-b', raw, '-F', 'vmdk')
  // the image below the first one is looked at too
  const middle = folder.join('middle.qcow2')
  await create('-u', '-b', 'json:{"driver":"null-co"}', '-F', 'raw', middle, '1M')
  await refused(/middle.qcow2 lies on/u, '-b', middle, '-F', 'qcow2')
  // qemu-img has asked for the format since 6.1; images of before have none
  const old = folder.join('old.qcow2')
  await create('-u', '-b', raw, '-F', 'raw', old, '1M')
  await run('python3', [
    '-c',
    `f=open(${JSON.stringify(old)},'r+b');d=bytearray(f.read());i=d.index(bytes.fromhex('e2792aca'));d[i:i+4]=b'\\0\\0\\0\\1';f.seek(0);f.write(d)`,
  ])
  await expect(checkChain(disk(old))).rejects.toMatchObject({
    code: 'DISK_UNSUPPORTED',
    message: expect.stringContaining('qemu-img rebase -u'),
  })
  await expect(checkChain(disk(raw))).rejects.toMatchObject({ message: expect.stringContaining('is no qcow2 image') })
  await expect(checkChain(disk(folder.join('nothing')))).rejects.toMatchObject({ code: 'DISK_UNSUPPORTED' })
})

const magic = Buffer.from('514649fb00000003', 'hex')

test('any header is parsed or is none', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4096 }), (bytes) => {
      for (const header of [Buffer.from(bytes), Buffer.concat([magic, bytes])]) {
        const parsed = parseQcow2Header(header)
        if (parsed !== null) expect(parsed.size).toBeGreaterThanOrEqual(0)
      }
    }),
  )
})
