// The probe of an NBD socket: a server, a socket file that nobody serves, a server that says nothing.

import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { nbdServerListens } from '../../../../agent/drivers/qmp/nbd-probe.ts'
import { startMachine } from '../../../support/qemu.ts'
import { tempFolder } from '../../../support/temp.ts'

test('a real server, before and after, without a complaint of QEMU', async () => {
  await using folder = await tempFolder()
  await using machine = await startMachine({ folder: folder.path, disks: [] })
  const path = folder.join('nbd')
  expect(await nbdServerListens(path)).toBe(false)
  await machine.control.execute('nbd-server-start', { addr: { type: 'unix', data: { path } } })
  expect(await nbdServerListens(path)).toBe(true)
  await machine.control.execute('nbd-server-stop')
  expect(await nbdServerListens(path)).toBe(false)
  expect(machine.errors).toEqual([])
})

test('a server that hangs up still listens', async () => {
  await using folder = await tempFolder()
  const server = createServer((socket) => void socket.destroy())
  server.listen(folder.join('s'))
  await once(server, 'listening')
  expect(await nbdServerListens(folder.join('s'))).toBe(true)
  server.close()
})
