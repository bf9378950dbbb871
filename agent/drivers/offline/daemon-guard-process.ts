// Runs a lease's storage daemon and ends it when the lease has ended, or when no agent has been heard of for a while: the
// machine could not start until then.
//
//   arguments         the lease's folder; how long an agent may be silent, in milliseconds
//   standard output   "ready PID" once the daemon listens on its sockets, or "failed" and what it said
//   socket `guard`    an agent's lines: "alive" again and again; "done": the daemon is ended, and the answer is "ended"
//
// The daemon dies with this process, however that ends (PR_SET_PDEATHSIG).
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { isListenerSeen } from '../nbd-door.ts'
import { daemonArguments, guardSocket, monitorSocket, nbdSocket, pidFile } from './daemon.ts'

/** How long the daemon may take to open its sockets, in milliseconds. */
const START_LIMIT_MS = 15_000

/** How often silence and sockets are looked at, in milliseconds. */
const POLL_MS = 20

/** Most characters kept of what the daemon says. */
const SAID_CHARS_MAX = 4096

const [, , folder = '', silenceText = ''] = process.argv
const silenceMs = Number(silenceText)
process.stdout.on('error', () => undefined)
for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)

let heardMs = performance.now()
let end: () => Promise<void> = () => process.exit(0)

const server = createServer((socket) => {
  socket.on('error', () => undefined)
  createInterface({ input: socket }).on('line', (line) => {
    heardMs = performance.now()
    if (line !== 'done') return
    void end().then(() => socket.end('ended\n', () => process.exit(0)))
  })
})
// a folder that is gone means that the lease was given up: no daemon is started then
server.listen(guardSocket(folder))
await once(server, 'listening')

// with its own file descriptors the daemon depends on nobody's output
const daemon = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-storage-daemon', ...daemonArguments(folder)], {
  stdio: ['ignore', 'ignore', 'pipe'],
})
let said = ''
const fail = (why: string): void => {
  process.stdout.write(`failed ${why.replaceAll('\n', ' ').trim()}\n`, () => process.exit(1))
}
daemon.on('error', (error) => fail(error.message))
daemon.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-SAID_CHARS_MAX)))
let isReady = false
const exited = once(daemon, 'exit')
void exited.then(() => (isReady ? process.exit(0) : fail(said || 'it ended without a message')))
end = async () => {
  daemon.removeAllListeners('exit')
  daemon.kill('SIGKILL')
  if (daemon.exitCode === null && daemon.signalCode === null) await once(daemon, 'exit')
}

const deadlineMs = performance.now() + START_LIMIT_MS
for (const path of [monitorSocket(folder), nbdSocket(folder)])
  // a socket's file is there before anybody listens behind it
  while (!(await isListenerSeen(path))) {
    if (performance.now() > deadlineMs) {
      await end()
      fail('it did not listen on its sockets in time')
    }
    await sleep(POLL_MS)
  }
// it has opened no disk yet, and dies with this process
if (daemon.pid !== undefined) await writeFile(pidFile(folder), `${daemon.pid}\n`)
isReady = true
process.stdout.write(`ready ${daemon.pid ?? 0}\n`)
while (performance.now() - heardMs < silenceMs) await sleep(POLL_MS)
await end()
process.exit(0)
