// Which socket is taken. Goal: the first that has a listener, and otherwise the failure that tells most. Method: sockets that a
// daemon left, that nobody made and that another user may not open.
import { rename } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { dialFirst } from '../../../agent/libvirt/dial.ts'
import { tempFolder } from '../../support/temp.ts'
import { startDaemon } from './scripted-daemon.ts'

const nothing = (): void => undefined

test('the first socket that has a listener is taken', async () => {
  await using folder = await tempFolder()
  await using daemon = await startDaemon(folder.join('live'), nothing)
  const gone = await startDaemon(folder.join('gone'), nothing)
  const stale = folder.join('stale')
  await rename(gone.path, stale)
  await gone[Symbol.asyncDispose]()
  const none = folder.join('none')
  const rpc = await dialFirst([none, stale, daemon.path], nothing)
  expect(rpc.path).toBe(daemon.path)
  rpc.close()
  await expect(dialFirst([none, stale], nothing)).rejects.toMatchObject({
    code: 'LIBVIRT_UNAVAILABLE',
    details: { errno: 'ECONNREFUSED', path: stale },
  })
  await expect(dialFirst([none, `${none}2`], nothing)).rejects.toMatchObject({
    code: 'LIBVIRT_UNAVAILABLE',
    message: expect.stringContaining(`${none} and ${none}2 is not there`),
  })
})
