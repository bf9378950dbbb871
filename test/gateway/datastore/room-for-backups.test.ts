// What a start says of a disk that has too little room besides the reserve: now, or for ever.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { lacksOfRoom } from '../../../gateway/datastore/room-for-backups.ts'
import { diskSpace } from '../../../gateway/folder/reserve.ts'
import { tempFolder } from '../../support/temp.ts'

test('a reserve that leaves nothing of the disk is refused, one above what is free is told, any other is not', async () => {
  await using temp = await tempFolder()
  const { totalBytes } = await diskSpace(temp.path)
  await expect(lacksOfRoom(temp.path, totalBytes)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(/no backup could ever be taken.*reserve less than/u) as string,
  })
  expect(await lacksOfRoom(temp.path, 0)).toEqual([])
  // more than is free, whatever others write and remove meanwhile
  await writeFile(temp.join('held'), Buffer.alloc(192 * 2 ** 20))
  expect(await lacksOfRoom(temp.path, totalBytes - 128 * 2 ** 20)).toEqual([
    expect.stringMatching(/^no backup can be taken now: the disk of /u),
  ])
})
