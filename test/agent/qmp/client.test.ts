// The QMP client against a real QEMU and against servers that misbehave.
import { link, writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { QMP_PENDING_MAX, QmpClient } from '../../../agent/qmp/client.ts'
import { startMachine } from '../../support/qemu.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const GREETING = '{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0},"package":""},"capabilities":[]}}\n'

/** A scripted server: `answer` gets every line that arrives. */
const serve = async (path: string, greet: string, answer: (line: string, socket: Socket) => void) => {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      for (const line of chunk.toString().split('\n').filter(Boolean)) answer(line, socket)
    })
    socket.write(greet)
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

const obedient = (line: string, socket: Socket, instead: (line: string, id: number) => string | null): void => {
  const { id, execute } = JSON.parse(line)
  const reply = execute === 'qmp_capabilities' ? JSON.stringify({ return: {}, id }) : instead(line, id)
  if (reply !== null) socket.write(`${reply}\n`)
}

test('commands, errors, events and the end of a real QEMU', async () => {
  await using folder = await tempFolder()
  await using machine = await startMachine({ folder: folder.path, disks: [] })
  await using client = await QmpClient.connect({ path: machine.qmpPath })
  expect(client.version.major).toBeGreaterThanOrEqual(5)
  const [status, name] = await Promise.all([client.execute('query-status'), client.execute('query-name')])
  expect(status).toMatchObject({ running: false })
  expect(name).toEqual({ name: 'test' })
  await expect(client.execute('no-such-command')).rejects.toMatchObject({
    code: 'QMP_ERROR',
    details: { class: 'CommandNotFound', command: 'no-such-command' },
  })
  const events: string[] = []
  const stop = client.subscribe(({ event }) => void events.push(event))
  await client.execute('cont')
  await eventually(() => events.includes('RESUME'))
  stop()
  await machine.kill9()
  expect(await client.closed).toMatchObject({ code: 'QMP_UNAVAILABLE' })
  await expect(client.execute('query-status')).rejects.toMatchObject({ code: 'QMP_UNAVAILABLE' })
})

test('a second client on one socket is told who is in the way', async () => {
  await using folder = await tempFolder()
  await using machine = await startMachine({ folder: folder.path, disks: [] })
  await using first = await QmpClient.connect({ path: machine.qmpPath })
  await expect(QmpClient.connect({ path: machine.qmpPath, timeoutMs: 200 })).rejects.toMatchObject({
    code: 'QMP_UNAVAILABLE',
    message: expect.stringContaining('another client'),
  })
  expect(await first.execute('query-name')).toEqual({ name: 'test' })
})

test('nothing listens', async () => {
  await using folder = await tempFolder()
  await expect(QmpClient.connect({ path: folder.join('none') })).rejects.toMatchObject({
    code: 'QMP_UNAVAILABLE',
    details: { errno: 'ENOENT' },
  })
})

test.each([
  ['not JSON', () => 'what?'],
  ['an id that was never sent', () => '{"return":{},"id":99}'],
  ['no id', () => '{"return":{}}'],
  ['an error without id', () => '{"error":{"class":"GenericError","desc":"Invalid JSON"}}'],
  ['an array', () => '[]'],
])('a server that answers with %s ends in QMP_PROTOCOL', async (_name, reply) => {
  await using folder = await tempFolder()
  await using server = await serve(folder.join('s'), GREETING, (line, socket) => obedient(line, socket, reply))
  await using client = await QmpClient.connect({ path: server.path })
  await expect(client.execute('query-status')).rejects.toMatchObject({ code: 'QMP_PROTOCOL' })
  expect(await client.closed).toMatchObject({ code: 'QMP_PROTOCOL' })
})

test('no QMP server at all, and one that hangs up', async () => {
  await using folder = await tempFolder()
  await using http = await serve(folder.join('a'), 'HTTP/1.1 400 Bad Request\r\n\r\n', () => undefined)
  await expect(QmpClient.connect({ path: http.path })).rejects.toMatchObject({ code: 'QMP_PROTOCOL' })
  await using rude = await serve(folder.join('b'), GREETING, (_line, socket) => void socket.destroy())
  await expect(QmpClient.connect({ path: rude.path })).rejects.toMatchObject({ code: 'QMP_UNAVAILABLE' })
})

test('a command over its time limit fails alone; its late answer is dropped', async () => {
  await using folder = await tempFolder()
  const late: (() => void)[] = []
  await using server = await serve(folder.join('s'), GREETING, (line, socket) =>
    obedient(line, socket, (text, id) => {
      if (!text.includes('slow')) return JSON.stringify({ return: 'quick', id })
      late.push(() => void socket.write(`{"return":"slow","id":${id}}\n`))
      return null
    }),
  )
  await using client = await QmpClient.connect({ path: server.path })
  await expect(client.execute('slow', {}, { timeoutMs: 20 })).rejects.toMatchObject({ code: 'QMP_TIMEOUT' })
  for (const send of late) send()
  expect(await client.execute('quick')).toBe('quick')
})

test('commands without an answer are bounded and end with the connection', async () => {
  await using folder = await tempFolder()
  await using server = await serve(folder.join('s'), GREETING, (line, socket) => obedient(line, socket, () => null))
  const client = await QmpClient.connect({ path: server.path })
  const waiting = Array.from({ length: QMP_PENDING_MAX }, () =>
    client.execute('query-status').catch((error: unknown) => error),
  )
  await expect(client.execute('one-more')).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' })
  client.close()
  for (const outcome of await Promise.all(waiting)) expect(outcome).toMatchObject({ code: 'QMP_UNAVAILABLE' })
})

test('says why a socket cannot be connected to, with its path and what to do', async () => {
  await using folder = await tempFolder()
  const why = async (path: string): Promise<string> =>
    await QmpClient.connect({ path }).then(
      () => 'connected',
      (error: unknown) => {
        expect(error).toMatchObject({ code: 'QMP_UNAVAILABLE', message: expect.stringContaining(path) })
        return (error as Error).message
      },
    )
  expect(await why(folder.join('none'))).toMatch(/is not there: the machine is off, or "qmp" in the configuration/u)
  const dead = createServer().listen(folder.join('dead'))
  await once(dead, 'listening')
  await link(folder.join('dead'), folder.join('left'))
  dead.close()
  await once(dead, 'close')
  expect(await why(folder.join('left'))).toMatch(/has no listener: the machine is off/u)
  await writeFile(folder.join('file'), '')
  expect(await why(folder.join('file', 'x'))).toMatch(/part of its path is not a folder/u)
  expect(await why(folder.join('file'))).toMatch(/\(E[A-Z]+\)$/u)
  expect(await why(folder.join('x'.repeat(200)))).toMatch(/107 bytes at most/u)
})
