// Which process serves a socket. Method: this one does.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { exporterOf } from '../../../../agent/drivers/external/exporter.ts'
import { markProcess } from '../../../../agent/process-mark.ts'
import { tempFolder } from '../../../support/temp.ts'

test('a socket is found that was bound with two slashes in its path', async () => {
  await using folder = await tempFolder()
  const server = createServer()
  server.listen(`${folder.path}//access.sock`)
  await once(server, 'listening')
  for (const path of [folder.join('access.sock'), `${folder.path}//access.sock`])
    expect(await exporterOf(path)).toEqual(markProcess())
  server.close()
  expect(await exporterOf(folder.join('access.sock'))).toBeNull()
})
