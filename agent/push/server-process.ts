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
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { isThere } from '../drivers/scratch-guard-order.ts'
import { askSchema, controlSocket, pushOrderSchema, type Ask, type PushOrder } from './control.ts'
import { markProcess } from '../process-mark.ts'
import type { PushedDisk } from './pushed-disk.ts'
import { listenPrivately } from '../../protocol/host/private-socket.ts'
import { serverFor, Writers } from './writers.ts'

/** Agents at once. */
const AGENTS_MAX = 4

/** How often it is looked at whether the lease is still there, in milliseconds. */
const LOOK_MS = 200

/** How long it stays without QEMU and without an agent, in milliseconds: a restart of the agent takes less. */
const ALONE_LIMIT_MS = 60_000

const agents = new Set<Socket>()

const me = markProcess()

/** The answer to a question, once there is one. */
const answer = async (ask: Ask, disks: readonly PushedDisk[]): Promise<object> => {
  if (ask.ask === 'end') process.exit(0)
  if (ask.ask === 'state') {
    const states = disks.map(({ writtenBytes, sealed, broken }) => ({ writtenBytes, sealed, broken }))
    return { answer: { process: me, disks: states } }
  }
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
    void answer(ask, disks)
      // this process goes on: a guest's writes wait for it
      .catch((error: unknown) => ({ broken: (error as Error).message }))
      .then((told) => socket.write(`${JSON.stringify({ id: ask.id, ...told })}\n`))
  }
}

const run = async (order: PushOrder): Promise<void> => {
  const { socketFolder } = order
  const writers = await Writers.open(order)
  const control = serverFor(agents, AGENTS_MAX, (socket) => serveAgent(socket, writers.disks))
  await listenPrivately(control, controlSocket(socketFolder))
  process.stdout.write('ready\n')
  for (let alone = performance.now(); performance.now() - alone < ALONE_LIMIT_MS;) {
    await sleep(LOOK_MS)
    if (writers.clients + agents.size > 0) alone = performance.now()
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
