// The names of an order's disks: all are given or none. Method: real targets, and something in the way of the last one.
import { mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { RestoreRules } from '../../../agent/restore/allowed.ts'
import { openTarget } from '../../../agent/restore/open-target.ts'
import { nameAll } from '../../../agent/restore/ordered.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { codeOf } from './code-of.ts'

const SIZE = 65_536

const never = new AbortController().signal

/** Two disks, raw and qcow2, that are written and have no names yet. */
const written = async (temp: TempFolder) => {
  const folder = temp.join('allowed')
  await mkdir(folder, { recursive: true })
  const rules: RestoreRules = { folders: [folder], devices: [] }
  await using resources = new AsyncDisposableStack()
  const disks = []
  for (const [disk, format] of [
    ['vda', 'raw'],
    ['vdb', 'qcow2'],
  ] as const) {
    const to = `${folder}/${disk}`
    const opened = await openTarget({ path: to, size: SIZE, format, force: false })
    resources.use(opened.target)
    await opened.target.write(0, Buffer.alloc(SIZE, 7))
    disks.push({ disk: { disk, to, size: SIZE, root: new Uint8Array() }, path: to, opened })
  }
  const held = resources.move()
  return { folder, rules, disks, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() }
}

test('all disks get their names', async () => {
  await using temp = await tempFolder()
  await using order = await written(temp)
  expect(await nameAll(order.disks, order.rules, never)).toEqual([[], []])
  expect((await readdir(order.folder)).toSorted()).toEqual(['vda', 'vdb'])
})

test('a name that is taken late keeps all from theirs', async () => {
  await using temp = await tempFolder()
  {
    await using order = await written(temp)
    await writeFile(order.disks[1]!.path, 'precious')
    expect(await codeOf(nameAll(order.disks, order.rules, never))).toBe('TARGET_EXISTS')
  }
  expect(await readdir(temp.join('allowed'))).toEqual(['vdb'])
  expect(await readFile(temp.join('allowed', 'vdb'), 'utf8')).toBe('precious')
})

test('a cancel while the last disk is made durable, and a folder that is moved then, leave nothing', async () => {
  await using temp = await tempFolder()
  const cancel = new AbortController()
  const move = async (): Promise<void> => {
    await rename(temp.join('allowed'), temp.join('moved'))
    await symlink(temp.join('moved'), temp.join('allowed'))
  }
  for (const [meanwhile, signal, says] of [
    [async () => cancel.abort(), cancel.signal, /abort/u],
    [move, never, /somebody changes folders or links|does not let the gateway restore/u],
  ] as const) {
    {
      await using order = await written(temp)
      const { target } = order.disks[1]!.opened
      const seal = target.seal.bind(target)
      target.seal = async () => {
        await seal()
        await meanwhile()
      }
      await expect(nameAll(order.disks, order.rules, signal)).rejects.toThrow(says)
    }
    expect(await readdir(temp.join('allowed'))).toEqual([])
  }
})
