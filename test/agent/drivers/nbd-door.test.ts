// The door before an NBD server: who is seen behind it, and that nobody comes in once it is closed.
import { once } from 'node:events'
import { chmod, rename } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { behindDoor, ClosedDoor, closeDoor, hasClients, isListenerSeen } from '../../../agent/drivers/nbd-door.ts'
import { nbdServerListens } from '../../../agent/drivers/qmp/nbd-probe.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const listening = async (path: string) => {
  const clients: Socket[] = []
  // it does not read, and does not learn that a client has closed its end
  const server = createServer({ pauseOnConnect: true }, (socket) => void clients.push(socket))
  server.listen(path)
  await once(server, 'listening')
  const end = async (): Promise<void> => {
    for (const client of clients) client.destroy()
    server.close()
    await once(server, 'close')
  }
  return { clients, [Symbol.asyncDispose]: end }
}

const connected = async (path: string): Promise<Socket> => {
  const socket = connect({ path })
  await once(socket, 'connect')
  return socket
}

test('a client counts until the server has let it go, also when its own end is closed', async () => {
  await using folder = await tempFolder()
  const path = folder.join('nbd')
  await using server = await listening(path)
  expect([await isListenerSeen(path), await hasClients(path)]).toEqual([true, false])
  const client = await connected(path)
  expect(await hasClients(path)).toBe(true)
  await eventually(() => server.clients.length === 1)
  client.destroy()
  await once(client, 'close')
  expect(await hasClients(path)).toBe(true)
  server.clients[0]!.destroy()
  await eventually(async () => !(await hasClients(path)))
})

test('a closed door lets nobody in, keeps who is inside, and may be closed again; the server is still found', async () => {
  await using folder = await tempFolder()
  const path = folder.join('nbd')
  await using server = await listening(path)
  const client = await connected(path)
  for (let time = 0; time < 2; time += 1) await closeDoor(path)
  await expect(connected(path)).rejects.toMatchObject({ code: 'ENOENT' })
  expect(await hasClients(path)).toBe(true)
  expect(await nbdServerListens(path)).toBe(true)
  const clearing = (await ClosedDoor.close(path)).clear()
  await eventually(() => server.clients.length === 1)
  client.destroy()
  server.clients[0]!.destroy()
  await clearing
  expect(await hasClients(path)).toBe(false)
})

test('whoever stays is waited for only as long as a handshake may take', async () => {
  await using folder = await tempFolder()
  const path = folder.join('nbd')
  await using _ = await listening(path)
  const client = await connected(path)
  const door = await ClosedDoor.close(path)
  expect(await door.isClear()).toBe(false)
  await door.clear(50)
  expect(await door.isClear(50)).toBe(true)
  expect(await hasClients(path)).toBe(true)
  client.destroy()
})

test('where the list of sockets cannot be read, a handshake’s time is waited for once', async () => {
  await using folder = await tempFolder()
  const path = folder.join('nbd')
  await using _ = await listening(path)
  let looks = 0
  const door = await ClosedDoor.close(path, async () => ((looks += 1), null))
  expect(await door.isClear()).toBe(false)
  await door.clear(120)
  expect(looks).toBeGreaterThan(1)
  const before = looks
  await door.clear(120)
  expect(looks).toBe(before)
})

test('a server is found without being its client; one that is not listed is connected to, behind the door too', async () => {
  await using folder = await tempFolder()
  const path = folder.join('nbd')
  await using server = await listening(path)
  expect(await nbdServerListens(path)).toBe(true)
  expect(server.clients).toEqual([])
  await using unlisted = await listening(folder.join('bound-elsewhere'))
  await rename(folder.join('bound-elsewhere'), folder.join('other'))
  const answers = nbdServerListens(folder.join('other'))
  await eventually(() => unlisted.clients.length === 1)
  unlisted.clients[0]!.destroy()
  expect(await answers).toBe(true)
  await using moved = await listening(folder.join('elsewhere'))
  await rename(folder.join('elsewhere'), behindDoor(folder.join('gone')))
  const behind = nbdServerListens(folder.join('gone'))
  await eventually(() => moved.clients.length === 1)
  moved.clients[0]!.destroy()
  expect(await behind).toBe(true)
  await using empty = await tempFolder()
  expect(await nbdServerListens(empty.join('nbd'))).toBe(false)
})

test('a door in a folder of another user stays open, and its server may be ended once nobody is seen', async () => {
  await using folder = await tempFolder()
  const path = folder.join('nbd')
  await using server = await listening(path)
  await chmod(folder.path, 0o555)
  const user = process.geteuid!()
  // a folder that root may not write to is another user's
  if (user === 0) process.seteuid!(65_534)
  try {
    await (await ClosedDoor.close(path)).clear()
  } finally {
    if (user === 0) process.seteuid!(user)
    await chmod(folder.path, 0o700)
  }
  const client = await connected(path)
  await eventually(() => server.clients.length === 1)
  client.destroy()
})
