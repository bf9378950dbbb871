// The process that QEMU's backup jobs of one lease write to. It outlives the agent, so that no guest's write fails when that
// ends, and ends when the lease's folders are gone, or when both QEMU and the agent are.
//
//   argument          the lease's folder of sockets, for whoever looks at the processes
//   standard input    one line of JSON (PushOrder)
//   standard output   "ready" once it listens, or "failed" and why
//   socket `push`     NBD, for QEMU
//   socket `control`  lines of JSON, for the agent (control.ts)
import * as v from 'valibot'
import { once } from 'node:events'
import { chown } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { isThere } from '../drivers/scratch-guard-order.ts'
import { askSchema, controlSocket, pushOrderSchema, writerSocket, type Ask, type PushOrder } from './control.ts'
import { PushedDisk } from './pushed-disk.ts'
import { serveWriter, targetOf } from './writer-connection.ts'

/** Clients of each socket at once: QEMU has one for each disk. */
const WRITERS_MAX = 512
const AGENTS_MAX = 4

/** How often it is looked at whether the lease is still there, in milliseconds. */
const LOOK_MS = 200

/** How long it stays without QEMU and without an agent, in milliseconds: a restart of the agent takes less. */
const ALONE_LIMIT_MS = 60_000

const writers = new Set<Socket>()
const agents = new Set<Socket>()

const listen = async (path: string, server: Server): Promise<void> => {
  // the socket is never open to others
  const before = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(before)
  }
  await once(server, 'listening')
}

const serverFor = (clients: Set<Socket>, most: number, serve: (socket: Socket) => Promise<void>): Server =>
  createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined)
    if (clients.size >= most) {
      socket.destroy()
      return
    }
    clients.add(socket)
    socket.once('close', () => clients.delete(socket))
    serve(socket).catch(() => void socket.destroy())
  })

/** The answer to a question, once there is one. */
const answer = async (ask: Ask, disks: readonly PushedDisk[]): Promise<object> => {
  if (ask.ask === 'end') process.exit(0)
  if (ask.ask === 'state')
    return { answer: { disks: disks.map(({ writtenBytes, sealed, broken }) => ({ writtenBytes, sealed, broken })) } }
  const disk = disks[ask.disk]
  if (disk === undefined) return { broken: 'there is no such disk' }
  if (ask.ask === 'seal') disk.seal(ask.writtenBytesMin)
  if (ask.ask === 'discard') disk.discard(ask.to)
  if (ask.ask !== 'map') return { answer: null }
  for (;;) {
    if (disk.broken !== null) return { broken: disk.broken }
    // at the end there is nothing to tell but that QEMU has ended
    if (ask.from >= disk.size ? disk.sealed : disk.map(ask.from).length > 0) return { answer: disk.map(ask.from) }
    await disk.changed()
  }
}

const serveAgent = async (socket: Socket, disks: readonly PushedDisk[]): Promise<void> => {
  for await (const line of createInterface({ input: socket })) {
    const ask = v.parse(askSchema, JSON.parse(line))
    void answer(ask, disks).then((told) => socket.write(`${JSON.stringify({ id: ask.id, ...told })}\n`))
  }
}

const run = async ({ spoolFolder, socketFolder, owner, broken, disks: ordered }: PushOrder): Promise<void> => {
  const disks = ordered.map(({ size, kind }, index) => new PushedDisk({ size, kind, folder: spoolFolder, index }))
  if (broken !== null) for (const disk of disks) disk.break(broken)
  const targets = disks.map((disk, index) => targetOf(ordered[index]!.name, disk))
  await listen(
    writerSocket(socketFolder),
    serverFor(writers, WRITERS_MAX, (socket) => serveWriter(socket, targets)),
  )
  if (owner !== null) await chown(writerSocket(socketFolder), owner.uid, owner.gid)
  await listen(
    controlSocket(socketFolder),
    serverFor(agents, AGENTS_MAX, (socket) => serveAgent(socket, disks)),
  )
  process.stdout.write('ready\n')
  for (let alone = performance.now(); performance.now() - alone < ALONE_LIMIT_MS;) {
    await sleep(LOOK_MS)
    if (writers.size + agents.size > 0) alone = performance.now()
    if (!(await isThere(socketFolder))) return
  }
}

for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
process.stdout.on('error', () => undefined)
const [line] = (await once(createInterface({ input: process.stdin }), 'line')) as [string]
try {
  await run(v.parse(pushOrderSchema, JSON.parse(line)))
  process.exit(0)
} catch (error) {
  process.stdout.write(`failed ${(error as Error).message.replaceAll('\n', ' ')}\n`, () => process.exit(1))
}
