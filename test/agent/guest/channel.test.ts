// The guest agent's channel against servers that answer strangely.
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { GUEST_ANSWER_BYTES_MAX, GuestChannel } from '../../../agent/guest/channel.ts'
import { ScriptedGuestAgent } from '../../support/guest-agent.ts'
import { tempFolder } from '../../support/temp.ts'

const serve = async (path: string, answer: (socket: Socket, text: string) => void) => {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => answer(socket, chunk.toString('latin1')))
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    socketPath: path,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

const idOf = (text: string): number => JSON.parse(text.slice(text.indexOf('{'))).arguments.id

test('commands and the agent’s errors', async () => {
  await using folder = await tempFolder()
  await using agent = await ScriptedGuestAgent.listen(folder.join('a'))
  await using channel = await GuestChannel.open({ socketPath: agent.socketPath })
  expect(await channel.execute('guest-fsfreeze-status')).toBe('thawed')
  await expect(channel.execute('guest-nothing')).rejects.toMatchObject({
    code: 'GUEST_AGENT_ERROR',
    details: { class: 'CommandNotFound' },
  })
  expect(await channel.execute('guest-fsfreeze-status')).toBe('thawed')
})

test('answers of an older conversation are passed over, however the bytes are cut', async () => {
  await using folder = await tempFolder()
  await using server = await serve(folder.join('a'), (socket, text) => {
    const bytes = Buffer.from(`{"return":1}\n{"return":\xff{"return":7}\n{"return":${idOf(text)}}\n`, 'latin1')
    for (const byte of bytes) socket.write(Buffer.from([byte]))
  })
  await using channel = await GuestChannel.open({ socketPath: server.socketPath })
  expect(channel).toBeDefined()
})

test.each([
  ['says nothing', () => undefined],
  ['answers another id', (socket: Socket) => void socket.write('{"return":0}\n')],
  ['sends no line end', (socket: Socket) => void socket.write('x'.repeat(GUEST_ANSWER_BYTES_MAX + 1))],
  ['hangs up', (socket: Socket) => void socket.destroy()],
])('a server that %s is GUEST_AGENT_UNAVAILABLE', async (_name, answer) => {
  await using folder = await tempFolder()
  await using server = await serve(folder.join('a'), answer)
  await expect(GuestChannel.open({ socketPath: server.socketPath, timeoutMs: 200 })).rejects.toMatchObject({
    code: 'GUEST_AGENT_UNAVAILABLE',
  })
})
