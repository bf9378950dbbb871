// Where ordered restores may write. Method: real folders, links and a loop device; each way out of the rules is tried.
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { allowedPlace, RESTORE_NOWHERE, restoreSchema } from '../../../agent/restore/allowed.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf } from './code-of.ts'
import { loopDevice } from './devices.ts'

test('the table takes absolute folders below / and devices below /dev, and nothing by default', () => {
  const is = (value: unknown): boolean => v.safeParse(restoreSchema, value).success
  expect(v.parse(restoreSchema, {})).toEqual(RESTORE_NOWHERE)
  expect(is({ folders: ['/srv', '/srv/'], devices: ['/dev/sdx', '/dev/vg0/restore-*'] })).toBe(true)
  for (const folder of ['/', 'srv', '', '/srv/../etc', '/srv/./x'])
    expect([folder, is({ folders: [folder] })]).toEqual([folder, false])
  for (const device of ['/srv/x', '/dev/*', '/dev', '/dev/v*g', '/dev/../etc/*', 'sdx'])
    expect([device, is({ devices: [device] })]).toEqual([device, false])
  expect(is({ files: [] })).toBe(false)
})

test('a file in an allowed folder or below it, there or not, by whatever name of the folder', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('allowed')
  await mkdir(`${folder}/sub`, { recursive: true })
  await writeFile(`${folder}/there`, 'x')
  await symlink(folder, temp.join('name'))
  const rules = { folders: [temp.join('name')], devices: [] }
  expect(await allowedPlace(`${folder}/sub/new`, rules)).toEqual({ path: `${folder}/sub/new`, there: null })
  expect((await allowedPlace(temp.join('name/there'), rules)).path).toBe(`${folder}/there`)
  expect((await allowedPlace(temp.join('name/sub/../there'), rules)).there?.isFile()).toBe(true)
  await symlink('there', `${folder}/link`)
  expect((await allowedPlace(`${folder}/link`, rules)).path).toBe(`${folder}/there`)
})

test('what leads out is forbidden, and says nothing of what is there', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('allowed')
  await mkdir(folder)
  await mkdir(temp.join('allowed-not'))
  await writeFile(temp.join('secret'), 'x')
  await symlink(temp.path, `${folder}/up`)
  await symlink(temp.join('secret'), `${folder}/secret`)
  const rules = { folders: [folder], devices: [] }
  for (const to of [
    temp.join('secret'),
    temp.join('nothing'),
    `${folder}/../secret`,
    temp.join('allowed-not/x'),
    `${folder}/up/secret`,
    `${folder}/up/new`,
    `${folder}/secret`,
    folder,
    '/etc/passwd',
  ])
    expect([to, await codeOf(allowedPlace(to, rules))]).toEqual([to, 'RESTORE_FORBIDDEN'])
  expect(await codeOf(allowedPlace(`${folder}/x`, RESTORE_NOWHERE))).toBe('RESTORE_FORBIDDEN')
})

test('what takes no disk is refused as such', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('sub'))
  await symlink('nothing', temp.join('dangling'))
  const rules = { folders: [temp.path], devices: [] }
  for (const to of [temp.join('sub'), `${temp.path}/sub/`, `${temp.path}/..`, temp.join('dangling'), temp.join('no/x')])
    expect([to, await codeOf(allowedPlace(to, rules))]).toEqual([to, 'TARGET_INVALID'])
})

test('a device by its name or a pattern of it, not by a link or node in a folder', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('image'), Buffer.alloc(65_536))
  await using loop = await loopDevice(temp.join('image'))
  const { path } = loop!
  await symlink(path, temp.join('link'))
  const only = (...devices: string[]) => ({ folders: [temp.path], devices })
  expect((await allowedPlace(path, only(path))).there?.isBlockDevice()).toBe(true)
  expect((await allowedPlace(path, only('/dev/loop*'))).path).toBe(path)
  expect(await codeOf(allowedPlace(path, only('/dev/sd*')))).toBe('RESTORE_FORBIDDEN')
  expect(await codeOf(allowedPlace(temp.join('link'), only(path)))).toBe('RESTORE_FORBIDDEN')
  expect(await codeOf(allowedPlace('/dev/null', only('/dev/*ull', '/dev/null')))).toBe('RESTORE_FORBIDDEN')
})
