// The look at a data folder as a whole: a tenant that only packs know, an older catalog, a damaged one.
import { mkdir, writeFile } from 'node:fs/promises'
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { expect, test } from 'vitest'
import { layEpoch } from '../../../gateway/packs/directory/epoch-file.ts'
import { encodePackHeader } from '../../../gateway/packs/format.ts'
import { folderProblems } from '../../../gateway/maintenance/folder-check.ts'
import { miscountPacks } from '../../support/catalog-damage.ts'
import { Stand } from '../chains/script.ts'
import { randomDisk } from './stand.ts'

test('says nothing of a whole folder, and names what a start would refuse', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('one'), randomDisk(3))
  const { folder } = stand
  const look = (): Promise<string[]> => folderProblems(folder)
  expect(await look()).toEqual([])
  const tenant = randomUUID()
  for (const noise of [false, true]) {
    const pack = randomUUID()
    const place = path.join(folder, 'packs', noise ? randomUUID() : tenant, pack.slice(0, 2))
    await mkdir(place, { recursive: true })
    const header = encodePackHeader({ kind: 'data', tenant, pack })
    await writeFile(path.join(place, `${pack}.pack`), noise ? 'mine' : header)
  }
  expect(await look()).toEqual([expect.stringContaining(tenant)])
  await layEpoch(path.join(folder, 'packs'), 10 ** 6)
  miscountPacks(folder)
  expect((await look()).join('\n')).toMatch(
    /catalog is damaged: .*\n.*older than the packs.*repair --rebuild\n.*does not know/su,
  )
})
