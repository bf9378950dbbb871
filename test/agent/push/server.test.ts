// The process that QEMU writes to, as the agent holds it.
import { mkdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { processState } from '../../../agent/process-mark.ts'
import { joinPushServer, startPushServer } from '../../../agent/push/server.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

test('one that hangs is ended, so that its place can be taken', async () => {
  await using folder = await tempFolder()
  const [spoolFolder, socketFolder] = [folder.join('spool'), folder.join('sockets')]
  for (const path of [spoolFolder, socketFolder]) await mkdir(path)
  const disks = [{ name: 'vda', size: 65_536, kind: 'full' as const }]
  using first = await startPushServer({ spoolFolder, socketFolder, owner: null, broken: null, disks })
  using server = (await joinPushServer(socketFolder, 500))!
  const mark = (await server.state()).process!
  process.kill(mark.pid, 'SIGSTOP')
  await expect(server.state()).rejects.toMatchObject({
    code: 'LEASE_LOST',
    message: expect.stringContaining('does not answer'),
  })
  expect(await server.lost).toMatchObject({ code: 'LEASE_LOST' })
  expect(await first.lost).toMatchObject({ message: expect.stringContaining('has ended') })
  await eventually(() => processState(mark) === 'gone')
})
